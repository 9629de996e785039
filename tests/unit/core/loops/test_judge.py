"""How far a loop has gone, from what an agent sends and is answered."""

import pytest

from proxy.core.loops.judge import judge
from proxy.core.loops.policy import Loops, Rungs
from proxy.core.loops.thread import after_request
from proxy.core.loops.turns import tail_of
from proxy.core.usage import Answer
from tests.unit.core.loops.kit import Agent, Session, begun, call, message, request_of

PAGE = "Sorry, the page that you are looking for cannot be shown now. Please try again later."


def rungs(agent: Agent, *results: str) -> list[str | None]:
    found = [agent.turn((call(), result)) for result in results]
    return [finding.rung if finding else None for finding in found]


def test_the_same_call_with_the_same_result_climbs_the_ladder_to_its_end() -> None:
    agent = begun()

    assert rungs(agent, *["404"] * 5) == [None, "warn", "steer", "final_answer", "stop"]
    assert agent.finding is not None
    assert (agent.finding.detector, agent.finding.count, agent.finding.tools) == (
        *("repeat", 5, ("fetch",)),
    )


def test_ids_that_every_turn_shares_hide_no_repeat() -> None:
    """Some local servers name each call `call_0`."""
    assert rungs(begun(ids="call_0"), *["404"] * 5)[-1] == "stop"


def test_a_different_call_in_between_resets_a_repeat() -> None:
    """Edit, test, edit, test: the test fails the same way until it does not."""
    agent = begun()

    for at in range(20):
        assert agent.turn((call("edit", f'{{"line": {at}}}'), "edited")) is None
        assert agent.turn((call("test"), "1 failed: expected 3, got 4")) is None


def test_a_new_user_message_ends_all_that_was_counted() -> None:
    agent = begun()
    rungs(agent, *["404"] * 4)

    agent.says("I cannot.", "Then try the other server.")

    assert rungs(agent, *["404"] * 3) == [None, "warn", "steer"]


def test_the_same_words_of_a_user_again_end_nothing() -> None:
    """An agent that always says `continue` is no human."""
    agent = begun()
    agent.says("I will now do it.", "continue")

    found = [agent.says("I will now do it.", "continue") for _ in range(5)]

    assert [finding and finding.rung for finding in found] == [
        *(None, "warn", "steer", "final_answer", "stop"),
    ]


def test_the_same_words_after_a_pause_are_new() -> None:
    """An agent that a clock wakes is told the same each time, and finds nothing each time."""
    agent = begun()
    agent.session.rested = True

    assert [agent.says("No new mail.", "Look for mail.") for _ in range(12)] == [None] * 12


def test_a_retry_after_a_pause_is_no_new_user_message() -> None:
    """Nor do words that a client sends with every request end what was counted in between."""
    agent = begun()
    agent.says("I will now do it.", "continue")
    for _ in range(3):
        steered = agent.says("I will now do it.", "continue")
    agent.session.rested = True

    assert steered is not None
    assert agent.asks() == steered


def test_results_after_a_pause_are_counted_on() -> None:
    """A tool that takes a minute is called in vain as well."""
    agent = begun()
    agent.session.rested = True

    assert rungs(agent, *["404"] * 5)[-1] == "stop"


def test_words_beside_slow_results_are_no_new_ones() -> None:
    """A harness says the same with every result, and the tool takes a minute."""
    agent = begun()
    agent.session.rested = True
    for at in range(6):
        one = call(call_id=f"c{at}")
        agent.session.answered(agent.key, agent.at, Answer("", (one,)))
        agent.history += [message("assistant", "", [one]), message("tool", "404", (), f"c{at}")]
        agent.history.append(message("user", "Proceed."))
        agent.asks()

    assert agent.finding is not None
    assert agent.finding.rung == "stop"


def test_a_user_who_asks_for_another_record_ends_a_stop() -> None:
    """Ids and times change by themselves in results, not in what a person asks for."""
    agent = begun()
    agent.says("x", "Fetch record 0d1c3c9e-6a4b-4a3e-9d2f-3f2a1b0c9d8e.")
    assert rungs(agent, *["404"] * 5)[-1] == "stop"

    agent.history.append(message("user", "Fetch record 5b8f0c11-0000-4a3e-9d2f-3f2a1b0c9d8e."))

    assert agent.asks() is None


