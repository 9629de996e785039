"""The steps of a session, read from its log."""

from dataclasses import dataclass

from proxy.core import events as ev
from proxy.core.steps import RecordedStep, StepLog, counted, steps_of
from proxy.core.usage import Usage


@dataclass(frozen=True)
class Logged:
    seq: int
    event: ev.AnyEvent


def logged(*events: ev.AnyEvent, after: int = 0) -> list[Logged]:
    return [Logged(after + n, event) for n, event in enumerate(events, 1)]


def reserved(call_id: str, step: int, *, retry: bool = False) -> ev.StepReserved:
    return ev.StepReserved(
        at=float(step),
        call_id=call_id,
        step=step,
        retry=retry,
        dialect="messages",
        model="m-1",
        upstream="near",
        body_digest=call_id.encode() + b"-body",
        content=call_id.encode() + b"-mark",
        chain=call_id.encode() + b"-chain",
        stream=True,
    )


def settled(call_id: str, **more: object) -> ev.StepSettled:
    return ev.StepSettled(at=9.0, call_id=call_id, content=call_id.encode(), **more)  # type: ignore[arg-type]  # fields of the event


OPENED = ev.SessionOpened(at=0.0)


def test_a_step_has_what_was_asked_and_what_came_of_it() -> None:
    """Whoever shows, forks or replays it reads nothing else of the log."""
    usage = Usage(input_tokens=3, output_tokens=4)
    answer = settled("c1", usage=usage, cost_micro_usd=11, tools=("search",))

    (step,) = steps_of(logged(OPENED, reserved("c1", 1), answer))

    assert step == RecordedStep(
        step=1,
        call_id="c1",
        dialect="messages",
        model="m-1",
        upstream="near",
        stream=True,
        body_digest=b"c1-body",
        chain=b"c1-chain",
        content=b"c1-mark",
        answer=b"c1",
        outcome="answered",
        status=200,
        usage=usage,
        cost_micro_usd=11,
        tools=("search",),
        reserved_seq=2,
        settled_seq=3,
        at=1.0,
        settled_at=9.0,
        inherited=False,
    )
    assert step.is_answered


def test_a_step_in_flight_has_no_outcome() -> None:
    (step,) = steps_of(logged(OPENED, reserved("c1", 1)))

    assert (step.outcome, step.settled_seq, step.answer) == (None, 0, b"")
    assert not step.is_answered


def test_a_step_that_was_answered_elsewhere_says_where() -> None:
    moved = settled("c1", upstream="far", model="m-2")

    (step,) = steps_of(logged(OPENED, reserved("c1", 1), moved))

    assert (step.upstream, step.model) == ("far", "m-2")


def test_what_the_provider_refused_is_no_answer() -> None:
    """An error is settled as failed; a status that is none of success is one whatever it says."""
    log = logged(
        *(OPENED, reserved("c1", 1), settled("c1", outcome="failed", status=500)),
        *(reserved("c2", 2), settled("c2", status=300)),
        *(reserved("c3", 3), settled("c3", outcome="cut")),
    )

    assert [step.is_answered for step in steps_of(log)] == [False, False, False]


def test_steps_are_in_the_order_of_their_reservation() -> None:
    """Whichever of several at once ends first."""
    log = logged(OPENED, reserved("c1", 1), reserved("c2", 2), settled("c2"), settled("c1"))

    assert [(s.call_id, s.settled_seq) for s in steps_of(log)] == [("c1", 5), ("c2", 4)]


def test_a_call_that_was_never_sent_is_no_step() -> None:
    released = ev.StepReleased(at=2.0, call_id="c1")

    assert steps_of(logged(OPENED, reserved("c1", 1), released)) == ()


def test_a_close_counts_once() -> None:
    """A settlement written twice, or a release after it, changes nothing; nor one of no call."""
    log = logged(
        *(OPENED, reserved("c1", 1), settled("c1", cost_micro_usd=1)),
        *(settled("c1", cost_micro_usd=2), ev.StepReleased(at=2.0, call_id="c1")),
        *(settled("c9"), ev.StepReleased(at=2.0, call_id="c9")),
    )

    (step,) = steps_of(log)

    assert (step.cost_micro_usd, step.settled_seq) == (1, 3)


