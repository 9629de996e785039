"""The store without a file: for tests, and for runs whose ledger nobody needs afterwards.

Bounded: above a maximum the sessions untouched for longest go, unless a hold of theirs is open. A
session that went begins again with nothing spent, so budgets of tenants and windows, which stay,
are what bounds a client that opens sessions without end.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.stores import WAITING, Append, Appended, Balance, OpenHold, Queue, SessionRow, Stored
from proxy.stores.chain import KEY_BYTES, Chain, ChainedPayload
from proxy.stores.codec import decode_cursor, encode_cursor
from proxy.stores.effects import NO_SESSION, Effects, Hold, Tip, effects_of, prepare, relinked
from proxy.stores.queue import stands_in
from proxy.stores.written import Written

_EMPTY = Balance()


@dataclass(slots=True)
class _Session:
    """`number` grows with creation: it orders sessions touched at the same time."""

    number: int
    tip: Tip = NO_SESSION
    events: list[AnyEvent] = field(default_factory=list)
    rows: list[ChainedPayload] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    links: set[bytes] = field(default_factory=set)
    contents: dict[str, bytes] = field(default_factory=dict)


class _Tables:
    """Everything the store holds; `sessions` in the order in which they were last touched."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, _Session] = {}
        self.accounts: dict[str, Balance] = {}
        self.touched: dict[str, float] = {}
        self.links: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self._made = 0

    def tip(self, key: SessionKey) -> Tip:
        session = self.sessions.get(key)
        return session.tip if session is not None else NO_SESSION

    def balance(self, account: str) -> Balance:
        return self.accounts.get(account, _EMPTY)

    def hold(self, key: SessionKey, call_id: str) -> Hold | None:
        session = self.sessions.get(key)
        return session.holds.get(call_id) if session is not None else None

    def write(self, append: Append, effects: Effects) -> None:
        session = self.sessions.pop(append.key, None) or self._new()
        self.sessions[append.key] = session
        session.tip = Tip(effects.seq, effects.chain, effects.head, append.token)
        session.events.extend(append.events)
        session.rows.extend(effects.rows)
        session.holds.update(effects.opened)
        for content in append.contents:
            session.contents[content.name] = content.data
        for call_id in effects.closed:
            session.holds.pop(call_id, None)
        self.accounts.update(effects.balances)
        for account in effects.balances:
            self.touched[account] = max(effects.head.updated_at, self.touched.get(account, 0.0))
        self._link(append.key, session, append.links)

    def drop(self, key: SessionKey) -> None:
        for digest in self.sessions.pop(key).links:
            left = tuple(s for s in self.links[key.tenant, digest] if s != key.session)
            if left:
                self.links[key.tenant, digest] = left
            else:
                del self.links[key.tenant, digest]

    def _new(self) -> _Session:
        self._made += 1
        return _Session(self._made)

    def _link(self, key: SessionKey, session: _Session, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            before = self.links.get((key.tenant, digest), ())
            after = relinked(before, key.session)
            self.links[key.tenant, digest] = after
            session.links.add(digest)
            for pushed_out in set(before) - set(after):
                self.sessions[SessionKey(key.tenant, pushed_out)].links.discard(digest)


class MemoryStore:
    """See `Store`. An append is done before anyone else runs: nothing to queue, nothing to lose."""

    def __init__(self, secret: bytes | None = None, maximum_sessions: int = 10_000) -> None:
        self._chain = Chain(secret or secrets.token_bytes(KEY_BYTES))
        self._maximum_sessions = maximum_sessions
        self._tables = _Tables()
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
        start = max(after_seq, 0)
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
                if state in (None, row.head.state)
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
        return sorted(key.tenant for key in self._opened().sessions if key.session == session)

    async def writable(self) -> bool:
        return self._open

    async def purge(self, updated_before: float) -> int:
        tables = self._opened()
        old = [
            key
            for key, session in tables.sessions.items()
            if not session.holds
            and session.tip.head is not None
            and session.tip.head.updated_at < updated_before
            and session.tip.head.state not in WAITING
        ]
        for key in old:
            tables.drop(key)
        return len(old)

    async def purge_accounts(self, touched_before: float) -> int:
        tables = self._opened()
        old = [name for name, at in tables.touched.items() if at < touched_before]
        idle = [name for name in old if _is_idle(tables.accounts[name])]
        for name in idle:
            del tables.accounts[name], tables.touched[name]
        return len(idle)

    def _opened(self) -> _Tables:
        if not self._open:
            raise StoreUnavailable("the store is closed")
        return self._tables

    def _rows(self) -> Iterator[tuple[int, SessionRow]]:
        for key, session in self._opened().sessions.items():
            if session.tip.head is not None:
                yield session.number, SessionRow(key, session.tip.seq, session.tip.head)

    def _evict(self) -> None:
        """The newest is never evicted, nor one with an open hold: it may be over for a while."""
        sessions = self._tables.sessions
        excess = len(sessions) - self._maximum_sessions
        if excess <= 0:
            return
        newest = next(reversed(sessions))
        idle = (key for key, session in sessions.items() if not session.holds and key != newest)
        for key in [key for key, _ in zip(idle, range(excess), strict=False)]:
            self._tables.drop(key)


def _is_idle(balance: Balance) -> bool:
    counts = balance.counts
    return balance.held_micro_usd == counts.held_tokens == counts.calls == 0