def test_a_user_message_beside_results_resets_too() -> None:
    agent = begun()
    rungs(agent, *["404"] * 4)
    agent.history.append(message("user", "Stop that, please."))

    assert agent.asks() is None


def test_a_request_that_is_sent_again_counts_nothing_and_is_told_the_same() -> None:
    """An SDK's retry: steered like the first, and no nearer to the stop."""
    agent = begun()
    rungs(agent, "404", "404")

    first = agent.turn((call(), "404"))
    again = [agent.asks() for _ in range(5)]

    assert first is not None
    assert first.rung == "steer"
    assert again == [first] * 5
    assert rungs(agent, "404") == ["final_answer"]


def test_between_two_thresholds_only_the_warning_stays() -> None:
    """The model is told once per rung, not with each call."""
    agent = begun(Session(Loops(repeat=Rungs(2, 3, 5, 7), repeat_any_result=None)))

    assert rungs(agent, *["404"] * 7) == [
        *(None, "warn", "steer", "warn", "final_answer", "warn", "stop"),
    ]


def test_a_skipped_warning_leaves_silence_between_two_thresholds() -> None:
    agent = begun(Session(Loops(repeat=Rungs(None, 2, None, 4), repeat_any_result=None)))

    assert rungs(agent, *["404"] * 4) == [None, "steer", None, "stop"]


def test_observed_loops_are_found_and_let_go_on() -> None:
    agent = begun(Session(Loops(observe=True)))

    assert set(rungs(agent, *["404"] * 9)[1:]) == {"observe"}


def test_a_loop_comes_to_each_rung_for_the_first_time_once() -> None:
    """What is written down and counted, once per rung."""
    agent = begun(Session(Loops(cycle=None, repeat=Rungs(2, 4, 6, 8), repeat_any_result=None)))
    first, again = [], []
    for _ in range(7):
        agent.turn((call(), "404"))
        first.append(agent.verdict.first)
        agent.asks()
        again.append(agent.verdict.first)

    assert first == [False, True, False, True, False, True, False]
    assert not any(again)


def test_a_way_round_comes_to_each_rung_once() -> None:
    """Not with each turn of it that follows."""
    agent, first = begun(), []
    for at in range(9):
        agent.turn((call("search" if at % 2 else "fetch"), "404"))
        first.append(agent.verdict.first)

    assert first == [False] * 3 + [True, False, True, False, True, False]


def test_history_that_is_trimmed_compacted_or_rewritten_hides_nothing() -> None:
    agent = begun()
    rungs(agent, "404", "404")
    agent.history = agent.history[-2:]
    rungs(agent, "404")
    agent.history = [message("user", "Summary: we try to fetch."), *agent.history[-2:]]

    assert rungs(agent, "404") == ["final_answer"]


def test_threads_of_one_session_are_counted_apart() -> None:
    """Two sub-agents that do the same are not one that does it twice."""
    session = Session()
    agents = [begun(session) for _ in range(4)]

    for _ in range(2):
        for agent in agents:
            finding = agent.turn((call(), "404"))

    assert finding is not None
    assert finding.count == 2


@pytest.mark.parametrize("ids", ["", "call_0"])
def test_named_threads_are_counted_apart(ids: str) -> None:
    session = Session()
    agents = [begun(session, name, ids) for name in ("a", "b", "")]

    counts = []
    for _ in range(4):
        for agent in agents:
            finding = agent.turn((call(), "404"))
            counts.append(finding.count if finding else 1)

    assert counts == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_a_side_call_in_between_hides_nothing() -> None:
    """A title or a quota check under the same session id."""
    agent = begun()
    for at in range(4):
        agent.turn((call(), "404"))
        agent.session.ask([message("user", f"Give it a title: {at}")])

    assert rungs(agent, "404") == ["stop"]


def test_calls_of_one_turn_are_a_set() -> None:
    agent, one, other = begun(), (call("search"), "a"), (call("fetch"), "b")

    found = [agent.turn(*pairs) for pairs in ((one, other), (other, one), (one, one, other))]

    assert found[0] is None
    assert [finding.count for finding in found[1:] if finding] == [2, 3]
    assert found[2] is not None
    assert set(found[2].tools) == {"search", "fetch"}


def test_a_thread_that_is_not_known_is_only_noted() -> None:
    tail = tail_of(request_of([message("tool", "404", (), "call_9")]))

    verdict = judge(Loops(), {}, tail, 7)

    assert verdict.finding is None
    assert list(after_request({}, verdict.noted)) == [""]
