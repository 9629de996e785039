"""What a store is: it appends, reads, keeps balances and purges; nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey


@dataclass(frozen=True, slots=True)
class Charge:
    """A movement on one shared account, applied in the same transaction as the events beside it.

    Deltas in micro-USD (may be negative). `maximum_micro_usd`: refuse the whole append
    (`AccountExceeded`) if spent + held would be above it afterwards; None books without comparing.
    What a closed hold frees is not charged: the store knows what it held, and on which accounts.
    """

    account: str
    held_micro_usd: int = 0
    spent_micro_usd: int = 0
    maximum_micro_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-USD on one account."""

    spent_micro_usd: int = 0
    held_micro_usd: int = 0


class SessionHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a listing shows of a session without folding its log. Advisory; the log is the truth."""

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


@dataclass(frozen=True, slots=True)
class Append:
    """Events for one session, all or nothing.

    expected_seq: the seq the decision was made on; None for facts, which always get through.
    after: the token of the append that the decision was made on top of; None where the state was
        read from the log. Two logs of one length are not one log. token: names this append.
    closes: call ids that the events settle or release. If none of them has an open hold any more,
        the append is a repeat: nothing is written, `Appended.repeated` says so (idempotent).
    spent_micro_usd: what is booked on every account of the holds it closes.
    links: digests that identify this session later (tool-call ids, response ids, message chains).
    """

    key: SessionKey
    events: tuple[AnyEvent, ...]
    expected_seq: int | None = None
    charges: tuple[Charge, ...] = ()
    after: bytes | None = None
    token: bytes = b""
    closes: tuple[str, ...] = ()
    spent_micro_usd: int = 0
    links: tuple[bytes, ...] = ()
    head: SessionHead | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """The seq of the last event written, and the chain's HMAC at it."""

    seq: int
    chain: bytes
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """One event as the log has it."""

    seq: int
    event: AnyEvent
    chain: bytes


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


class Store(Protocol):
    """Shared by all calls of the process, from its event loop; StoreUnavailable when it cannot.

    An awaited append is durable as far as the store can make it. Appends of one process are applied
    in the order in which `append` was called. Holds are opened by StepReserved events and closed by
    `Append.closes`.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def append(self, append: Append) -> Appended:
        """Raises SeqConflict, AccountExceeded, StoreUnavailable; then nothing was written.

        Cancelling the waiter does not cancel the write."""

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        """The log's tail; empty for an unknown session."""

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        """An account never charged has an empty balance."""

    async def open_holds(self, deadline_before: float | None = None) -> Sequence[OpenHold]:
        """Holds not closed yet; with `deadline_before`, only those due by then (epoch seconds)."""

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        """For each digest known to this tenant, the sessions it was given to (≤ 8, newest last)."""

    async def list_sessions(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        """Newest first, with the cursor of the next page (None at the end)."""

    async def find_tenants(self, session: str) -> Sequence[str]:
        """The tenants that have a session with this id."""

    async def writable(self) -> bool:
        """Whether a write would succeed now (readiness)."""

    async def purge(self, updated_before: float) -> int:
        """Deletes sessions last touched before then and without open holds; returns how many."""
