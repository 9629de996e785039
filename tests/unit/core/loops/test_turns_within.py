"""A loop whose first turn asked for more: some models ask for two things in one turn, and from then
on for one of them alone."""

import pytest

from proxy.core.loops.detectors.base import Detector
from proxy.core.loops.detectors.repeat import Repeat
from proxy.core.loops.detectors.repeat_any_result import RepeatAnyResult
from proxy.core.loops.finding import Finding
from proxy.core.loops.policy import Loops, Rungs
from proxy.core.loops.rounds import ROUND
from tests.unit.core.loops.kit import DEFAULT, Agent, Session, begun, call

BOOK, SEND = call("book"), call("send")


def times(agent: Agent, name: str = "repeat") -> int:
    """How often the detector counts the newest turn."""
    detector: Detector = Repeat() if name == "repeat" else RepeatAnyResult()
    count = detector.look(DEFAULT, agent.session.threads[agent.key].rounds)
    return count.times if count else 0


def test_the_turn_that_asked_for_more_is_the_first_of_the_row() -> None:
    agent = begun()
    agent.turn((BOOK, "booked"), (SEND, "sent it"))

    found = [agent.turn((SEND, "sent it")) for _ in range(4)]

    assert [finding and finding.rung for finding in found] == [
        *("warn", "steer", "final_answer", "stop")
    ]
    assert isinstance(found[-1], Finding)
    assert found[-1].count == 5


def test_another_result_in_that_turn_is_another_matter_for_repeat_alone() -> None:
    agent = begun()
    agent.turn((BOOK, "booked"), (SEND, "sent it"))

    agent.turn((SEND, "has been sent before"))

    assert (times(agent), times(agent, "repeat_any_result")) == (0, 2)


def test_a_turn_that_asks_for_something_else_too_begins_a_row() -> None:
    """To read again beside something new is how healthy agents work."""
    agent = begun()
    agent.turn((BOOK, "booked"))

    agent.turn((BOOK, "booked"), (SEND, "sent it"))

    assert times(agent) == times(agent, "repeat_any_result") == 0


def test_only_the_turn_just_before_counts() -> None:
    agent = begun()
    agent.turn((BOOK, "booked"), (SEND, "sent it"))
    agent.turn((call("look"), "a page"))

    agent.turn((SEND, "sent it"))

    assert times(agent) == times(agent, "repeat_any_result") == 0


def test_the_row_goes_on_through_turns_of_the_same_calls() -> None:
    """{a, b, c}, {a, b}, {a, b}: three; {a} after it: two again."""
    both = ((BOOK, "booked"), (SEND, "sent it"))
    agent = begun()
    agent.turn(*both, (call("look"), "a page"))

    agent.turn(*both)
    agent.turn(*both)
    assert times(agent) == 3

    agent.turn((BOOK, "booked"))
    assert times(agent) == 2


def test_the_same_call_twice_in_one_turn_is_one_call() -> None:
    agent = begun()
    agent.turn((BOOK, "booked"), (BOOK, "booked"))
    assert times(agent) == 0

    agent.turn((BOOK, "booked"))

    assert times(agent) == 2


def test_a_thread_keeps_a_few_bytes_for_its_newest_turn_alone() -> None:
    """Ten thousand sessions are in memory."""
    agent = begun()
    many = tuple((call("look", f'{{"at": {at}}}'), f"page {at} of the book") for at in range(40))

    agent.turn(*many)
    thread = agent.session.threads[agent.key]
    assert (len(thread.rounds), len(thread.apart)) == (ROUND, 16 * 16)

    agent.turn((BOOK, "booked"))
    thread = agent.session.threads[agent.key]
    assert (len(thread.rounds), thread.apart) == (2 * ROUND, b"")


@pytest.mark.parametrize("loops", [Loops(repeat=None), Loops(repeat=Rungs(None, None, None, 9))])
def test_a_detector_that_is_off_says_nothing_of_it(loops: Loops) -> None:
    agent = begun(Session(loops))
    agent.turn((BOOK, "booked"), (SEND, "sent it"))

    assert agent.turn((SEND, "sent it")) is None
