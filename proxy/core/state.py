"""The state of a session, as values. How events make it is in `session`."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from proxy.core.events import HandedOff
from proxy.core.fingerprints import Recorded
from proxy.core.loops.finding import Rung
from proxy.core.loops.thread import Threads
from proxy.core.tools.state import NOTHING_KNOWN, ToolState

Costs = tuple[tuple[float, int], ...]
SessionStatus = Literal["active", "warned", "paused", "awaiting_human", "killed", "finished"]


class SessionKey(NamedTuple):
    """Always both: two tenants with the same session id share nothing."""

    tenant: str
    session: str


class HeldCall(msgspec.Struct, frozen=True, gc=False):
    """A reservation that has not been settled. guidance: a human's messages that it carries.
    thread, turn: whose turn of which history it is; turn -1 where nobody looks for loops."""

    step: int
    retry: bool
    model: str
    cost_micro_usd: int
    tokens: int
    deadline: float
    accounts: tuple[str, ...]
    body_digest: bytes
    attempts: int = 1
    trees: tuple[str, ...] = ()
    guidance: tuple[str, ...] = ()
    thread: str = ""
    turn: int = -1


class FailedCall(msgspec.Struct, frozen=True):
    """A call whose last attempt failed. The same body again is the same step, `attempts` so far."""

    body_digest: bytes
    step: int
    attempts: int


class Below(msgspec.Struct, frozen=True):
    """What the sessions below one came to, all together. calls: in flight. per_tool: by the globs
    of its limits. recent_micro_usd: settled within a minute, where it has a limit on that."""

    spent_micro_usd: int = 0
    held_micro_usd: int = 0
    tokens: int = 0
    held_tokens: int = 0
    steps: int = 0
    tool_calls: int = 0
    calls: int = 0
    per_tool: Mapping[str, int] = {}
    recent_micro_usd: int = 0


NOTHING_BELOW = Below()


class SessionState(msgspec.Struct, frozen=True, gc=False):
    """What a fold of the log gives. `seq` is that of the last event applied (0: nothing yet).

    killed, paused: by a human; either wakes a finished session, so that its id does not begin anew.
    handoffs: what stands before a human, the oldest first. guidance: a human's messages that no
        step has carried to the model yet.
    threads: its histories, as detectors of loops see them. cycles: turns that called tools and came
        back. rung: the highest that a loop has come to since the user, or a human, last spoke.
    largest_tokens: of one settled call: what the provider's own memory of it may come to again.
    steps: admitted calls, less those released. tool_calls, per_tool: what answers asked for.
    recent_costs: (second, micro-USD settled in it) of the last minute, for velocity.
    failed: the newest attempts that failed: an SDK's retry of one is no new step.
    budget_micro_usd, budget_steps: what the session brought along when it was opened.
    has_children, below: whether there are sessions below it, and what they came to: that is never
        in the log, but added by who decides on it.
    tools: what is known of guarded tool calls.
    recorded: the newest requests whose bodies were recorded, one of each history: what later ones
        go on from. resumable: a human lets its calls be answered from the record. replays: events
        about answers from the record, so far. forked_at: the step of its origin that it began at;
        its own checkpoints are numbered on from there.
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
    held: Mapping[str, HeldCall] = {}
    held_micro_usd: int = 0
    held_tokens: int = 0
    tool_calls: int = 0
    per_tool: Mapping[str, int] = {}
    extended: Mapping[str, int] = {}
    warned: frozenset[str] = frozenset()
    recent_costs: Costs = ()
    failed: tuple[FailedCall, ...] = ()
    refusals: int = 0
    refused_code: str = ""
    refused_at: float = 0.0
    model: str = ""
    budget_micro_usd: int | None = None
    budget_steps: int | None = None
    has_children: bool = False
    below: Below = NOTHING_BELOW
    handoffs: tuple[HandedOff, ...] = ()
    guidance: tuple[str, ...] = ()
    tools: ToolState = NOTHING_KNOWN
    threads: Threads = {}
    cycles: int = 0
    rung: Rung | None = None
    recorded: Recorded = ()
    resumable: bool = False
    replays: int = 0
    forked_at: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of the session; its log may have a tombstone."""
        return self.generation == 0 and self.updated_at == 0.0

    @property
    def status(self) -> SessionStatus:
        if self.killed:
            return "killed"
        if self.finished:
            return "finished"
        if self.paused:
            return "paused"
        if self.waits:
            return "awaiting_human"
        return "warned" if self.warned else "active"

    @property
    def waits(self) -> bool:
        """Whether no call is let through until a human has answered."""
        return any(handoff.blocking for handoff in self.handoffs)


EMPTY = SessionState()
VELOCITY_SECONDS = 60.0
MARKED_AGAIN = 1 / 8
"""After this share of the time for which it may be idle, a session above is told of calls again."""
_ATTEMPTS_PER_STEP = 8


def tree_idle_seconds(idle_seconds: float, call_seconds: float) -> float:
    """After what time a session with others below it is over: not while a call below may run, which
    may have begun up to MARKED_AGAIN later than it was last told of one."""
    return max(idle_seconds, call_seconds + idle_seconds * MARKED_AGAIN)


def is_idle(state: SessionState, idle_seconds: float, now: float) -> bool:
    """Whether a session is over because nobody used it. One that was stopped waits for its human,
    if that was asked for."""
    used = state.held or state.paused or state.waits or now - state.updated_at <= idle_seconds
    return not (used or state.is_new)


def failed_before(state: SessionState, body_digest: bytes) -> FailedCall | None:
    """The failed call that this body repeats, if it still counts as the same step.

    Codex makes up to 6 attempts and SDKs 3; who sends one failing body for ever is not retrying.
    """
    for failed in state.failed:
        if failed.body_digest == body_digest and failed.attempts < _ATTEMPTS_PER_STEP:
            return failed
    return None
