"""The fold: what a log of events says of its session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.fingerprints import IN_CLEAR, Fingerprint, pack
from proxy.core.session import EMPTY, failed_before, fold, is_idle
from proxy.core.usage import Usage

FINGERPRINT = Fingerprint(b"d" * 16, IN_CLEAR, bytes(4), 1, 900, 1, 5, 6, "", (7, 8))
calls = st.sampled_from(["a", "b", "c"])
times = st.floats(min_value=1.0, max_value=1e9)
amounts = st.integers(min_value=0, max_value=10**9)
names = st.sampled_from(["h1", "h2", "h3"])
fingerprints = st.sampled_from(
    [b"", bytes(16), pack(FINGERPRINT), pack(replace(FINGERPRINT, base="a"))]
)
events = st.one_of(
    st.builds(ev.SessionOpened, at=times, generation=st.integers(1, 9)),
    st.builds(
        ev.StepReserved,
        at=times,
        call_id=calls,
        step=st.integers(1, 50),
        retry=st.booleans(),
        hold_cost_micro_usd=amounts,
        hold_tokens=amounts,
        body_digest=st.sampled_from([b"x", b"y"]),
        guided=st.booleans(),
        thread=names,
        turn=st.sampled_from([b"", b"r" * 24]),
        tail=st.sampled_from([b"", b"t" * 8]),
        users=st.sampled_from([b"", b"u" * 8]),
        content=fingerprints,
    ),
    st.builds(
        ev.HoldExtended, at=times, call_id=calls, hold_cost_micro_usd=amounts, hold_tokens=amounts
    ),
    st.builds(
        ev.StepSettled,
        at=times,
        call_id=calls,
        outcome=st.sampled_from(["answered", "cut", "client_left", "failed"]),
        cost_micro_usd=amounts,
        tokens=amounts,
        tools=st.lists(st.sampled_from(["search", "read"])).map(tuple),
        asked=st.sampled_from([b"", b"a" * 21]),
    ),
    st.builds(ev.StepReleased, at=times, call_id=calls),
    st.builds(ev.CallRefused, at=times, code=st.just("budget_exceeded")),
    st.builds(ev.LimitWarned, at=times, limit=st.just("steps")),
    st.builds(ev.LoopNoticed, at=times, rung=st.sampled_from(["warn", "stop"])),
    st.builds(ev.LimitsExtended, at=times, added=st.just((("steps", 5),))),
    st.builds(ev.SessionPaused, at=times),
    st.builds(ev.SessionResumed, at=times),
    st.builds(ev.SessionKilled, at=times),
    st.builds(ev.SessionFinished, at=times),
    st.builds(ev.HandedOff, at=times, handoff=names, blocking=st.booleans()),
    st.builds(ev.HandoffAnswered, at=times, handoff=names),
    st.builds(ev.Guided, at=times, message=names),
    st.builds(ev.WebhookDelivered, at=times, handoff=names),
    st.builds(ev.StepInherited, at=times, call_id=names, content=fingerprints),
    st.builds(ev.SessionForked, at=times, origin=names),
    st.builds(ev.SessionImported, at=times, origin=names),
    st.builds(ev.SessionDeleted, at=times),
    st.builds(ev.ReplayAllowed, at=times),
    st.builds(ev.ReplayBegan, at=times),
    st.builds(ev.StepReplayed, at=times, step=st.just(1), call_id=calls),
    st.builds(ev.ReplayDiverged, at=times, step=st.just(1)),
)


@st.composite
def logs_of(draw: st.DrawFn) -> list[ev.AnyEvent]:
    """Logs in which an open call's id is not opened again: the ledger gives each call a new one."""
    log: list[ev.AnyEvent] = []
    opened: set[str] = set()
    for event in draw(st.lists(events, max_size=30)):
        if isinstance(event, ev.StepReserved):
            if event.call_id in opened:
                continue
            opened.add(event.call_id)
        if isinstance(event, ev.StepSettled | ev.StepReleased):
            opened.discard(event.call_id)
        log.append(event)
    return log


logs = logs_of()


@given(logs, logs)
def test_a_checkpoint_plus_the_rest_equals_the_whole(
    head: list[ev.AnyEvent], tail: list[ev.AnyEvent]
) -> None:
    """Stores may fold only the tail on a cached state."""
    assert fold(head + tail) == fold(tail, start=fold(head))


