"""How events make the state of a session. `apply` is total and pure; `fold` repeats it."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.fingerprints import remembered
from proxy.core.loops.rounds import is_of_calls
from proxy.core.loops.thread import Noted, Threads, after_answer, after_request
from proxy.core.state import EMPTY as EMPTY
from proxy.core.state import NOTHING_BELOW as NOTHING_BELOW
from proxy.core.state import VELOCITY_SECONDS as VELOCITY_SECONDS
from proxy.core.state import Below as Below
from proxy.core.state import Costs
from proxy.core.state import FailedCall as FailedCall
from proxy.core.state import HeldCall as HeldCall
from proxy.core.state import SessionKey as SessionKey
from proxy.core.state import SessionState as SessionState
from proxy.core.state import SessionStatus as SessionStatus
from proxy.core.state import failed_before as failed_before
from proxy.core.state import is_idle as is_idle
from proxy.core.transitions import changed

_REMEMBERED_FAILURES = 16
_TOLD = ("answered", "cut")
"""Outcomes after which the model has read what was put before it."""


def fold(log: Iterable[ev.AnyEvent], start: SessionState = EMPTY) -> SessionState:
    """The state after `log`, from `start`."""
    state = start
    for event in log:
        state = apply(state, event)
    return state


def apply(state: SessionState, event: ev.AnyEvent) -> SessionState:
    """The state after one more event. Closing an unknown call changes nothing but seq."""
    seq, at = state.seq + 1, event.at
    if at < state.updated_at:
        at = state.updated_at
    match event:
        case ev.SessionOpened():
            return _opened(state, event)
        case ev.StepReserved():
            return _reserved(state, event, seq, at)
        case ev.HoldExtended():
            return _grown(state, event, seq, at)
        case ev.StepSettled():
            return _settled(state, event, seq, at)
        case ev.StepReleased():
            return _released(state, event, seq, at)
        case ev.SessionDeleted():
            return SessionState(seq=max(seq, event.events + 1))
        case _:
            return replace(state, seq=seq, updated_at=at, **changed(state, event))


def _opened(state: SessionState, event: ev.SessionOpened) -> SessionState:
    """A new generation keeps only the calls still in flight: their holds must be settled once.
    Where claims came before the first call, that call says whose the session is."""
    claimed = state.source == "claim" and event.generation == state.generation
    anew = SessionState(
        has_children=state.has_children,
        held=state.held,
        held_micro_usd=state.held_micro_usd,
        held_tokens=state.held_tokens,
        created_at=event.at,
    )
    return replace(
        state if claimed else anew,
        seq=state.seq + 1,
        generation=event.generation,
        agent=event.agent,
        parent=event.parent,
        source=event.source,
        budget_micro_usd=event.budget_micro_usd,
        budget_steps=event.budget_steps,
        updated_at=event.at,
    )


def _held_call(state: SessionState, event: ev.StepReserved) -> HeldCall:
    before = failed_before(state, event.body_digest) if event.retry else None
    return HeldCall(
        step=event.step,
        retry=event.retry,
        model=event.model,
        cost_micro_usd=event.hold_cost_micro_usd,
        tokens=event.hold_tokens,
        deadline=event.deadline,
        accounts=event.accounts,
        body_digest=event.body_digest,
        attempts=before.attempts + 1 if before else 1,
        trees=event.trees,
        guidance=state.guidance if event.guided else (),
    )


def _reserved(state: SessionState, event: ev.StepReserved, seq: int, at: float) -> SessionState:
    call = _held_call(state, event)
    threads, cycles, rung = state.threads, state.cycles, state.rung
    if event.tail:
        threads = after_request(threads, Noted(event.thread, event.turn, event.tail, event.users))
        call = replace(call, thread=event.thread, turn=threads[event.thread].turns)
        cycles += is_of_calls(event.turn)
        if event.users and event.thread in state.threads:
            rung = None
    failed = state.failed
    if failed:
        failed = tuple([f for f in failed if f.body_digest != event.body_digest])
    handoffs = state.handoffs
    if handoffs:
        handoffs = tuple([handoff for handoff in handoffs if handoff.blocking])
    recorded = state.recorded
    if event.content:
        recorded = remembered(recorded, event.call_id, event.content)
    return replace(
        state,
        seq=seq,
        updated_at=at,
        steps=state.steps if event.retry else max(state.steps, event.step),
        calls=state.calls + 1,
        model=event.model,
        held={**state.held, event.call_id: call},
        held_micro_usd=state.held_micro_usd + call.cost_micro_usd,
        held_tokens=state.held_tokens + call.tokens,
        failed=failed,
        handoffs=handoffs,
        guidance=() if event.guided else state.guidance,
        threads=threads,
        cycles=cycles,
        rung=rung,
        recorded=recorded,
    )


def _grown(state: SessionState, event: ev.HoldExtended, seq: int, at: float) -> SessionState:
    call = state.held.get(event.call_id)
    if call is None:
        return replace(state, seq=seq, updated_at=at)
    more = replace(
        call,
        cost_micro_usd=call.cost_micro_usd + event.hold_cost_micro_usd,
        tokens=call.tokens + event.hold_tokens,
    )
    return replace(
        state,
        seq=seq,
        updated_at=at,
        held={**state.held, event.call_id: more},
        held_micro_usd=state.held_micro_usd + event.hold_cost_micro_usd,
        held_tokens=state.held_tokens + event.hold_tokens,
    )


def _settled(state: SessionState, event: ev.StepSettled, seq: int, at: float) -> SessionState:
    call = state.held.get(event.call_id)
    if call is None:
        return replace(state, seq=seq, updated_at=at)
    failed = state.failed
    if event.outcome in ("failed", "client_left", "truncated", "held"):
        again = FailedCall(call.body_digest, call.step, call.attempts)
        failed = (*failed, again)[-_REMEMBERED_FAILURES:]
    usage = event.usage
    into, out = (usage.total_input_tokens, usage.output_tokens) if usage else (0, 0)
    return replace(
        state,
        seq=seq,
        updated_at=at,
        held=_without(state.held, event.call_id),
        held_micro_usd=state.held_micro_usd - call.cost_micro_usd,
        held_tokens=state.held_tokens - call.tokens,
        cost_micro_usd=state.cost_micro_usd + event.cost_micro_usd,
        tokens=state.tokens + event.tokens,
        largest_tokens=max(state.largest_tokens, event.tokens),
        input_tokens=state.input_tokens + into,
        output_tokens=state.output_tokens + out,
        tool_calls=state.tool_calls + len(event.tools),
        per_tool=_counted(state.per_tool, event.tools) if event.tools else state.per_tool,
        recent_costs=_recent(state.recent_costs, event),
        failed=failed,
        guidance=state.guidance if event.outcome in _TOLD else call.guidance + state.guidance,
        threads=_asked(state.threads, call, event.asked, seq),
    )


def _asked(threads: Threads, call: HeldCall, asked: bytes, seq: int) -> Threads:
    if not asked or call.turn < 0:
        return threads
    return after_answer(threads, call.thread, call.turn, asked, seq)


def _without(held: Mapping[str, HeldCall], call_id: str) -> Mapping[str, HeldCall]:
    left = dict(held)
    del left[call_id]
    return left


def _counted(per_tool: Mapping[str, int], tools: tuple[str, ...]) -> Mapping[str, int]:
    after = dict(per_tool)
    for tool in tools:
        after[tool] = after.get(tool, 0) + 1
    return after


def _recent(costs: Costs, event: ev.StepSettled) -> Costs:
    """Either way: a clock that was set back leaves costs from the future."""
    second, cost = event.at // 1, event.cost_micro_usd
    if costs and costs[-1][0] == second:
        return (*costs[:-1], (second, costs[-1][1] + cost))
    kept = [pair for pair in costs if abs(pair[0] - event.at) < VELOCITY_SECONDS]
    return (*kept, (second, cost))


def _released(state: SessionState, event: ev.StepReleased, seq: int, at: float) -> SessionState:
    """The number goes back only if it is the newest: numbers in use are never given out twice."""
    call = state.held.get(event.call_id)
    if call is None:
        return replace(state, seq=seq, updated_at=at)
    return replace(
        state,
        seq=seq,
        updated_at=at,
        held=_without(state.held, event.call_id),
        held_micro_usd=state.held_micro_usd - call.cost_micro_usd,
        held_tokens=state.held_tokens - call.tokens,
        steps=state.steps - (not call.retry and call.step == state.steps),
        guidance=call.guidance + state.guidance,
    )