def test_only_the_newest_generation_is_read() -> None:
    """What came before is another run's; what of it is settled late is none of this one's."""
    log = logged(
        *(OPENED, reserved("c1", 1), settled("c1"), reserved("c2", 2)),
        *(ev.SessionOpened(at=5.0, generation=2), settled("c2"), reserved("c3", 1)),
    )

    assert [step.call_id for step in steps_of(log)] == ["c3"]


def test_nothing_is_left_of_a_deleted_session() -> None:
    deleted = ev.SessionDeleted(at=5.0)

    assert steps_of(logged(OPENED, reserved("c1", 1), settled("c1"), deleted)) == ()


def test_a_fork_has_the_steps_of_its_origin_and_numbers_its_own_after_them() -> None:
    """Its limits count from nought, and its log too; a reader counts on."""
    first = ev.StepInherited(
        at=5.0,
        step=1,
        call_id="c1",
        dialect="chat",
        model="m",
        body_digest=b"b",
        chain=b"c",
        stream=True,
        content=b"q",
        answer=b"a",
    )
    failed = ev.StepInherited(at=5.0, step=2, call_id="c2", dialect="chat", content=b"q")
    forked = ev.SessionForked(at=5.0, origin="s0", step=2)
    log = logged(OPENED, forked, first, failed, reserved("d1", 1), settled("d1"))

    steps = steps_of(log)

    assert [(s.step, s.call_id, s.inherited) for s in steps] == [
        (1, "c1", True),
        (2, "c2", True),
        (3, "d1", False),
    ]
    assert [step.is_answered for step in steps] == [True, False, True]
    one = steps[0]
    assert (one.dialect, one.model, one.upstream) == ("chat", "m", "")
    assert (one.body_digest, one.chain, one.content, one.answer) == (b"b", b"c", b"q", b"a")
    assert (one.stream, one.cost_micro_usd, one.at, one.settled_at) == (True, 0, 5.0, 5.0)
    assert (one.reserved_seq, one.settled_seq) == (3, 3)


def test_the_next_generation_of_a_fork_is_no_fork() -> None:
    forked = ev.SessionForked(at=5.0, origin="s0", step=2)
    log = logged(OPENED, forked, ev.SessionOpened(at=6.0, generation=2), reserved("d1", 1))

    assert [step.step for step in steps_of(log)] == [1]


def test_a_log_read_in_two_is_the_log_read_at_once() -> None:
    log = logged(OPENED, reserved("c1", 1), settled("c1"), reserved("c2", 2), settled("c2"))
    for border in range(len(log) + 1):
        read = StepLog()
        for part in (log[:border], log[border:]):
            for one in part:
                read.take(one.event, one.seq)

        assert tuple(read.steps.values()) == steps_of(log)


def test_of_several_attempts_the_answered_one_counts() -> None:
    """Also where a later one failed: an SDK that asks again after it was answered."""
    log = logged(
        *(OPENED, reserved("c1", 1), settled("c1", outcome="client_left")),
        *(reserved("c2", 1, retry=True), settled("c2")),
        *(reserved("c3", 1, retry=True), settled("c3", outcome="failed", status=500)),
        *(reserved("c4", 2), settled("c4", outcome="failed", status=500), reserved("c5", 2)),
    )
    steps = steps_of(log)

    found = [counted(steps, n) for n in (1, 2, 3)]

    assert [step and step.call_id for step in found] == ["c2", "c5", None]


def test_a_step_of_its_own_counts_before_one_that_was_inherited() -> None:
    """A log in which the two have one number."""
    inherited = ev.StepInherited(at=5.0, step=1, call_id="c1", answer=b"a")
    log = logged(OPENED, reserved("d1", 1), inherited)

    step = counted(steps_of(log), 1)

    assert step is not None
    assert step.call_id == "d1"