@given(logs)
def test_what_is_held_is_the_sum_of_the_open_calls(log: list[ev.AnyEvent]) -> None:
    """The totals that limits read are derived; they must never drift from the holds."""
    state = fold(log)

    assert state.held_micro_usd == sum(c.cost_micro_usd for c in state.held.values())
    assert state.held_tokens == sum(c.tokens for c in state.held.values())
    assert state.seq == len(log)


@given(logs, calls, amounts)
def test_settling_twice_books_once(log: list[ev.AnyEvent], call: str, cost: int) -> None:
    """A settlement may be delivered again after a crash or a cancellation."""
    settled = ev.StepSettled(at=2e9, call_id=call, cost_micro_usd=cost, tokens=7)
    once = fold([*log, settled])
    twice = fold([*log, settled, settled])

    assert twice.cost_micro_usd == once.cost_micro_usd
    assert twice.tokens == once.tokens
    assert twice.held == once.held


def reserved(call: str, step: int, *, retry: bool = False) -> ev.StepReserved:
    return ev.StepReserved(
        at=1.0,
        call_id=call,
        step=step,
        retry=retry,
        body_digest=b"body",
        hold_cost_micro_usd=100,
        hold_tokens=10,
    )


def test_a_released_step_is_given_back() -> None:
    """Nothing was sent, so the agent has not used a step."""
    state = fold([reserved("a", 1), ev.StepReleased(at=2.0, call_id="a")])

    assert state.steps == 0
    assert state.held_micro_usd == 0


def test_a_released_step_in_the_middle_keeps_the_numbers_of_the_later_ones() -> None:
    """Two calls of one session must never bear the same number."""
    state = fold([reserved("a", 1), reserved("b", 2), ev.StepReleased(at=2.0, call_id="a")])

    assert state.steps == 2


def test_a_released_retry_does_not_give_its_step_back() -> None:
    """The step was used by the attempt before it."""
    log: list[ev.AnyEvent] = [
        reserved("a", 1),
        ev.StepSettled(at=2.0, call_id="a", outcome="failed"),
        reserved("b", 1, retry=True),
        ev.StepReleased(at=3.0, call_id="b"),
    ]

    assert fold(log).steps == 1


@pytest.mark.parametrize("outcome", ["failed", "client_left", "truncated"])
def test_the_retry_of_a_failed_call_is_recognised_by_its_body(outcome: ev.Outcome) -> None:
    """SDKs send the same bytes again, also after their own time-out; that is one step."""
    state = fold([reserved("a", 1), ev.StepSettled(at=2.0, call_id="a", outcome=outcome)])

    again = failed_before(state, b"body")
    assert again is not None
    assert again.step == 1
    assert failed_before(state, b"other") is None


def test_the_repeat_of_an_answered_call_is_no_retry() -> None:
    """An agent that asks the same again after an answer takes another step."""
    state = fold([reserved("a", 1), ev.StepSettled(at=2.0, call_id="a", outcome="answered")])

    assert failed_before(state, b"body") is None


def test_one_failing_body_sent_for_ever_counts_as_steps_again() -> None:
    """Else an agent that loops on a failing call would never reach its step limit."""
    log: list[ev.AnyEvent] = []
    for attempt in range(8):
        log.append(reserved(str(attempt), 1, retry=attempt > 0))
        log.append(ev.StepSettled(at=2.0, call_id=str(attempt), outcome="failed"))

    assert failed_before(fold(log[:-2]), b"body") is not None
    assert failed_before(fold(log), b"body") is None


def test_a_new_generation_counts_from_nought_but_keeps_open_holds() -> None:
    """A call in flight across the border still has to be settled, once."""
    state = fold(
        [
            ev.SessionOpened(at=1.0),
            reserved("a", 1),
            ev.SessionKilled(at=2.0),
            ev.SessionOpened(at=3.0, generation=2),
        ]
    )

    assert (state.steps, state.generation, state.status) == (0, 2, "active")
    assert state.held_micro_usd == 100


