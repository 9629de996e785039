"""The policy key `loops`, as files write it."""

import pytest

from proxy.config.load import parse_policy
from proxy.config.problems import PolicyInvalid
from proxy.core.loops.policy import Cycle, Loops, Rungs

USUAL = Loops()


def read(text: str) -> Loops | None:
    return parse_policy(f"loops: {text}", "f", {"WORD": "off"}).policy.loops


def warnings(text: str) -> list[str]:
    return [str(one) for one in parse_policy(f"loops: {text}", "f", {}).warnings]


@pytest.mark.parametrize("text", ["off", '"off"', "false", "null", "", "${WORD}", "'${NO:-false}'"])
def test_one_word_switches_all_of_it_off(text: str) -> None:
    assert read(text) is None


def test_one_word_lets_it_only_look() -> None:
    assert read("observe") == Loops(observe=True)


@pytest.mark.parametrize("word", ["off", "false", "null"])
def test_a_detector_is_switched_off_by_itself(word: str) -> None:
    loops = read(f"{{repeat: {word}, cycle: {word}}}")

    assert loops is not None
    assert (loops.repeat, loops.cycle, loops.stall) == (None, None, USUAL.stall)


def test_thresholds_are_laid_over_the_shipped_ones_one_by_one() -> None:
    loops = read("{repeat: {warn: null, stop: 9}, observe: true}")

    assert loops is not None
    assert loops.repeat == Rungs(None, 3, 4, 9)
    assert loops.observe


def test_the_times_of_a_cycle_stand_for_its_rungs() -> None:
    """As the contract writes it: {max_period: 8, times: 3}."""
    assert read("{cycle: {max_period: 8, times: 3}}") == USUAL
    assert _cycle("{times: 2, max_period: 5}") == Cycle(5, Rungs(None, 2, 3, 4))
    assert _cycle("{times: 4, final_answer: null, stop: 8}") == Cycle(8, Rungs(3, 4, None, 8))


def _cycle(text: str) -> Cycle | None:
    loops = read(f"{{cycle: {text}}}")
    assert loops is not None
    return loops.cycle


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("true", "loops: true is not valid"),
        ("{repeat: true}", "loops.repeat: true is not valid"),
        ("{repeat: observe}", "loops.repeat: observe is not valid"),
        ("{repeat: {stop: null}}", "loops.repeat.stop: null is not valid"),
        ("{repeat: {stop: 1}}", "loops.repeat.stop: 1 is not valid"),
        ("{repeat: {steer: 0}}", "loops.repeat.steer: 0 is not valid"),
        ("{cycle: {max_period: 1}}", "loops.cycle.max_period: 1 is not valid"),
        ("{polling: get_*}", "loops.polling: get_* is not valid"),
        ("{loop: off}", "loops.loop: unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(text: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read(text)

    (found,) = caught.value.problems
    assert problem in str(found)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{repeat: {warn: 9}}", "loops.repeat.warn: never fires: steer is reached at 3"),
        ("{stall: {final_answer: 5}}", ""),
        ("{stall: {steer: 16}}", "loops.stall.steer: never fires: final_answer is reached at 15"),
        ("{repeat: {stop: 3}}", ""),
        ("{text: {stop: 129}}", "loops.text.stop: never fires: only the last 128 turns"),
        ("{cycle: {stop: 17}}", "loops.cycle.stop: never fires on a way round of 8: only"),
        ("{polling: ['*']}", "loops.polling[0]: takes all tools"),
        ("{ignore_arguments: [a, '**']}", "loops.ignore_arguments[1]: takes all arguments"),
        ("{polling_bound: off}", "loops.polling_bound: tools under polling may go round for ever"),
        ("off", ""),
        ("{polling: [], polling_bound: off}", ""),
    ],
)
def test_what_can_never_fire_is_warned_of(text: str, warning: str) -> None:
    found = warnings(text)

    assert len(found) == bool(warning)
    assert all(warning in one for one in found)
