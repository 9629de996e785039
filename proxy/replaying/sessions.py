"""What this process has read of the sessions that are resumed, and how they are connected."""

import asyncio
from collections import OrderedDict
from weakref import WeakSet, WeakValueDictionary

from proxy.core.equivalence import steady_chain
from proxy.core.histories import Histories
from proxy.core.replaying import Record
from proxy.core.request import Request
from proxy.core.session import SessionKey
from proxy.stores import Store
from proxy.wire import Connection

_SESSIONS = 256
_NOT_ANSWERED = 256


class ResumedSession:
    """One session. histories: of its answered steps, as far as they were asked for. connections:
    those that this run came by and that are still open. chain: that of the last event read."""

    def __init__(self) -> None:
        self.record = Record()
        self.histories = Histories()
        self.connections: WeakSet[Connection] = WeakSet()
        self.chain = b""

    def is_alone(self) -> bool:
        """Whether none of the run's connections is open any more."""
        return not any(connection.is_open for connection in self.connections)

    def goes_live(self, call_id: str, request: Request) -> None:
        """A call goes to the provider. Where the histories of all others were read, its body need
        not be read for its own. It may be refused yet: only so many such are kept."""
        histories, answered = self.histories, self.record.answered
        if len(histories) > len(answered) + _NOT_ANSWERED:
            self.histories = Histories()
        elif len(histories) and all(step.call_id in histories for step in answered):
            histories.add(call_id, steady_chain(request))

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
        return known

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
            known.histories = Histories()
        return True
