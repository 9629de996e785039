"""The closed union of facts. A session is an append-only log of these; its state is their fold.

Every event has `at`, seconds since the epoch by the writer's clock. Frozen msgspec structs, tagged,
so that a later version reads a log written today: fields are only ever added, with defaults.
"""

from typing import Literal

from proxy.core.event import Event
from proxy.core.events_record import CheckpointEvent
from proxy.core.events_record import ReplayAllowed as ReplayAllowed
from proxy.core.events_record import ReplayBegan as ReplayBegan
from proxy.core.events_record import ReplayDiverged as ReplayDiverged
from proxy.core.events_record import SessionDeleted as SessionDeleted
from proxy.core.events_record import SessionForked as SessionForked
from proxy.core.events_record import SessionImported as SessionImported
from proxy.core.events_record import StepInherited as StepInherited
from proxy.core.events_record import StepReplayed as StepReplayed
from proxy.core.loops.finding import Rung
from proxy.core.tools.events import AnswerKept as AnswerKept
from proxy.core.tools.events import CallClaimed as CallClaimed
from proxy.core.tools.events import CallsHanded as CallsHanded
from proxy.core.tools.events import CallsWithheld as CallsWithheld
from proxy.core.tools.events import ResponseRenamed as ResponseRenamed
from proxy.core.tools.events import ResultRecorded as ResultRecorded
from proxy.core.tools.events import ToolEvent
from proxy.core.tools.facts import HeldTool
from proxy.core.usage import Usage

Outcome = Literal[
    "answered",  # the provider's own end was seen
    "cut",  # we cut the stream (cap, kill, deadline)
    "client_left",  # the caller went away
    "truncated",  # the provider broke off
    "failed",  # the provider answered with an error that is not billed
    "held",  # answered, but a human decides whether the caller gets it
    "expired",  # the hold's deadline passed with nobody to settle it: the whole hold is booked
]

HumanAction = Literal["extend", "guide", "approve", "deny", "kill"]


class SessionOpened(Event, frozen=True):
    """The first event of a generation; everything counted starts at nought.

    parent: the session above it. budget_micro_usd, budget_steps: what the run brought along."""

    generation: int = 1
    agent: str | None = None
    parent: str | None = None
    source: str = "path"
    budget_micro_usd: int | None = None
    budget_steps: int | None = None


class StepReserved(Event, frozen=True):
    """A call was admitted: what it may come to is held on the session, on `accounts` (budgets of
    a window) and on `trees` (the sessions above it, which also count it).

    step: the step's number; the same again when an SDK retries a call whose attempt failed.
    retry: this attempt repeats an earlier one (it counts no new step).
    call_id: unique in the session. owner: the process that will settle it, by `deadline` (epoch s).
    guided: it carries what a human has to say to the model.
    thread, turn, tail, users: what it brings to which history of the session, as
    `core.loops.thread` notes it (turn: its round); all empty where nobody looks for loops.
    content: the fingerprint of its body (`core.fingerprints`), which begins with the digest of what
    was kept of it; b"" where bodies are not recorded. chain: 16 bytes over its canonical history:
    equal for the same conversation however it is spelled. stream: whether its answer was to be a
    stream.
    """

    call_id: str = ""
    step: int = 0
    retry: bool = False
    owner: str = ""
    deadline: float = 0.0
    dialect: str = "chat"
    model: str = ""
    upstream: str = ""
    body_digest: bytes = b""
    hold_cost_micro_usd: int = 0
    hold_tokens: int = 0
    accounts: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    guided: bool = False
    thread: str = ""
    turn: bytes = b""
    tail: bytes = b""
    users: bytes = b""
    content: bytes = b""
    chain: bytes = b""
    stream: bool = False


class HoldExtended(Event, frozen=True):
    """A stream has produced more than was held for it: this much is held on top."""

    call_id: str = ""
    hold_cost_micro_usd: int = 0
    hold_tokens: int = 0


