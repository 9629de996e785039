"""What the model is told of its loop: whole sentences about names and counts, and nothing else."""

import pytest

from proxy.core.loops.detectors.registry import DETECTORS
from proxy.core.loops.finding import RUNGS, Finding, Rung
from proxy.core.loops.wording import concluding, concluding_by_call, notes_of, steering

NAMES = [detector.name for detector in DETECTORS]


def finding(detector: str, rung: Rung = "steer", tools: tuple[str, ...] = ("fetch",)) -> Finding:
    return Finding(detector, rung, 3, 5, tools, max(1, len(tools)))


@pytest.mark.parametrize("detector", NAMES)
@pytest.mark.parametrize("tools", [(), ("fetch",), ("fetch", "parse", "fetch"), ("t",) * 20])
def test_each_detector_has_its_sentence(detector: str, tools: tuple[str, ...]) -> None:
    """Every place in it is filled, whatever is known of the tools."""
    for told in (steering, concluding, concluding_by_call):
        text = told(finding(detector, tools=tools))
        assert "3" in text
        assert "{" not in text
        assert "  " not in text


def test_most_rungs_say_nothing() -> None:
    said = {rung for rung in RUNGS if notes_of(finding("repeat", rung))}

    assert said == {"steer", "final_answer"}


def test_where_a_tool_is_forced_the_end_is_a_call() -> None:
    """No tool is withheld there, so it is not said that none can be called."""
    (text,) = notes_of(finding("repeat", "final_answer"), must_call=True)

    assert "No tool can be called" not in text
    assert "by the call that gives the final answer" in text
    assert notes_of(finding("repeat"), must_call=True) == notes_of(finding("repeat"))


@pytest.mark.parametrize("detector", NAMES)
def test_no_note_is_longer_than_it_was_priced(detector: str) -> None:
    """The hold is made before it is known how a request wants to be answered."""
    found = finding(detector, "final_answer")

    assert len(concluding_by_call(found)) <= len(concluding(found))
