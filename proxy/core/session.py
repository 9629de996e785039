"""The state of a session and how events make it. `apply` is total and pure; `fold` repeats it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from proxy.core import events as ev

SessionStatus = Literal["active", "warned", "paused", "awaiting_human", "killed", "finished"]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Always both: two tenants with the same session id share nothing."""

    tenant: str
    session: str


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A reservation that has not been settled."""

    step: int
    retry: bool
    model: str
    cost_micro_usd: int
    tokens: int
    deadline: float
    accounts: tuple[str, ...]
    body_digest: bytes
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call whose last attempt failed. The same body again is the same step, `attempts` so far."""

    body_digest: bytes
    step: int
    attempts: int


@dataclass(frozen=True, slots=True)
class SessionState:
    """What a fold of the log gives. `seq` is that of the last event applied (0: nothing yet).

    killed, paused: by a human; either wakes a finished session, so that its id does not begin anew.
    largest_tokens: of one settled call: what the provider's own memory of it may come to again.
    steps: admitted calls, less those released. tool_calls, per_tool: what answers asked for.
    recent_costs: (at, micro-USD) settled in the last minute, for velocity.
    failed: the newest attempts that failed: an SDK's retry of one is no new step.
    """

    seq: int = 0
    generation: int = 0
    agent: str | None = None
    parent: str | None = None
    source: str = ""
    paused: bool = False
    killed: bool = False
    finished: bool = False
    steps: int = 0
    calls: int = 0
    tokens: int = 0
    largest_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    held: Mapping[str, HeldCall] = field(default_factory=dict)
    held_micro_usd: int = 0
    held_tokens: int = 0
    tool_calls: int = 0
    per_tool: Mapping[str, int] = field(default_factory=dict)
    extended: Mapping[str, int] = field(default_factory=dict)
    warned: frozenset[str] = frozenset()
    recent_costs: tuple[tuple[float, int], ...] = ()
    failed: tuple[FailedCall, ...] = ()
    refusals: int = 0
    refused_code: str = ""
    refused_at: float = 0.0
    model: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def status(self) -> SessionStatus:
        if self.killed:
            return "killed"
        if self.finished:
            return "finished"
        if self.paused:
            return "paused"
        return "warned" if self.warned else "active"


EMPTY = SessionState()
VELOCITY_SECONDS = 60.0
_REMEMBERED_FAILURES = 16
_ATTEMPTS_PER_STEP = 8


def is_idle(state: SessionState, idle_seconds: float, now: float) -> bool:
    """Whether a session is over because nobody used it. One that was paused waits for its human."""
    used = state.held or state.paused or now - state.updated_at <= idle_seconds
    return state.seq > 0 and not used


def failed_before(state: SessionState, body_digest: bytes) -> FailedCall | None:
    """The failed call that this body repeats, if it still counts as the same step.

    Codex makes up to 6 attempts and SDKs 3; an agent that sends one failing body for ever is not
    retrying any more, and its attempts count as steps again.
    """
    for failed in state.failed:
        if failed.body_digest == body_digest and failed.attempts < _ATTEMPTS_PER_STEP:
            return failed
    return None


def fold(log: Iterable[ev.AnyEvent], start: SessionState = EMPTY) -> SessionState:
    """The state after `log`, from `start`."""
    state = start
    for event in log:
        state = apply(state, event)
    return state


def apply(  # noqa: C901 - the arms of a match over a closed union count as one
    state: SessionState, event: ev.AnyEvent
) -> SessionState:
    """The state after one more event. Closing an unknown call changes nothing but seq."""
    match event:
        case ev.SessionOpened():
            return _opened(state, event)
        case ev.StepReserved():
            after = _reserved(state, event)
        case ev.HoldExtended():
            after = _hold_extended(state, event)
        case ev.StepSettled():
            after = _settled(state, event)
        case ev.StepReleased():
            after = _released(state, event)
        case ev.CallRefused():
            after = replace(
                state,
                refusals=state.refusals + 1,
                refused_code=event.code,
                refused_at=event.at,
            )
        case ev.LimitWarned():
            after = replace(state, warned=state.warned | {event.limit})
        case ev.LimitsExtended():
            after = _extended(state, event)
        case ev.SessionPaused():
            after = replace(state, paused=True, finished=False)
        case ev.SessionResumed():
            after = replace(state, paused=False)
        case ev.SessionKilled():
            after = replace(state, killed=True, finished=False)
        case ev.SessionFinished():
            after = replace(state, finished=True)
        case _:
            assert_never(event)
    return replace(after, seq=state.seq + 1, updated_at=max(state.updated_at, event.at))


