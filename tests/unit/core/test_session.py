"""The fold: what a log of events says of its session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import events as ev
from proxy.core.session import failed_before, fold
from proxy.core.usage import Usage

calls = st.sampled_from(["a", "b", "c"])
times = st.floats(min_value=1.0, max_value=1e9)
amounts = st.integers(min_value=0, max_value=10**9)
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
    ),
    st.builds(ev.StepReleased, at=times, call_id=calls),
    st.builds(ev.CallRefused, at=times, code=st.just("budget_exceeded")),
    st.builds(ev.LimitWarned, at=times, limit=st.just("steps")),
    st.builds(ev.LimitsExtended, at=times, added=st.just((("steps", 5),))),
    st.builds(ev.SessionPaused, at=times),
    st.builds(ev.SessionResumed, at=times),
    st.builds(ev.SessionKilled, at=times),
    st.builds(ev.SessionFinished, at=times),
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
    """Killed beats finished beats paused beats warned."""
    log: list[ev.AnyEvent] = [ev.SessionOpened(at=1.0)]
    seen = [fold(log).status]
    for event in (
        ev.LimitWarned(at=1.0, limit="steps"),
        ev.SessionPaused(at=1.0),
        ev.SessionFinished(at=1.0),
        ev.SessionKilled(at=1.0),
    ):
        log.append(event)
        seen.append(fold(log).status)

    assert seen == ["active", "warned", "paused", "finished", "killed"]


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
