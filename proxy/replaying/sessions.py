"""What this process has read of the sessions that are resumed, and how they are connected."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakSet, WeakValueDictionary

from proxy.contents import Line
from proxy.core.equivalence import SteadyChains
from proxy.core.histories import Histories
from proxy.core.replaying import Record
from proxy.core.request import Request
from proxy.core.session import SessionKey
from proxy.core.steps import RecordedStep
from proxy.stores import Store
from proxy.wire import Connection

_SESSIONS = 256
_LINES_BYTES = 64 * 1024 * 1024
_NOT_ANSWERED = 256


class ResumedSession:
    """One session. histories: of its answered steps, as far as they were asked for: of the first
    so many that were answered. line: what was read of its contents. connections: those that this
    run came by and that are still open. chain: that of the last event read."""

    def __init__(self) -> None:
        self.record = Record()
        self.histories = Histories()
        self.histories_count = 0
        self.steady = SteadyChains()
        self.line: Line | None = None
        self.connections: WeakSet[Connection] = WeakSet()
        self.chain = b""

    def is_alone(self) -> bool:
        """Whether none of the run's connections is open any more."""
        return not any(connection.is_open for connection in self.connections)

    def goes_live(self, call_id: str, request: Request) -> None:
        """A call goes to the provider. Where the histories of all others were read, its body need
        not be read for its own. It may be refused yet: only so many such are kept."""
        histories, count = self.histories, self.record.answered_count
        if len(histories) > count + _NOT_ANSWERED:
            self.histories, self.histories_count = Histories(), 0
        elif len(histories) and not self.unread():
            histories.add(call_id, self.steady.chain(request))

    def unread(self) -> Sequence[RecordedStep]:
        """Steps that were answered, and whose histories were not asked for."""
        since = self.record.answered_since(self.histories_count)
        new = [step for step in since if step.call_id not in self.histories]
        if not new:
            self.histories_count = self.record.answered_count
        return new

    def forget(self) -> None:
        """What was read of the contents."""
        self.histories, self.histories_count, self.line = Histories(), 0, None

    def came_by(self, connection: Connection, *, begins: bool) -> None:
        """A call of the run, or the first of another one."""
        if begins:
            self.connections.clear()
        self.connections.add(connection)


class ResumedSessions:
    """Those resumed last. Only read from the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[SessionKey, ResumedSession] = OrderedDict()
        self._turns: WeakValueDictionary[SessionKey, asyncio.Lock] = WeakValueDictionary()

    def turn(self, key: SessionKey) -> asyncio.Lock:
        """Held while a call of a session is decided on: of many at once each would find that
        another was decided on meanwhile, and only so often is that tried again."""
        lock = self._turns.get(key)
        if lock is None:
            lock = self._turns[key] = asyncio.Lock()
        return lock

    async def read(self, key: SessionKey) -> ResumedSession:
        """With all that is in the session's log by now."""
        known = self._known.get(key)
        if known is None or not await self._read_on(key, known):
            known = ResumedSession()
            await self._read_on(key, known)
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > _SESSIONS:
            self._known.popitem(last=False)
        self._bound_lines()
        return known

    def _bound_lines(self) -> None:
        """Over so many bytes what was read of the contents goes, of those resumed longest ago."""
        kept = [known for known in self._known.values() if known.line is not None]
        size = sum([known.line.reader.size_bytes for known in kept if known.line is not None])
        for known in kept[:-1]:
            if size <= _LINES_BYTES:
                return
            assert known.line is not None
            size -= known.line.reader.size_bytes
            known.line = None

    async def _read_on(self, key: SessionKey, known: ResumedSession) -> bool:
        """Reads what follows. False where it is another log: that one was deleted."""
        record, last, chain = known.record, known.record.seq, known.chain
        tail = await self._store.read(key, max(last - 1, 0))
        if last and (not tail or (tail[0].seq, tail[0].chain) != (last, chain)):
            return False
        opened = record.openings
        record.read([stored for stored in tail if stored.seq > record.seq])
        if tail and tail[-1].seq == record.seq:
            known.chain = tail[-1].chain
        if record.openings != opened:
            known.forget()
        return True
