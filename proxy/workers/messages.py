"""What processes on one ledger say to each other."""

from typing import TypeAlias

import msgspec

from proxy.core.breaking import Standing
from proxy.core.decision import Refusal


class SessionChanged(msgspec.Struct, frozen=True, tag=True):
    """Something was decided about a session; with a refusal, its calls in flight are cut with it.
    Answered when that is done."""

    tenant: str
    session: str
    refusal: Refusal | None = None


class WhoRuns(msgspec.Struct, frozen=True, tag=True):
    """Which tenants (or whether this one) have a call of that session in flight: `Running`."""

    session: str
    tenant: str | None = None


class CountsWanted(msgspec.Struct, frozen=True, tag=True):
    """All that was counted so far, as `Metrics.counts` gives it."""


class ReloadWanted(msgspec.Struct, frozen=True, tag=True):
    """The policy file is to be read now: `Reloaded`."""


class EventsWanted(msgspec.Struct, frozen=True, tag=True):
    """Events as they happen, one a frame, after an empty one that says that they are watched."""


class TapeWanted(msgspec.Struct, frozen=True, tag=True):
    """The answer of an earlier attempt that a retry is owed, in the frames of `Tape.parts`.

    call_id: that attempt, where it is known. unpromised: only where no retry of its own is sure to
    come."""

    tenant: str
    session: str
    model: str
    stream: bool
    body_digest: bytes
    call_id: str = ""
    unpromised: bool = False


class BreakerNews(msgspec.Struct, frozen=True, array_like=True):
    """How a breaker stands. model: as clients said it, unless `named` by the policy. credential: a
    digest, where it counts for that caller alone; else empty. The counts are its worker's own."""

    upstream: str
    model: str
    credential: bytes
    named: bool
    standing: Standing
    calls: int = 0
    failures: int = 0
    slow: int = 0


class BreakersChanged(msgspec.Struct, frozen=True, tag=True):
    """Breakers were opened or closed. Answered when that is known."""

    news: tuple[BreakerNews, ...]


class BreakersWanted(msgspec.Struct, frozen=True, tag=True):
    """All breakers that are known: `BreakersKnown`."""


class Arrived(msgspec.Struct, frozen=True, tag=True):
    """A process has come that can be spoken to."""

    name: str


Message: TypeAlias = (
    SessionChanged
    | WhoRuns
    | CountsWanted
    | ReloadWanted
    | EventsWanted
    | TapeWanted
    | BreakersChanged
    | BreakersWanted
    | Arrived
)


class Running(msgspec.Struct, frozen=True):
    """The answer to `WhoRuns`."""

    tenants: tuple[str, ...]


class Reloaded(msgspec.Struct, frozen=True):
    """What came of a reload: applied, unchanged or refused, and then why."""

    outcome: str
    error: str | None


class BreakersKnown(msgspec.Struct, frozen=True):
    """The answer to `BreakersWanted`."""

    news: tuple[BreakerNews, ...]


_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def decode_message(frame: bytes) -> Message:
    """Raises msgspec.DecodeError: a process of another version may say what is not known here."""
    return _DECODER.decode(frame)