def _opened(state: SessionState, event: ev.SessionOpened) -> SessionState:
    """A new generation keeps only the calls still in flight: their holds must be settled once."""
    return SessionState(
        seq=state.seq + 1,
        generation=event.generation,
        agent=event.agent,
        parent=event.parent,
        source=event.source,
        held=state.held,
        held_micro_usd=state.held_micro_usd,
        held_tokens=state.held_tokens,
        created_at=event.at,
        updated_at=event.at,
    )


def held_call(state: SessionState, event: ev.StepReserved) -> HeldCall:
    """The hold that `event` opens on `state`."""
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
    )


def _reserved(state: SessionState, event: ev.StepReserved) -> SessionState:
    call = held_call(state, event)
    return replace(
        state,
        steps=state.steps if event.retry else max(state.steps, event.step),
        calls=state.calls + 1,
        model=event.model,
        held={**state.held, event.call_id: call},
        held_micro_usd=state.held_micro_usd + call.cost_micro_usd,
        held_tokens=state.held_tokens + call.tokens,
        failed=tuple(f for f in state.failed if f.body_digest != event.body_digest),
    )


def _hold_extended(state: SessionState, event: ev.HoldExtended) -> SessionState:
    call = state.held.get(event.call_id)
    if call is None:
        return state
    more = replace(
        call,
        cost_micro_usd=call.cost_micro_usd + event.hold_cost_micro_usd,
        tokens=call.tokens + event.hold_tokens,
    )
    return replace(
        state,
        held={**state.held, event.call_id: more},
        held_micro_usd=state.held_micro_usd + event.hold_cost_micro_usd,
        held_tokens=state.held_tokens + event.hold_tokens,
    )


def _without_hold(state: SessionState, call_id: str) -> tuple[SessionState, HeldCall | None]:
    call = state.held.get(call_id)
    if call is None:
        return state, None
    held = {k: v for k, v in state.held.items() if k != call_id}
    freed = replace(
        state,
        held=held,
        held_micro_usd=state.held_micro_usd - call.cost_micro_usd,
        held_tokens=state.held_tokens - call.tokens,
    )
    return freed, call


def _settled(state: SessionState, event: ev.StepSettled) -> SessionState:
    freed, call = _without_hold(state, event.call_id)
    if call is None:
        return state
    per_tool = dict(freed.per_tool)
    for tool in event.tools:
        per_tool[tool] = per_tool.get(tool, 0) + 1
    # Either way: a clock that was set back leaves costs from the future, which would count again.
    recent = tuple(p for p in freed.recent_costs if abs(p[0] - event.at) < VELOCITY_SECONDS)
    failed = freed.failed
    if event.outcome in ("failed", "client_left", "truncated"):
        again = FailedCall(call.body_digest, call.step, call.attempts)
        failed = (*failed, again)[-_REMEMBERED_FAILURES:]
    usage = event.usage
    return replace(
        freed,
        cost_micro_usd=freed.cost_micro_usd + event.cost_micro_usd,
        tokens=freed.tokens + event.tokens,
        largest_tokens=max(freed.largest_tokens, event.tokens),
        input_tokens=freed.input_tokens + (usage.total_input_tokens if usage else 0),
        output_tokens=freed.output_tokens + (usage.output_tokens if usage else 0),
        tool_calls=freed.tool_calls + len(event.tools),
        per_tool=per_tool,
        recent_costs=(*recent, (event.at, event.cost_micro_usd)),
        failed=failed,
    )


def _released(state: SessionState, event: ev.StepReleased) -> SessionState:
    """The number goes back only if it is the newest: numbers in use are never given out twice."""
    freed, call = _without_hold(state, event.call_id)
    if call is None or call.retry or call.step != freed.steps:
        return freed
    return replace(freed, steps=freed.steps - 1)


def _extended(state: SessionState, event: ev.LimitsExtended) -> SessionState:
    extended = dict(state.extended)
    for limit, amount in event.added:
        extended[limit] = extended.get(limit, 0) + amount
    return replace(state, extended=extended)
