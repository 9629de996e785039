"""What a session begins with that goes on from a step of another."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.fingerprints import IN_CLEAR, Fingerprint, pack
from proxy.core.forking import Fork, fork_of
from proxy.core.session import fold
from proxy.core.steps import counted, steps_of
from proxy.core.tools.facts import Handed


@dataclass(frozen=True)
class Logged:
    seq: int
    event: ev.AnyEvent
    chain: bytes


def logged(*events: ev.AnyEvent) -> list[Logged]:
    return [Logged(n, event, b"chain-%d" % n) for n, event in enumerate(events, 1)]


def digest(of: str) -> bytes:
    return of.encode().ljust(16, b".") + b"-mark"


def reserved(call_id: str, step: int, **more: object) -> ev.StepReserved:
    return ev.StepReserved(
        at=float(step),
        call_id=call_id,
        step=step,
        dialect="messages",
        model="m",
        body_digest=digest("d" + call_id),
        chain=digest("h" + call_id),
        stream=True,
        content=digest("q" + call_id),
        hold_cost_micro_usd=50,
        accounts=("global:day",),
        trees=("tree",),
        **more,  # type: ignore[arg-type]  # fields of the event
    )


def settled(call_id: str, outcome: ev.Outcome = "answered", **more: object) -> ev.StepSettled:
    content = digest("a" + call_id)
    return ev.StepSettled(
        at=9.0,
        call_id=call_id,
        outcome=outcome,
        content=content,
        cost_micro_usd=7,
        **more,  # type: ignore[arg-type]
    )


def inherited(call_id: str, step: int, *, answered: bool = True) -> ev.StepInherited:
    return ev.StepInherited(
        at=float(step),
        step=step,
        call_id=call_id,
        dialect="messages",
        model="m",
        body_digest=digest("d" + call_id),
        chain=digest("h" + call_id),
        stream=True,
        content=digest("q" + call_id),
        answer=digest("a" + call_id) if answered else b"",
    )


OPENED = ev.SessionOpened(at=0.0, agent="a", budget_micro_usd=5)
RUN: list[ev.AnyEvent] = [OPENED]
for number in (1, 2, 3):
    RUN += [reserved(f"c{number}", number), settled(f"c{number}")]


def fork_at(log: Sequence[ev.AnyEvent], step: int) -> Fork:
    found = fork_of(logged(*log), "s1", step)
    assert found is not None
    return found


def forked(log: Sequence[ev.AnyEvent], step: int) -> tuple[ev.AnyEvent, ...]:
    """With all contents that there may be."""
    found = fork_at(log, step)
    answered = [call for call, one in found.steps.items() if one.is_answered]
    return found.events(found.kept, answered, "agent", 100.0)


def steps_in(events: Sequence[ev.AnyEvent]) -> list[ev.AnyEvent]:
    return [one for one in events if isinstance(one, ev.StepInherited) and one.step]


def test_a_fork_says_where_it_came_from_and_what_it_knows() -> None:
    fork = forked(RUN, 2)

    assert fork == (
        ev.SessionOpened(at=100.0, agent="agent", source="fork"),
        ev.SessionForked(at=100.0, origin="s1", step=2, chain=b"chain-5"),
        inherited("c1", 1),
        inherited("c2", 2),
        ev.ReplayAllowed(at=100.0),
    )
    assert fork_at(RUN, 2).kept == ("c1", "c2")
    assert fork_at(RUN, 2).missing == ()


def test_it_has_cost_nothing_and_holds_nothing() -> None:
    """Nor does it carry the budget that the run brought along: its limits are its own."""
    state = fold(forked(RUN, 3))

    assert (state.steps, state.calls, state.cost_micro_usd, dict(state.held)) == (0, 0, 0, {})
    assert (state.resumable, state.agent, state.budget_micro_usd) == (True, "agent", None)


def test_what_comes_next_is_told_by_what_it_inherited() -> None:
    """Its first own body is kept as what it adds to the last one of the other."""
    packed = pack(Fingerprint(b"d" * 16, IN_CLEAR, bytes(4), 1, 2, 3, 4, 5))
    log: list[ev.AnyEvent] = [OPENED, replace(reserved("c1", 1), content=packed), settled("c1")]

    assert fold(forked(log, 1)).recorded == (("c1", packed),)


def test_a_step_that_is_not_there_cannot_be_forked() -> None:
    for step in (0, 4, -1):
        assert fork_of(logged(*RUN), "s1", step) is None


def test_attempts_that_failed_are_inherited_without_an_answer() -> None:
    """The body of the one that was answered may be told by theirs."""
    log: list[ev.AnyEvent] = [
        OPENED,
        reserved("c1", 1),
        settled("c1", "cut"),
        reserved("c2", 1),
        settled("c2"),
    ]

    fork = forked(log, 1)
    assert steps_in(fork) == [inherited("c1", 1, answered=False), inherited("c2", 1)]
    assert fork_at(log, 1).missing == ()


def test_a_step_in_flight_is_inherited_as_unanswered() -> None:
    fork = forked([*RUN, reserved("c4", 4)], 4)

    assert steps_in(fork)[-1] == inherited("c4", 4, answered=False)
    assert fork_at([*RUN, reserved("c4", 4)], 4).missing == (4,)
    assert isinstance(fork[1], ev.SessionForked)
    assert fork[1].chain == b"chain-8"


def test_an_answer_that_is_an_error_is_none() -> None:
    """A provider's 500 is not given again."""
    log: list[ev.AnyEvent] = [OPENED, reserved("c1", 1), settled("c1", status=500)]

    assert steps_in(forked(log, 1)) == [inherited("c1", 1, answered=False)]
    assert fork_at(log, 1).missing == (1,)


