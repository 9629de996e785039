"""What the ledger is asked to hold, what it grants, and what a call came to: values only."""

from collections.abc import Callable, Mapping

import msgspec

from proxy.core.ask import Account, Ask
from proxy.core.contents import NOT_RECORDED, RecordedContent
from proxy.core.decision import Admit
from proxy.core.effects import brought, recorded
from proxy.core.engine import Rules
from proxy.core.events import (
    AnyEvent,
    LimitWarned,
    LoopNoticed,
    Outcome,
    SessionFinished,
    SessionOpened,
    StepReserved,
)
from proxy.core.limits.rooms import SESSION, Place
from proxy.core.policy import Budget, Limits, Policy
from proxy.core.request import DialectName, Message
from proxy.core.session import SessionKey, SessionState, is_idle
from proxy.core.state import tree_idle_seconds
from proxy.core.usage import Usage

GRACE_SECONDS = 60.0
"""A hold outlives its call's deadline by this much, so that the call itself can settle it."""


class Brings(msgspec.Struct, frozen=True, gc=False):
    """The history of a request, for the results of tool calls in it. contents: makes them as JSON,
    by call id; asked only where one is new."""

    messages: tuple[Message, ...]
    contents: Callable[[], Mapping[str, bytes]]


class Reservation(msgspec.Struct, frozen=True):
    """What a call asks the ledger to hold.

    new: the session's id was made for this call. deadline_seconds: until when the call must have
    been settled, after now. wait_seconds: how long it waits for what calls in flight hold.
    limits_of: those of an agent of this tenant, for the sessions above. budget_*: what the run
    brings along. brings: None where no tool is guarded. stream: whether its answer is to be one.
    keep: records its body on the state that it is held on; None where nothing is recorded.
    """

    key: SessionKey
    call_id: str
    ask: Ask
    rules: Rules
    budgets: tuple[Budget, ...]
    agent: str | None
    parent: str | None
    source: str
    upstream: str
    deadline_seconds: float
    idle_seconds: int
    new: bool = False
    wait_seconds: float = 0.0
    limits_of: Callable[[str | None], Limits] | None = None
    budget_micro_usd: int | None = None
    budget_steps: int | None = None
    brings: Brings | None = None
    stream: bool = False
    keep: Callable[[SessionState], RecordedContent] | None = None


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """An admitted call and the state of its session right after it. most: the output tokens, of
    all choices together, that its bound allows. above: the sessions that it counts in beside its
    own."""

    admit: Admit
    state: SessionState
    most: int
    above: tuple[SessionKey, ...] = ()


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What a call came to. facts: what else is known by it, written with it. asked: what its answer
    asks to be called (`core.loops.turns`). upstream, model: as in `StepSettled`. kept: of the
    answer."""

    outcome: Outcome
    status: int
    cost_micro_usd: int
    usage: Usage | None
    tokens: int
    tools: tuple[str, ...] = ()
    response_id: str | None = None
    links: tuple[bytes, ...] = ()
    facts: tuple[AnyEvent, ...] = ()
    asked: bytes = b""
    upstream: str = ""
    model: str = ""
    kept: RecordedContent = NOT_RECORDED


def idle_seconds(policy: Policy) -> float:
    """After what time any session is over, whatever may run below it."""
    longest = max([policy.deadline_seconds, *[r.deadline_seconds or 0.0 for r in policy.routes]])
    return tree_idle_seconds(policy.idle_seconds, longest + GRACE_SECONDS)


def most_output(ask: Ask, admit: Admit) -> int:
    """Output tokens that the call's bound lets it produce."""
    bound = ask.bound_per_choice if admit.output_bound is None else admit.output_bound
    return bound * ask.choices


def place_of(key: SessionKey, place: Place) -> Place:
    """Where the room that a decision names is waited for."""
    return key if place == SESSION else place


def opening(want: Reservation, state: SessionState, now: float) -> tuple[AnyEvent, ...]:
    """The events that begin a session or, after idling, its next generation. One that was only
    claimed in so far is begun as it is: what was claimed holds."""
    idle_seconds: float = want.idle_seconds
    if state.has_children:
        idle_seconds = tree_idle_seconds(idle_seconds, want.deadline_seconds)
    idle = not state.is_new and is_idle(state, idle_seconds, now)
    claimed = False
    if not (state.is_new or idle or state.finished):
        claimed = state.source == "claim"
        if not claimed:
            return ()
    begin = SessionOpened(
        at=now,
        generation=state.generation + (not claimed),
        agent=want.agent,
        parent=want.parent,
        source=want.source,
        budget_micro_usd=want.budget_micro_usd,
        budget_steps=want.budget_steps,
    )
    return (SessionFinished(at=now), begin) if idle and not state.finished else (begin,)


def holding(
    want: Reservation,
    admit: Admit,
    state: SessionState,
    accounts: tuple[Account, ...],
    trees: tuple[str, ...],
    owner: str,
    now: float,
    kept: RecordedContent,
) -> tuple[AnyEvent, ...]:
    """The events of an admitted call: its hold, and what it is warned of for the first time."""
    ask, noted = want.ask, admit.noted
    reserved = StepReserved(
        now,
        want.call_id,
        admit.step,
        admit.step <= state.steps,
        owner,
        now + want.deadline_seconds,
        ask.dialect,
        ask.model,
        want.upstream,
        ask.body_digest,
        admit.hold_cost_micro_usd,
        admit.hold_input_tokens + admit.output_allowance,
        tuple([a.account for a in accounts]),
        trees,
        bool(admit.guidance),
        *(noted.thread, noted.round, noted.key, noted.users),
        *(kept.fingerprint, kept.chain, want.stream),
    )
    events: tuple[AnyEvent, ...] = (reserved,)
    if admit.warnings or admit.at_rung:
        events += _warned(admit, state, now)
    if want.brings is not None and state.tools.awaited:
        events += _results(want.brings, ask.dialect, state, now)
    return events


def _results(
    brings: Brings, dialect: DialectName, state: SessionState, now: float
) -> tuple[AnyEvent, ...]:
    """Of calls that the agent was handed, and that this request is the first to tell."""
    if not brought(state.tools, brings.messages):
        return ()
    return recorded(state.tools, brings.messages, dialect, brings.contents(), now)


def _warned(admit: Admit, state: SessionState, now: float) -> tuple[AnyEvent, ...]:
    limits = tuple([LimitWarned(now, name) for name in admit.warnings if name not in state.warned])
    loop, thread = admit.loop, admit.noted.thread
    if loop is None or not admit.at_rung:
        return limits
    return (*limits, LoopNoticed(now, loop.detector, loop.rung, loop.count, loop.tools, thread))
