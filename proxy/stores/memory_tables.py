"""The tables of the store without a file."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey
from proxy.stores import Append, Balance, Content, DeletionReason, SessionDump
from proxy.stores.chain import Chain, ChainedPayload
from proxy.stores.codec import decode_event
from proxy.stores.effects import NO_SESSION, Effects, Hold, Tip, relinked
from proxy.stores.tombstones import bury

_EMPTY = Balance()


@dataclass(slots=True)
class MemorySession:
    """`number` grows with creation: it orders sessions touched at the same time."""

    number: int
    tip: Tip = NO_SESSION
    events: list[AnyEvent] = field(default_factory=list)
    rows: list[ChainedPayload] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    links: set[bytes] = field(default_factory=set)
    contents: dict[str, bytes] = field(default_factory=dict)


class MemoryTables:
    """Everything the store holds; `sessions` in the order in which they were last touched."""

    def __init__(self) -> None:
        self.sessions: dict[SessionKey, MemorySession] = {}
        self.accounts: dict[str, Balance] = {}
        self.touched: dict[str, float] = {}
        self.links: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self.content_bytes = 0
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
        if append.contents:
            self._keep(session, append.contents)
        for call_id in effects.closed:
            session.holds.pop(call_id, None)
        self.accounts.update(effects.balances)
        for account in effects.balances:
            self.touched[account] = max(effects.head.updated_at, self.touched.get(account, 0.0))
        self._link(append.key, session, append.links)

    def drop(self, key: SessionKey) -> None:
        dropped = self.sessions.pop(key)
        self.content_bytes -= sum(map(len, dropped.contents.values()))
        for digest in dropped.links:
            left = tuple(s for s in self.links[key.tenant, digest] if s != key.session)
            if left:
                self.links[key.tenant, digest] = left
            else:
                del self.links[key.tenant, digest]

    def bury(self, key: SessionKey, chain: Chain, at: float, reason: DeletionReason) -> None:
        """Leaves the tombstone. Nothing may be held."""
        before = self.sessions[key]
        self.drop(key)
        row, tip = bury(chain, key, before.tip, at, reason)
        left = MemorySession(before.number, tip, [decode_event(row.payload)], [row])
        self.sessions[key] = left

    def dump(self, key: SessionKey) -> SessionDump | None:
        session = self.sessions.get(key)
        if session is None or session.tip.head is None:
            return None
        return SessionDump(
            key,
            session.tip.seq,
            session.tip.chain,
            session.tip.token,
            session.tip.head,
            tuple(session.rows),
            tuple(sorted(session.holds.items())),
            tuple(sorted(session.links)),
            tuple(Content(name, data) for name, data in sorted(session.contents.items())),
        )

    def restore(self, dump: SessionDump) -> None:
        """Of a session that is not there."""
        session = self.sessions[dump.key] = self._new()
        session.tip = Tip(dump.seq, dump.chain, dump.head, dump.token)
        session.events = [decode_event(row.payload) for row in dump.rows]
        session.rows = list(dump.rows)
        session.holds = dict(dump.holds)
        self._keep(session, dump.contents)
        self._link(dump.key, session, dump.links)

    def _keep(self, session: MemorySession, contents: Iterable[Content]) -> None:
        for content in contents:
            before = session.contents.get(content.name, b"")
            session.contents[content.name] = content.data
            self.content_bytes += len(content.data) - len(before)

    def _new(self) -> MemorySession:
        self._made += 1
        return MemorySession(self._made)

    def _link(self, key: SessionKey, session: MemorySession, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            before = self.links.get((key.tenant, digest), ())
            after = relinked(before, key.session)
            self.links[key.tenant, digest] = after
            session.links.add(digest)
            for pushed_out in set(before) - set(after):
                self.sessions[SessionKey(key.tenant, pushed_out)].links.discard(digest)
