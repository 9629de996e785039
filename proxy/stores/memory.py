"""The store without a file: for tests, and for runs whose ledger nobody needs afterwards.

Bounded: above a maximum the sessions untouched for longest go, unless a hold of theirs is open. A
session that went begins again with nothing spent, so budgets of tenants and windows, which stay,
are what bounds a client that opens sessions without end.
"""

import asyncio
import secrets
from bisect import bisect_right
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, SeqConflict, StoreUnavailable
from proxy.stores import (
    DELETED,
    LIVE,
    WAITING,
    AccountRow,
    Append,
    Appended,
    Balance,
    DeletionReason,
    OpenHold,
    Queue,
    SessionDump,
    SessionHead,
    SessionRow,
    Stored,
)
from proxy.stores.chain import KEY_BYTES, Chain, ChainedPayload
from proxy.stores.codec import decode_cursor, encode_cursor
from proxy.stores.effects import effects_of, prepare
from proxy.stores.memory_tables import MemoryTables
from proxy.stores.queue import stands_in
from proxy.stores.tombstones import may_be_deleted
from proxy.stores.written import Written

CONTENT_BYTES = 512 * 1024 * 1024


class MemoryStore:
    """See `Store`. An append is done before anyone else runs: nothing to queue, nothing to lose."""

    def __init__(
        self,
        secret: bytes | None = None,
        maximum_sessions: int = 10_000,
        maximum_content_bytes: int = CONTENT_BYTES,
    ) -> None:
        self._chain = Chain(secret or secrets.token_bytes(KEY_BYTES))
        self._maximum_sessions = maximum_sessions
        self._maximum_content_bytes = maximum_content_bytes
        self._tables = MemoryTables()
        self._open = False

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False

    def append(self, append: Append) -> Awaitable[Appended]:
        written: Written[Appended] = Written(loop=asyncio.get_running_loop())
        try:
            written.set_result(self._append(append))
        except HoldfastError as error:
            written.set_exception(error)
        return written

    def _append(self, append: Append) -> Appended:
        tables = self._opened()
        effects = effects_of(prepare(append), tables, self._chain)
        if effects is None:
            tip = tables.tip(append.key)
            return Appended(tip.seq, tip.chain, repeated=True)
        tables.write(append, effects)
        self._evict()
        return Appended(effects.seq, effects.chain)

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        session = self._opened().sessions.get(key)
        if session is None:
            return ()
        first = session.rows[0].seq if session.rows else 1
        start = max(after_seq + 1 - first, 0)
        pairs = zip(session.rows[start:], session.events[start:], strict=True)
        return [Stored(row.seq, event, row.chain) for row, event in pairs]

    async def read_chain(self, key: SessionKey) -> Sequence[ChainedPayload]:
        """The log as it was chained, for `first_altered`."""
        session = self._opened().sessions.get(key)
        return tuple(session.rows) if session is not None else ()

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        session = self._opened().sessions.get(key)
        if session is None:
            return {}
        contents = session.contents
        if names is None:
            return dict(contents)
        return {name: contents[name] for name in names if name in contents}

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        tables = self._opened()
        return {account: tables.balance(account) for account in accounts}

    async def open_holds(self, deadline_before: float | None = None) -> Sequence[OpenHold]:
        holds = [
            OpenHold(key, call_id, hold.owner, hold.deadline)
            for key, session in self._opened().sessions.items()
            for call_id, hold in session.holds.items()
            if deadline_before is None or hold.deadline <= deadline_before
        ]
        return sorted(holds, key=lambda h: (h.deadline, h.key.tenant, h.key.session, h.call_id))

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        known = self._opened().links
        return {digest: known[tenant, digest] for digest in links if (tenant, digest) in known}

    async def list_sessions(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        after = decode_cursor(cursor) if cursor is not None else None
        found = sorted(
            (
                (row.head.updated_at, number, row)
                for number, row in self._rows()
                if (row.head.state != DELETED if state is None else row.head.state == state)
                and agent in (None, row.head.agent)
                and tenant in (None, row.key.tenant)
                and (after is None or (row.head.updated_at, number) < after)
            ),
            key=lambda entry: entry[:2],
            reverse=True,
        )
        page = found[: max(limit, 1)]
        more = encode_cursor(*page[-1][:2]) if len(found) > len(page) else None
        return [row for _, _, row in page], more

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        found = [
            (row.head.updated_at, number, row)
            for number, row in self._rows()
            if stands_in(queue, row.head)
        ]
        return [row for _, _, row in sorted(found, key=lambda entry: entry[:2])[:limit]]

    async def find_tenants(self, session: str) -> Sequence[str]:
        return sorted(
            row.key.tenant
            for _, row in self._rows()
            if row.key.session == session and row.head.state != DELETED
        )

    async def writable(self) -> bool:
        return self._open

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str] = LIVE
    ) -> Sequence[SessionKey]:
        idle = (key for key, head in self._untouched(updated_before) if head.state in states)
        return list(islice(idle, limit))

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        keys = sorted(self._opened().sessions)
        return keys[0 if after is None else bisect_right(keys, after) :][:limit]

    async def dump(self, key: SessionKey) -> SessionDump | None:
        return self._opened().dump(key)

    async def restore(self, dump: SessionDump) -> None:
        tables = self._opened()
        if dump.key in tables.sessions:
            raise SeqConflict(tables.tip(dump.key).seq)
        tables.restore(dump)
        self._evict()

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        tables = self._opened()
        names = sorted(name for name in tables.accounts if name > after)[:limit]
        return [(name, tables.accounts[name], tables.touched[name]) for name in names]

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        tables = self._opened()
        for name, balance, at in rows:
            tables.accounts[name], tables.touched[name] = balance, at

    async def delete(
        self,
        key: SessionKey,
        at: float,
        *,
        reason: DeletionReason = "request",
        expected_seq: int | None = None,
    ) -> bool:
        tables = self._opened()
        session = tables.sessions.get(key)
        holds = session is not None and bool(session.holds)
        if not may_be_deleted(key, tables.tip(key), holds=holds, expected_seq=expected_seq):
            return False
        tables.bury(key, self._chain, at, reason)
        return True

    async def purge(self, updated_before: float, at: float) -> int:
        tables = self._opened()
        old = [e for e in self._untouched(updated_before) if e[1].state not in WAITING]
        for key, head in old:
            if head.state == DELETED:
                tables.drop(key)
            else:
                tables.bury(key, self._chain, at, "retention")
        return len(old)

    async def purge_accounts(self, touched_before: float) -> int:
        tables = self._opened()
        old = [name for name, at in tables.touched.items() if at < touched_before]
        idle = [name for name in old if _is_idle(tables.accounts[name])]
        for name in idle:
            del tables.accounts[name], tables.touched[name]
        return len(idle)

    def _opened(self) -> MemoryTables:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        return self._tables

    def _untouched(self, updated_before: float) -> list[tuple[SessionKey, SessionHead]]:
        """Those since then that hold nothing."""
        return [
            (key, session.tip.head)
            for key, session in self._opened().sessions.items()
            if not session.holds
            and session.tip.head is not None
            and session.tip.head.updated_at < updated_before
        ]

    def _rows(self) -> Iterator[tuple[int, SessionRow]]:
        for key, session in self._opened().sessions.items():
            if session.tip.head is not None:
                yield session.number, SessionRow(key, session.tip.seq, session.tip.head)

    def _evict(self) -> None:
        """The newest is never evicted, nor one with an open hold: it may be over for a while."""
        sessions = self._tables.sessions
        while self._is_full():
            newest = next(reversed(sessions))
            idle = (key for key, session in sessions.items() if not session.holds and key != newest)
            key = next(idle, None)
            if key is None:
                return
            self._tables.drop(key)

    def _is_full(self) -> bool:
        tables = self._tables
        too_many = len(tables.sessions) > self._maximum_sessions
        return too_many or tables.content_bytes > self._maximum_content_bytes


def _is_idle(balance: Balance) -> bool:
    counts = balance.counts
    return balance.held_micro_usd == counts.held_tokens == counts.calls == 0