def test_what_was_not_kept_is_told() -> None:
    """Too large, or kept as a hash only."""
    hashed = ev.StepSettled(at=9.0, call_id="c2", content=b"")
    log: list[ev.AnyEvent] = [OPENED, reserved("c1", 1), settled("c1"), reserved("c2", 2), hashed]

    assert fork_at(log, 2).missing == (2,)
    assert fork_at(log, 1).missing == ()


def test_a_fork_of_a_fork_has_the_steps_of_both() -> None:
    first = forked(RUN, 2)
    own: list[ev.AnyEvent] = [reserved("f1", 1), settled("f1"), reserved("f2", 2), settled("f2")]

    again = forked([*first, *own], 3)
    own_one = replace(inherited("f1", 3), at=1.0)
    assert steps_in(again) == [inherited("c1", 1), inherited("c2", 2), own_one]
    steps = steps_of(logged(*again))
    assert [(one.step, one.call_id, one.inherited) for one in steps] == [
        (1, "c1", True),
        (2, "c2", True),
        (3, "f1", True),
    ]
    assert steps_in(forked([*first, *own], 1)) == [inherited("c1", 1)]


def test_only_the_newest_generation_is_forked() -> None:
    again = ev.SessionOpened(at=50.0, generation=2)
    log: list[ev.AnyEvent] = [*RUN, again, reserved("n1", 1), settled("n1")]

    fork = forked(log, 1)
    assert steps_in(fork) == [inherited("n1", 1)]
    assert fork_of(logged(*log), "s1", 2) is None


def handed(call_id: str) -> ev.CallsHanded:
    return ev.CallsHanded(at=3.0, calls=(Handed(call_id, "send", b"digest-" + call_id.encode()),))


def result(call_id: str) -> ev.ResultRecorded:
    return ev.ResultRecorded(at=4.0, call=b"digest-" + call_id.encode(), tool="send", text="sent")


def test_what_was_done_before_is_known_and_what_came_after_is_not() -> None:
    """The mail of step 1 was sent, though its result was told with step 2; that of step 2 is of the
    other session alone."""
    log: list[ev.AnyEvent] = [
        OPENED,
        reserved("c1", 1),
        settled("c1"),
        handed("h1"),
        reserved("c2", 2),
        result("h1"),
        settled("c2"),
        handed("h2"),
        reserved("c3", 3),
        result("h2"),
    ]

    def facts(step: int) -> list[ev.AnyEvent]:
        kinds = (ev.CallsHanded, ev.ResultRecorded)
        return [one for one in forked(log, step) if isinstance(one, kinds)]

    assert facts(1) == [handed("h1"), result("h1")]
    assert facts(2) == [handed("h1"), result("h1"), handed("h2"), result("h2")]
    assert dict(fold(forked(log, 1)).tools.effects).keys() == {b"digest-h1"}
    twice = forked(forked(log, 2), 1)
    assert [one for one in twice if isinstance(one, ev.ResultRecorded)] == [result("h1")]