def test_the_statuses_in_order_of_strength() -> None:
    """Killed beats finished beats paused beats awaiting a human beats warned."""
    log: list[ev.AnyEvent] = [ev.SessionOpened(at=1.0)]
    seen = [fold(log).status]
    for event in (
        ev.LimitWarned(at=1.0, limit="steps"),
        ev.HandedOff(at=1.0, handoff="h1", blocking=True),
        ev.SessionPaused(at=1.0),
        ev.SessionFinished(at=1.0),
        ev.SessionKilled(at=1.0),
    ):
        log.append(event)
        seen.append(fold(log).status)

    assert seen == ["active", "warned", "awaiting_human", "paused", "finished", "killed"]


def test_settlement_counts_tools_tokens_and_velocity() -> None:
    """What the limits read next."""
    settled = ev.StepSettled(
        at=100.0,
        call_id="a",
        cost_micro_usd=5,
        tokens=30,
        usage=Usage(input_tokens=10, cache_read_tokens=5, output_tokens=15),
        tools=("search", "read", "search"),
    )
    late = ev.StepSettled(at=161.0, call_id="b", cost_micro_usd=7)
    state = fold([reserved("a", 1), settled, reserved("b", 2), late])

    assert (state.input_tokens, state.output_tokens, state.tokens) == (15, 15, 30)
    assert (state.tool_calls, dict(state.per_tool)) == (3, {"search": 2, "read": 1})
    assert state.cost_micro_usd == 12
    assert state.recent_costs == ((161.0, 7),)
    assert state.input_tokens == 15


def test_costs_from_the_future_are_forgotten() -> None:
    """The clock was set back: when it catches up they must not count as recent again."""
    before = ev.StepSettled(at=5000.0, call_id="a", cost_micro_usd=5)
    after = ev.StepSettled(at=100.0, call_id="b", cost_micro_usd=7)

    assert fold([reserved("a", 1), before, reserved("b", 2), after]).recent_costs == ((100.0, 7),)


def handed_off(handoff: str, *, blocking: bool = True) -> ev.HandedOff:
    return ev.HandedOff(at=1.0, handoff=handoff, blocking=blocking)


def waiting(*log: ev.AnyEvent) -> list[str]:
    return [handoff.handoff for handoff in fold(log).handoffs]


def test_a_session_waits_until_each_of_its_handoffs_is_answered() -> None:
    """Two tool calls of one answer can wait at once, and each has an answer of its own."""
    log: list[ev.AnyEvent] = [handed_off("h1"), handed_off("h2")]
    log.append(ev.HandoffAnswered(at=2.0, handoff="h1"))

    assert waiting(*log) == ["h2"]
    assert fold(log).status == "awaiting_human"
    assert fold([*log, ev.HandoffAnswered(at=3.0, handoff="h2")]).status == "active"


def test_an_answer_to_what_is_not_open_changes_nothing() -> None:
    assert waiting(handed_off("h1"), ev.HandoffAnswered(at=2.0, handoff="h9")) == ["h1"]


def test_a_stop_that_does_not_block_stands_until_a_call_goes_on() -> None:
    """Then the limit was raised elsewhere: nobody has to answer any more."""
    queue = [handed_off("h1", blocking=False), handed_off("h2")]

    assert fold(queue[:1]).status == "active"
    assert waiting(*queue, reserved("a", 1)) == ["h2"]


@pytest.mark.parametrize(
    "end", [ev.SessionKilled(at=2.0), ev.SessionFinished(at=2.0), ev.SessionOpened(at=2.0)]
)
def test_nobody_is_asked_about_a_session_that_is_over(end: ev.AnyEvent) -> None:
    assert waiting(handed_off("h1"), handed_off("h2", blocking=False), end) == []


@pytest.mark.parametrize(
    "answer",
    [
        ev.HandoffAnswered(at=2.0, handoff="h1"),
        ev.Guided(at=2.0, message="go on"),
        ev.LimitsExtended(at=2.0, added=(("steps", 5),)),
    ],
)
def test_an_answer_wakes_a_finished_session(answer: ev.AnyEvent) -> None:
    """A human who comes in the morning finds the same session, not a new one of its id."""
    state = fold([ev.SessionOpened(at=1.0), ev.SessionFinished(at=1.5), answer])

    assert (state.status, state.generation) == ("active", 1)


def guided_call(call: str) -> ev.StepReserved:
    return ev.StepReserved(at=2.0, call_id=call, step=1, guided=True)


