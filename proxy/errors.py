"""The errors that cross modules, each naming the party at fault.

A refusal by policy is not here: it is a value (`core.decision.Refusal`).
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no value of the type: of text that is no UTF-8, msgspec
raises no error of its own."""


class HoldfastError(Exception):
    """Base of every error that crosses a module; `status` and `code` are for the client."""

    status = 500
    code = "internal_error"


@dataclass
class MalformedRequest(HoldfastError):
    """The client sent what cannot be served: unparsable, contradictory or out of bounds."""

    message: str
    code: str = "invalid_request"
    status: int = 400
    param: str | None = None

    def __str__(self) -> str:
        return self.message


FailureKind = Literal[
    "connect", "tls", "dns", "timeout", "reset", "malformed", "truncated", "error"
]  # fmt: skip
"""How a connection to a provider failed, or an answer."""


@dataclass
class UpstreamUnavailable(HoldfastError):
    """The provider could not be reached or broke off before an answer.

    `sent` is False only if not a byte of the request can have reached the provider, so that nothing
    can have been billed. kind: error where it is the provider's own, or several's.
    next_try_seconds: until anybody is asked again, where that is known.
    """

    message: str
    kind: FailureKind = "connect"
    sent: bool = True
    code: str = "upstream_unavailable"
    status: int = 503
    next_try_seconds: float | None = None

    def __str__(self) -> str:
        return self.message


@dataclass
class StoreUnavailable(HoldfastError):
    """The ledger's store did not take a write or a read."""

    message: str
    code: str = "store_unavailable"
    status: int = 503

    def __str__(self) -> str:
        return self.message


@dataclass
class SeqConflict(HoldfastError):
    """Another writer appended to the session first: read its tail and decide again."""

    actual_seq: int


@dataclass
class SessionBusy(HoldfastError):
    """A session has a call under way, and cannot be deleted before that has ended."""

    session: str
    status: int = 409
    code: str = "session_busy"

    def __str__(self) -> str:
        return f"session {self.session!r} has a call under way: try again when it has ended"


@dataclass
class Unanswerable(HoldfastError):
    """What the human answers is not asked any more, or never was."""

    message: str
    code: str
    status: int = 409

    def __str__(self) -> str:
        return self.message


@dataclass
class ContentMissing(HoldfastError):
    """What a call sent or was answered cannot be read back: it was not kept, or is damaged."""

    message: str
    code: str = "content_missing"
    status: int = 409

    def __str__(self) -> str:
        return self.message


@dataclass
class AccountExceeded(HoldfastError):
    """A reservation would take a shared account past its maximum: decide again on its balance."""

    account: str
