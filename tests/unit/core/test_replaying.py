"""What can be given again, and what an agent that started again was given already."""

from collections.abc import Iterable

import pytest

from proxy.core import events as ev
from proxy.core.replaying import Pick, Record, pick
from proxy.core.steps import RecordedStep
from tests.unit.core.test_steps import OPENED, logged


def reserved(call_id: str, body: str) -> ev.StepReserved:
    return ev.StepReserved(at=1.0, call_id=call_id, step=1, body_digest=body.encode())


def settled(call_id: str) -> ev.StepSettled:
    return ev.StepSettled(at=2.0, call_id=call_id, content=b"kept")


def live(*calls: str) -> list[ev.AnyEvent]:
    """Calls by their ids, each answered before the next; a call's body is its id's first letter."""
    return [event for call in calls for event in (reserved(call, call[0]), settled(call))]


def replayed(call_id: str, how: str = "exact") -> ev.StepReplayed:
    return ev.StepReplayed(at=3.0, call_id=call_id, how=how)  # type: ignore[arg-type]  # one of them


BEGAN = ev.ReplayBegan(at=3.0)


def record_of(*events: ev.AnyEvent) -> Record:
    record = Record()
    record.read(logged(OPENED, *events))
    return record


def due(
    record: Record, body: str, *, begins: bool = False, same_process: bool = False
) -> tuple[str, bool] | None:
    """The call whose answer is given, and whether another run begins with it."""
    fitting = [step for step in record.answered if step.body_digest == body.encode()]
    found = pick(record, fitting, begins=begins, same_process=same_process)
    return None if found is None else (found.step.call_id, found.begins)


def ids(steps: Iterable[RecordedStep]) -> str:
    return " ".join([step.call_id for step in steps])


def test_steps_are_found_by_what_they_sent() -> None:
    """Only those that were answered, in the order in which they were asked; of this generation."""
    released = ev.StepReleased(at=2.0, call_id="a4")
    asked = [reserved(f"a{n}", "a") for n in range(1, 5)]
    record = record_of(*asked, settled("a3"), settled("a1"), released, *live("b"))

    assert ids(record.answered_as(b"a")) == "a1 a3"
    assert ids(record.answered_as(b"b")) == "b"
    assert not record.answered_as(b"c")
    assert not record.answered_as(b"")

    record.read(logged(settled("a2"), after=record.seq))
    assert ids(record.answered_as(b"a")) == "a1 a2 a3"

    record.read(logged(ev.SessionOpened(at=5.0, generation=2), after=record.seq))
    assert not record.answered_as(b"a")
    assert record.answered_count == len(record) == 0


def test_steps_are_found_by_their_history() -> None:
    step = ev.StepInherited(at=1.0, call_id="h", body_digest=b"d", chain=b"e", answer=b"kept")
    record = record_of(step)

    assert ids(record.answered_as(b"d")) == ids(record.answered_as(b"e")) == "h"


def test_calls_in_flight_are_found_by_what_they_sent() -> None:
    """Neither those that ended, nor those whose history alone is the same."""
    asked = [reserved(f"a{n}", "a") for n in (1, 2, 3)]
    spelled = ev.StepReserved(at=1.0, call_id="b", step=1, body_digest=b"b", chain=b"a")
    released = ev.StepReleased(at=2.0, call_id="a2")
    record = record_of(*asked, spelled, released, settled("a3"))

    assert ids(record.in_flight_as(b"a")) == "a1"
    assert not record.in_flight_as(b"c")


def test_what_was_answered_since_is_told_once() -> None:
    record = record_of(*live("a"), reserved("b", "b"), *live("c"), settled("c"))
    assert ids(record.answered_since(0)) == "a c"

    record.read(logged(settled("b"), *live("d"), after=record.seq))

    assert ids(record.answered_since(2)) == "b d"
    assert record.answered_count == 4


def test_what_a_run_was_not_given_is_left() -> None:
    record = record_of(*live("a", "b", "c"))
    assert not record.left()

    record.read(logged(BEGAN, replayed("b"), *live("d"), after=record.seq))

    assert ids(record.left()) == "a c"


def test_an_agent_that_started_again_begins_another_run() -> None:
    """Whatever its first call is: the run before was given that answer, and comes no more by that
    connection."""
    record = record_of(*live("a", "b", "c"))

    assert due(record, "a") == ("a", True)
    assert due(record, "b") == ("b", True)


def test_the_run_goes_on_with_what_it_was_not_given() -> None:
    record = record_of(*live("a", "b", "c"), BEGAN, replayed("a"))

    assert due(record, "b") == ("b", False)
    assert due(record, "b", same_process=True) == ("b", False)


def test_the_same_body_gets_its_answers_in_their_order_each_once() -> None:
    """A stateless agent that samples one prompt: the third time is a new call."""
    record = record_of(*live("a1", "a2"), BEGAN)

    assert due(record, "a", same_process=True) == ("a1", False)
    record.read(logged(replayed("a1"), after=record.seq))
    assert due(record, "a", same_process=True) == ("a2", False)
    record.read(logged(replayed("a2"), after=record.seq))
    assert due(record, "a", same_process=True) is None


def test_what_was_answered_live_in_a_run_was_given_to_it() -> None:
    """An agent whose base URL always resumes, and that asks the same twice."""
    record = record_of(*live("a"))

    assert due(record, "a", same_process=True) is None