def test_guidance_is_carried_by_one_step() -> None:
    log: list[ev.AnyEvent] = [ev.Guided(at=1.0, message="a"), ev.Guided(at=1.0, message="b")]

    assert fold(log).guidance == ("a", "b")
    assert fold([*log, reserved("x", 1)]).guidance == ("a", "b")
    log.append(guided_call("x"))
    assert fold(log).guidance == ()
    assert fold([*log, ev.StepSettled(at=3.0, call_id="x")]).guidance == ()


@pytest.mark.parametrize(
    "end",
    [
        ev.StepReleased(at=3.0, call_id="x"),
        *(
            ev.StepSettled(at=3.0, call_id="x", outcome=outcome)
            for outcome in ("failed", "client_left", "truncated", "expired")
        ),
    ],
)
def test_guidance_that_no_model_has_read_goes_with_the_next_call(end: ev.AnyEvent) -> None:
    """An SDK sends the failed call again, and a human must not have to."""
    log: list[ev.AnyEvent] = [ev.Guided(at=1.0, message="a"), guided_call("x")]
    log += [ev.Guided(at=2.5, message="b"), end]

    assert fold(log).guidance == ("a", "b")


def test_a_call_that_carried_nothing_gives_no_guidance_back() -> None:
    """It failed, and the message still waits: once."""
    log: list[ev.AnyEvent] = [ev.Guided(at=1.0, message="a"), reserved("x", 1)]
    log.append(ev.StepSettled(at=3.0, call_id="x", outcome="failed"))

    assert fold(log).guidance == ("a",)


def test_a_session_that_waits_for_its_human_is_never_idle() -> None:
    """Humans sleep; what only stands in the queue is over as any other."""
    waits = fold([ev.SessionOpened(at=1.0), handed_off("h1")])
    stands = fold([ev.SessionOpened(at=1.0), handed_off("h1", blocking=False)])

    assert not is_idle(waits, 3600, 1e9)
    assert is_idle(stands, 3600, 1e9)


def asked(call_id: str, base: str = "", at: float = 1.0) -> ev.StepReserved:
    return ev.StepReserved(at, call_id, 1, content=pack(replace(FINGERPRINT, base=base)))


def test_a_recorded_request_takes_the_place_of_the_one_it_goes_on_from() -> None:
    """Two histories in turns: each goes on from its own newest request."""
    state = fold([asked("a1"), asked("b1"), asked("a2", "a1"), asked("b2", "b1")])

    assert [call_id for call_id, _ in state.recorded] == ["a2", "b2"]


def test_of_many_histories_the_newest_eight_are_gone_on_from() -> None:
    log: list[ev.AnyEvent] = [asked(f"c{n}") for n in range(10)]

    assert [call_id for call_id, _ in fold(log).recorded] == [f"c{n}" for n in range(2, 10)]
    assert fold(log).recorded[0][1] == pack(FINGERPRINT)


def test_a_new_generation_goes_on_from_nothing_recorded_before() -> None:
    """Its steps are found without the log of the one before."""
    log: list[ev.AnyEvent] = [asked("a1"), ev.ReplayAllowed(1.0), ev.SessionOpened(2.0, 2)]

    assert (fold(log[:2]).resumable, fold(log).resumable, fold(log).recorded) == (True, False, ())


def test_what_a_fork_inherited_is_gone_on_from() -> None:
    log: list[ev.AnyEvent] = [
        ev.StepInherited(1.0, 1, "a1", content=pack(FINGERPRINT)),
        asked("b", "a1"),
    ]

    assert [call_id for call_id, _ in fold(log[:1]).recorded] == ["a1"]
    assert [call_id for call_id, _ in fold(log).recorded] == ["b"]
    assert fold(log[:1]).steps == fold(log[:1]).calls == 0


def test_a_deleted_session_is_as_if_it_had_never_been_but_for_its_seq() -> None:
    """What comes after is chained to the tombstone, and begins anew."""
    tombstone = ev.SessionDeleted(5.0, events=2)
    log: list[ev.AnyEvent] = [ev.SessionOpened(1.0), ev.SessionKilled(1.0), tombstone]

    assert fold(log) == fold([tombstone]) == replace(EMPTY, seq=3)
    assert fold(log).is_new
    assert not fold(log[:2]).is_new


def test_a_replay_wakes_a_finished_session() -> None:
    log: list[ev.AnyEvent] = [ev.SessionOpened(1.0), ev.SessionFinished(2.0), ev.ReplayBegan(3.0)]

    assert (fold(log).finished, fold(log).generation) == (False, 1)
