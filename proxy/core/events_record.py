"""Events of what is kept of a session beyond its balances: its bodies and answers, where they came
from, how they were given again, and that they are gone."""

from typing import Literal

from proxy.core.event import Event


class StepInherited(Event, frozen=True):
    """A step of the session that this one was forked from: it counts and costs nothing here. The
    fields are those of its `StepReserved`; answer: the `content` of its `StepSettled`."""

    step: int = 0
    call_id: str = ""
    dialect: str = "chat"
    model: str = ""
    body_digest: bytes = b""
    chain: bytes = b""
    stream: bool = False
    content: bytes = b""
    answer: bytes = b""


class SessionForked(Event, frozen=True):
    """The session began as a copy of `origin`, up to its step `step`. chain: the HMAC that the
    origin's log had there."""

    origin: str = ""
    step: int = 0
    chain: bytes = b""


class SessionImported(Event, frozen=True):
    """The log before this came from another ledger, where it was the session `origin`, had `events`
    events and ended with `chain`."""

    chain: bytes = b""
    events: int = 0
    origin: str = ""


class SessionDeleted(Event, frozen=True):
    """The tombstone: all that was known of the session is gone. reason: why. events: how many there
    were. chain: the HMAC of the event before it. touched: when it was last used, epoch seconds."""

    reason: Literal["retention", "request"] = "request"
    events: int = 0
    chain: bytes = b""
    touched: float = 0.0


class ReplayAllowed(Event, frozen=True):
    """A human marked the session resumable: calls that it has answered before are answered from the
    record."""


class ReplayBegan(Event, frozen=True):
    """An agent started again from its beginning. Wakes a finished session: the generation goes on,
    with what is left of its budget."""


class StepReplayed(Event, frozen=True):
    """A recorded answer was given again. step, call_id: of the record. how: its body came again
    byte for byte, or its messages did; skipped: not given, as its tool calls were carried out."""

    step: int = 0
    call_id: str = ""
    how: Literal["exact", "messages", "skipped"] = "exact"


class ReplayDiverged(Event, frozen=True):
    """An agent that started again sent something else than was recorded; what follows is live.
    step: at which recorded step. why: what differs. chain: that of what was sent."""

    step: int = 0
    why: str = ""
    chain: bytes = b""


RecordEvent = (
    StepInherited
    | SessionForked
    | SessionImported
    | ReplayAllowed
    | ReplayBegan
    | StepReplayed
    | ReplayDiverged
)
CheckpointEvent = RecordEvent | SessionDeleted
