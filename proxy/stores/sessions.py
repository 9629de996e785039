"""What a store has of a session beside its log, and all of it together: values."""

from dataclasses import dataclass

import msgspec

from proxy.core.contents import Content as Content
from proxy.core.contents import answer_name as answer_name
from proxy.core.contents import request_name as request_name
from proxy.core.session import SessionKey
from proxy.stores.chain import ChainedPayload


class SessionHead(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a listing shows of a session without folding its log. Advisory; the log is the truth.

    waits, stands, owed: the handoffs that it waits for, that only stand in the queue, and whose
    webhook was not delivered yet. Those a store keeps by itself (`stores.queue`).
    seq: of the log that it tells of. Where the log has another, its writer did not know what others
    had just written.
    """

    state: str = "active"
    agent: str | None = None
    parent: str | None = None
    generation: int = 1
    steps: int = 0
    tokens: int = 0
    cost_micro_usd: int = 0
    held_micro_usd: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    waits: tuple[str, ...] = ()
    stands: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()
    seq: int = 0


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A reservation nobody has settled yet."""

    key: SessionKey
    call_id: str
    owner: str
    deadline: float


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as a listing shows it."""

    key: SessionKey
    seq: int
    head: SessionHead


class Hold(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an open call holds, and on which shared accounts: what closing it gives back.

    trees: those of the accounts that also count."""

    owner: str
    deadline: float
    cost_micro_usd: int
    accounts: tuple[str, ...]
    tokens: int = 0
    trees: tuple[str, ...] = ()


class SessionDump(msgspec.Struct, frozen=True, gc=False):
    """A session as one store has it, to be restored in another: byte for byte, so that its chain
    verifies there under the same key. holds, by call id; links, sorted: the digests that lead to
    it. contents, by name."""

    key: SessionKey
    seq: int
    chain: bytes
    token: bytes
    head: SessionHead
    rows: tuple[ChainedPayload, ...]
    holds: tuple[tuple[str, Hold], ...] = ()
    links: tuple[bytes, ...] = ()
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """The parameters of `Store.list_sessions`."""

    state: str | None
    agent: str | None
    tenant: str | None
    limit: int
    cursor: str | None