def test_what_an_earlier_generation_did_is_forgotten() -> None:
    """As it is by the session itself; a claim before the first call is of its generation."""
    early: list[ev.AnyEvent] = [
        OPENED,
        reserved("c0", 1),
        settled("c0"),
        handed("h0"),
        result("h0"),
    ]
    claimed = ev.SessionOpened(at=20.0, generation=2, source="claim")
    now: list[ev.AnyEvent] = [
        ev.SessionOpened(at=21.0, generation=2),
        reserved("c1", 1),
        settled("c1"),
    ]

    fork = forked([*early, claimed, handed("h1"), *now], 1)
    assert [one for one in fork if isinstance(one, ev.CallsHanded)] == [handed("h1")]
    gone = ev.SessionDeleted(at=22.0, events=5)
    fork = forked([*early, gone, OPENED, reserved("c1", 1), settled("c1")], 1)
    assert [one for one in fork if isinstance(one, ev.CallsHanded | ev.ResultRecorded)] == []


def test_the_step_that_counts_answers_in_the_fork() -> None:
    log: list[ev.AnyEvent] = [
        OPENED,
        reserved("c1", 1),
        settled("c1"),
        reserved("c2", 1),
        settled("c2", "failed"),
    ]

    step = counted(steps_of(logged(*forked(log, 1))), 1)
    assert step is not None
    assert (step.call_id, step.is_answered) == ("c1", True)


def test_what_a_body_is_told_by_goes_along_and_is_never_given() -> None:
    """A call that was never sent, one of a history beside, an answer that broke off: the ledger
    must account for their contents, and no agent may be answered from them."""
    log: list[ev.AnyEvent] = [
        OPENED,
        reserved("c1", 1),
        ev.StepReleased(at=2.0, call_id="c1"),
        reserved("c2", 2),
        settled("c2"),
        reserved("c3", 1),
        settled("c3", "cut"),
        reserved("c4", 1),
        settled("c4"),
    ]

    found = fork_at(log, 1)
    assert found.kept == ("c3", "c4")
    events = found.events(("c1", "c2", "c3", "c4"), ("c2", "c3", "c4"), None, 1.0)
    bases = [
        ev.StepInherited(at=0.0, call_id="c1", content=digest("qc1")),
        ev.StepInherited(at=0.0, call_id="c2", content=digest("qc2"), answer=digest("ac2")),
        ev.StepInherited(at=0.0, call_id="c3", content=digest("qc3"), answer=digest("ac3")),
    ]
    assert events[2:-1] == (*bases, replace(inherited("c4", 1), at=1.0))
    again = fork_at(events, 1)
    assert again.kept == ("c4",)
    assert (
        again.events(("c1", "c2", "c3", "c4"), ("c2", "c3", "c4"), None, 1.0)[2:-1] == events[2:-1]
    )
    assert fork_of(logged(*events), "s1", 0) is None


def test_what_does_not_go_along_is_not_told_of() -> None:
    """A ledger that tells of a content that it has not is damaged."""
    (one,) = [
        e for e in fork_at(RUN, 1).events((), (), None, 1.0) if isinstance(e, ev.StepInherited)
    ]

    assert (one.content, one.answer) == (b"", b"")


def test_a_step_that_was_tried_again_late_has_what_came_of_it() -> None:
    """Step 2 began before the attempt of step 1 that counts."""
    log: list[ev.AnyEvent] = [
        OPENED,
        reserved("c1", 1),
        settled("c1", "failed"),
        reserved("c2", 2),
        reserved("c3", 1),
        settled("c3"),
        handed("h1"),
        reserved("c4", 3),
        ev.CallsWithheld(at=5.0),
        ev.ResponseRenamed(at=5.0, given="a", kept="b"),
    ]

    kinds = (ev.CallsHanded, ev.CallsWithheld, ev.ResponseRenamed)
    assert [one for one in forked(log, 1) if isinstance(one, kinds)] == [handed("h1")]
    assert len([one for one in forked(log, 3) if isinstance(one, kinds)]) == 3
