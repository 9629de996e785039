"""What a store is: it appends, reads, keeps balances and purges; nothing else."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores.chain import ChainedPayload
from proxy.stores.sessions import Content as Content
from proxy.stores.sessions import Hold as Hold
from proxy.stores.sessions import OpenHold as OpenHold
from proxy.stores.sessions import SessionDump as SessionDump
from proxy.stores.sessions import SessionHead as SessionHead
from proxy.stores.sessions import SessionRow as SessionRow
from proxy.stores.sessions import answer_name as answer_name
from proxy.stores.sessions import request_name as request_name

WAITING = ("paused", "awaiting_human")
"""States of sessions that a human has stopped and has to end: they are not forgotten by time."""

LIVE = ("active", "warned")
"""States of sessions whose next call is served."""

DELETED = "deleted"
"""State of what is left of a session that was deleted: the tombstone at its log's end."""

Queue = Literal["open", "owed"]
DeletionReason = Literal["retention", "request"]


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What is counted on the account of a tree of sessions beside money; as a movement, deltas.

    steps: as in SessionState. calls: in flight.
    """

    tokens: int = 0
    held_tokens: int = 0
    steps: int = 0
    tool_calls: int = 0
    calls: int = 0


NO_COUNTS = Counts()


class Maximum(msgspec.Struct, frozen=True, gc=False):
    """What an account may come to; None does not compare. tokens, with those held. calls: at once.

    `AccountExceeded` refuses the whole append where something that the charge adds to is above it
    afterwards.
    """

    micro_usd: int | None = None
    tokens: int | None = None
    steps: int | None = None
    calls: int | None = None


UNBOUNDED = Maximum()


class Charge(msgspec.Struct, frozen=True, gc=False):
    """A movement on one shared account, applied in the same transaction as the events beside it.

    Deltas in micro-USD (may be negative). What a closed hold frees is not charged: the store knows
    what it held, and on which accounts.
    """

    account: str
    held_micro_usd: int = 0
    spent_micro_usd: int = 0
    counts: Counts = NO_COUNTS
    maximum: Maximum = UNBOUNDED


class Balance(msgspec.Struct, frozen=True, gc=False):
    """What is on one account: money, and of a tree also its counts."""

    spent_micro_usd: int = 0
    held_micro_usd: int = 0
    counts: Counts = NO_COUNTS


class Guard(msgspec.Struct, frozen=True, gc=False):
    """Another session that a decision was made on (a parent): as long as it was, with the same
    end. See `Append.expected_seq` and `after`."""

    key: SessionKey
    seq: int
    after: bytes | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """Events for one session, all or nothing.

    expected_seq: the seq the decision was made on; None for facts, which always get through.
    after: the token of the append that the decision was made on top of; None where the state was
        read from the log. Two logs of one length are not one log. token: names this append.
    closes: call ids that the events settle or release. If none of them has an open hold any more,
        the append is a repeat: nothing is written, `Appended.repeated` says so (idempotent).
    spent_micro_usd, counts: what is booked on every account of the holds it closes; of the counts
        only on trees, and there `calls` and what was held go down by themselves.
    guards: other sessions that the decision was made on; SeqConflict if one has changed.
    links: digests that identify this session later (tool-call ids, response ids, message chains).
    contents: kept beside the log, in the same transaction.
    """

    key: SessionKey
    events: tuple[AnyEvent, ...]
    expected_seq: int | None = None
    charges: tuple[Charge, ...] = ()
    after: bytes | None = None
    token: bytes = b""
    closes: tuple[str, ...] = ()
    spent_micro_usd: int = 0
    counts: Counts = NO_COUNTS
    guards: tuple[Guard, ...] = ()
    links: tuple[bytes, ...] = ()
    head: SessionHead | None = None
    contents: tuple[Content, ...] = ()


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The seq of the last event written, and the chain's HMAC at it. spooled: it is kept here until
    the store is back (`stores.open_on_failure`); where in the log it will be is not known yet."""

    seq: int
    chain: bytes
    repeated: bool = False
    spooled: bool = False


SPOOLED = Appended(0, b"", spooled=True)


@dataclass(frozen=True, slots=True)
class Stored:
    """One event as the log has it."""

    seq: int
    event: AnyEvent
    chain: bytes


AccountRow = tuple[str, Balance, float]
"""An account, what is on it, and when something was last charged to it."""


@dataclass
class StoreAway(StoreUnavailable):
    """The store cannot be read, and calls are let through all the same: what is known here counts.
    log: what was done to the session since then, as far as this process kept it. balances: what the
    store says, which does not have all that was spooled yet."""

    log: tuple[AnyEvent, ...] = ()
    balances: Mapping[str, Balance] = field(default_factory=dict)


@dataclass
class LogCutShort(StoreUnavailable):
    """The log of a session is shorter than was acknowledged of late. Told for a while, so that
    somebody notices; then what is there counts."""


class Store(Protocol):
    """Shared by all calls of the process, from its event loop; StoreUnavailable when it cannot.

    An awaited append is durable as far as the store can make it. Appends of one process are applied
    in the order in which `append` was called. Holds are opened by StepReserved events and closed by
    `Append.closes`.
    """

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def append(self, append: Append) -> Awaitable[Appended]:
        """Submits when it is called, not when it is awaited. Raises SeqConflict, AccountExceeded,
        StoreUnavailable; then nothing was written.

        A cancelled waiter is woken when the write has been answered."""

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        """The log's tail; empty for an unknown session."""

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        """Those of these names that the session has; None: all of them."""

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
        """Newest first, with the cursor of the next page (None at the end). Deleted ones only where
        `state` asks for them."""

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        """Sessions with something before a human (open), or with a webhook to deliver (owed): those
        untouched for longest first."""

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str] = LIVE
    ) -> Sequence[SessionKey]:
        """Some of the sessions in these states that hold nothing and were last touched before
        then."""

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        """The sessions after that one, deleted ones too, in an order of the store's own: from page
        to page each that stays is named once."""

    async def find_tenants(self, session: str) -> Sequence[str]:
        """The tenants that have a session with this id, but for deleted ones."""

    async def read_chain(self, key: SessionKey) -> Sequence[ChainedPayload]:
        """The log as it was chained, for `first_altered`."""

    async def dump(self, key: SessionKey) -> SessionDump | None:
        """All of a session at one moment; None for an unknown one."""

    async def restore(self, dump: SessionDump) -> None:
        """Takes a session in as another store had it, but for what is on its accounts. Raises
        SeqConflict where something is under its id, a tombstone too; then nothing was written."""

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        """The accounts after that name, by name."""

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        """Sets accounts to what another store had on them."""

    async def writable(self) -> bool:
        """Whether a write would succeed now (readiness)."""

    async def delete(
        self,
        key: SessionKey,
        at: float,
        *,
        reason: DeletionReason = "request",
        expected_seq: int | None = None,
    ) -> bool:
        """Deletes all that a session was and leaves a tombstone: its log is then one
        SessionDeleted, chained on the event before it, and goes on from there if the id is used
        again. False for an unknown session and for a tombstone.

        Raises SessionBusy where a hold is open, SeqConflict where the log is longer than expected.
        """

    async def purge(self, updated_before: float, at: float) -> int:
        """Deletes, as `delete` does, sessions last touched before then, without open holds, that do
        not wait for a human (`WAITING`); and tombstones as old as that, whole. Returns how many
        both. at: the time now, from which on the tombstones are kept."""

    async def purge_accounts(self, touched_before: float) -> int:
        """Deletes accounts that nothing was charged to since then and nothing is held on; returns
        how many. Times are those of the events."""