def test_a_run_that_began_again_in_the_process_shows_by_its_first_call() -> None:
    """It asks again what the session began with, and had come further."""
    record = record_of(*live("a", "b"))

    assert due(record, "a", same_process=True) == ("a", True)
    assert due(record, "b", same_process=True) is None


def test_calls_that_were_made_at_once_all_may_be_the_first() -> None:
    """None of them had seen an answer."""
    record = record_of(
        *(reserved("a", "a"), reserved("b", "b"), settled("b"), settled("a")), *live("c")
    )

    assert due(record, "a", same_process=True) == ("a", True)
    assert due(record, "b", same_process=True) == ("b", True)
    assert due(record, "c", same_process=True) is None


def test_a_call_that_begins_by_word_gets_the_first_answer() -> None:
    record = record_of(*live("a1", "a2"), BEGAN, replayed("a1"))

    assert due(record, "a", begins=True, same_process=True) == ("a1", True)


def test_a_run_that_begins_has_all_answers_before_it() -> None:
    record = record_of(*live("a1", "a2"))

    assert due(record, "a") == ("a1", True)


def test_what_was_not_recorded_is_not_due() -> None:
    record = record_of(*live("a"))

    assert due(record, "x", begins=True) is None
    assert due(record, "x") is None


def test_a_second_restart_is_given_all_again() -> None:
    """Also one in the middle of a replay."""
    record = record_of(*live("a", "b", "c"), BEGAN, replayed("a"), replayed("b"))

    assert due(record, "a") == ("a", True)
    record.read(logged(BEGAN, replayed("a"), after=record.seq))
    assert due(record, "b") == ("b", False)
    assert record.given == {"a"}


def test_what_a_run_made_live_is_in_the_record_of_the_next() -> None:
    record = record_of(*live("a", "b"), BEGAN, replayed("a"), replayed("b"), *live("c"), BEGAN)

    assert record.given == set()
    assert due(record, "c") == ("c", False)


def test_a_call_in_flight_has_no_answer_to_give() -> None:
    record = record_of(reserved("a", "a"))

    assert record.answered == []
    assert not record.is_empty
    assert due(record, "a") is None


def test_the_next_generation_has_a_record_of_its_own() -> None:
    record = record_of(
        *live("a"), BEGAN, replayed("a", "skipped"), ev.ReplayDiverged(at=4.0, chain=b"c")
    )
    record.read(logged(ev.SessionOpened(at=9.0, generation=2), after=record.seq))

    assert record.is_empty
    assert (record.given, record.skipped, record.diverged) == (set(), set(), set())
    assert (record.since_live, record.openings) == (0, 2)


def test_what_a_run_was_not_given_and_where_it_diverged_is_forgotten_with_it() -> None:
    diverged = ev.ReplayDiverged(at=4.0, step=2, chain=b"c")
    record = record_of(*live("a", "b"), BEGAN, replayed("a", "skipped"), diverged)
    assert (record.given, record.skipped, record.diverged) == ({"a"}, {"a"}, {b"c"})

    record.read(logged(BEGAN, after=record.seq))

    assert (record.given, record.skipped, record.diverged) == (set(), set(), set())


def test_replays_are_counted_until_the_session_comes_further() -> None:
    diverged = ev.ReplayDiverged(at=4.0, chain=b"c")
    record = record_of(*live("a"), BEGAN, replayed("a"), BEGAN, replayed("a"), diverged)
    assert record.since_live == 5

    record.read(logged(*live("b"), after=record.seq))

    assert record.since_live == 0


@pytest.mark.parametrize(
    ("event", "claims"),
    [
        (ev.CallClaimed(at=1.0, call=b"x"), True),
        (ev.ResultRecorded(at=1.0, call=b"x", source="claim"), True),
        (ev.ResultRecorded(at=1.0, call=b"x"), False),
    ],
)
def test_an_executor_that_asked_before_it_acted_is_known(event: ev.AnyEvent, claims: bool) -> None:
    assert record_of(event).claimed == ({b"x"} if claims else set())


def test_a_fork_was_given_nothing_of_what_it_inherited() -> None:
    inherited: Iterable[ev.AnyEvent] = [
        ev.StepInherited(at=1.0, step=n, call_id=name, body_digest=name.encode(), answer=b"kept")
        for n, name in enumerate("ab", 1)
    ]
    record = record_of(ev.SessionForked(at=1.0, step=2), *inherited)

    assert due(record, "a", same_process=True) == ("a", False)
    assert due(record, "b", same_process=True) == ("b", False)
    record.read(logged(replayed("a"), replayed("b"), after=record.seq))
    assert due(record, "a", same_process=True) == ("a", True)
    assert due(record, "b", same_process=True) is None


def test_a_pick_says_which_and_whether_a_run_begins() -> None:
    record = record_of(*live("a"))
    (step,) = record.answered

    assert pick(record, [step], begins=False, same_process=False) == Pick(step, begins=True)
    assert record.seq == 3


def test_what_was_claimed_is_known_in_its_generation() -> None:
    """A generation may begin with claims, and go on with its first call."""
    claim = ev.CallClaimed(at=1.0, call=b"x", until=9.0)

    assert record_of(claim, OPENED).claimed == {b"x"}
    assert record_of(claim, ev.SessionOpened(at=5.0, generation=2)).claimed == set()
    assert record_of(claim, ev.SessionDeleted(at=5.0), OPENED).claimed == set()