class StepSettled(Event, frozen=True):
    """What the call really used. Books `cost_micro_usd` and frees the hold, once.

    asked: what the answer asks to be called, in digests (`core.loops.rounds`). upstream, model: who
    was asked last, where it was reserved for another. content: the digest of what was kept of the
    answer; b"" where nothing was."""

    call_id: str = ""
    outcome: Outcome = "answered"
    status: int = 200
    usage: Usage | None = None
    cost_micro_usd: int = 0
    tokens: int = 0
    tools: tuple[str, ...] = ()
    response_id: str | None = None
    asked: bytes = b""
    upstream: str = ""
    model: str = ""
    content: bytes = b""


class AttemptFailed(Event, frozen=True):
    """One attempt of a call failed, and another was made. Written with the call's settlement, which
    counts its cost in. reason: of `core.failures`. status: of the answer, 0 for none."""

    call_id: str = ""
    upstream: str = ""
    model: str = ""
    reason: str = ""
    status: int = 0
    cost_micro_usd: int = 0


class StepReleased(Event, frozen=True):
    """The call was never sent: nothing can have been billed. The step is given back."""

    call_id: str = ""
    reason: str = ""


class CallRefused(Event, frozen=True):
    """A call was refused; for the log and the dashboard, changes no balance."""

    code: str = ""
    limit: str | None = None


class LimitWarned(Event, frozen=True):
    """A limit passed `warn_at`, once a generation."""

    limit: str = ""


class LoopNoticed(Event, frozen=True):
    """A loop came to a rung of the ladder. rung: what was done about it; "observe": nothing.
    thread: in which history of the session. tools: those that go round."""

    detector: str = ""
    rung: Rung = "observe"
    count: int = 0
    tools: tuple[str, ...] = ()
    thread: str = ""


class LimitsExtended(Event, frozen=True):
    """A human added to limits: pairs of (limit name, amount; micro-USD for money). What was over
    goes on."""

    added: tuple[tuple[str, int], ...] = ()


class SessionPaused(Event, frozen=True):
    """Calls are refused with session_paused until resumed."""


class SessionResumed(Event, frozen=True):
    """A pause ended."""


class SessionKilled(Event, frozen=True):
    """In-flight streams are cut and every later call of this generation is refused."""


class SessionFinished(Event, frozen=True):
    """The generation ended (idle); the same id may open the next one."""


class TreeBegan(Event, frozen=True):
    """The first session below this one was opened: from now on its limits count a tree."""


class HandedOff(Event, frozen=True):
    """The session was put before a human. Blocking: it waits for the answer, and no call of it is
    let through; else the stop only stands in the queue, until a call goes on.

    handoff: names it, in all logs. code, limit: of the refusal that it stands for. message: what
    has happened and how to answer. notify: a webhook is owed. owner: the process that sends it.
    held: the tool call that waits; the agent has not seen it.
    """

    handoff: str = ""
    code: str = ""
    limit: str | None = None
    message: str = ""
    blocking: bool = False
    notify: bool = False
    owner: str = ""
    held: HeldTool | None = None


class HandoffAnswered(Event, frozen=True):
    """A human has answered. waited_seconds: since it was handed off. message: with a denial, what
    the model is told. held: that of the handoff."""

    handoff: str = ""
    action: HumanAction = "extend"
    message: str = ""
    waited_seconds: float = 0.0
    held: HeldTool | None = None


class Guided(Event, frozen=True):
    """A human's message, to be put before the session's next step."""

    message: str = ""


class WebhookDelivered(Event, frozen=True):
    """Whoever is told of handoffs has taken this one. attempts: of the process that succeeded."""

    handoff: str = ""
    attempts: int = 1


AnyEvent = (
    SessionOpened
    | StepReserved
    | HoldExtended
    | StepSettled
    | StepReleased
    | AttemptFailed
    | CallRefused
    | LimitWarned
    | LoopNoticed
    | LimitsExtended
    | SessionPaused
    | SessionResumed
    | SessionKilled
    | SessionFinished
    | TreeBegan
    | HandedOff
    | HandoffAnswered
    | Guided
    | WebhookDelivered
    | ToolEvent
    | CheckpointEvent
)
