"""What a human or a machine beside the agent may do to any session: list, kill, pause, resume."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from proxy.calls import Calls
from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.closed import refuse_closed, refuse_killed
from proxy.core.decision import Refusal
from proxy.core.queue import answering
from proxy.core.session import EMPTY, SessionKey, SessionState
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.intake import PolicySource
from proxy.ledger import Ledger
from proxy.stores import SessionRow, Store, Stored
from proxy.workers.messages import Running, SessionChanged, WhoRuns
from proxy.workers.peers import Peers

_LOOK_AGAIN_SECONDS = 1.0


@dataclass
class UnknownSession(HoldfastError):
    """No session of that id, or of that tenant."""

    session: str
    status: int = 404
    code: str = "unknown_session"

    def __str__(self) -> str:
        return f"no session {self.session!r}"


@dataclass
class AmbiguousSession(HoldfastError):
    """Several tenants use the id: one of `tenants` has to be named."""

    session: str
    tenants: tuple[str, ...]
    status: int = 409
    code: str = "ambiguous_session"

    def __str__(self) -> str:
        return f"session {self.session!r} is used by several tenants: name one with tenant="


@dataclass(frozen=True, slots=True)
class Control:
    """Shared by the admin API's handlers. Raises UnknownSession, AmbiguousSession,
    MalformedRequest, StoreUnavailable.

    Whatever is done to a session, every process on the ledger has heard of it when it is answered.
    refresh: reads anew what is known here of a session."""

    ledger: Ledger
    store: Store
    calls: Calls
    clock: Clock
    policy: PolicySource
    peers: Peers
    refresh: Callable[[SessionKey], Awaitable[None]]

    async def find(self, session: str, tenant: str | None) -> SessionKey:
        """The one session of that id; `tenant` is needed only where several have it."""
        tenants = await self.store.find_tenants(session)
        if tenant is not None:
            tenants = [t for t in tenants if t == tenant]
        if not tenants:
            raise UnknownSession(session)
        if len(tenants) > 1:
            raise AmbiguousSession(session, tuple(tenants))
        return SessionKey(tenants[0], session)

    async def show(self, key: SessionKey) -> SessionState:
        """As it is now, whichever process wrote last."""
        if self.peers.others():
            await self.refresh(key)
        return await self.ledger.state(key)

    async def list(
        self,
        *,
        state: str | None,
        agent: str | None,
        tenant: str | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        """Newest first, with the cursor of the next page."""
        return await self.store.list_sessions(
            state=state, agent=agent, tenant=tenant, limit=limit, cursor=cursor
        )

    async def events(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        return await self.store.read(key, after_seq)

    async def kill(self, session: str, tenant: str | None) -> tuple[SessionKey, SessionState]:
        """Cuts what is in flight first, then writes it down. With the store away, only the former:
        StoreUnavailable says that later calls are not refused yet."""
        try:
            key = await self._find_running(session, tenant)
            return key, await self._kill(key)
        except StoreUnavailable:
            live = await self._running(session, tenant)
            if len(live) == 1:
                (key,) = live
                await self._cut(key, self._killed(key, EMPTY))
            raise

    async def _find_running(self, session: str, tenant: str | None) -> SessionKey:
        """Also one whose first call still waits: of that nothing has been written."""
        try:
            return await self.find(session, tenant)
        except UnknownSession:
            live = await self._running(session, tenant)
            if len(live) != 1:
                raise
            return live.pop()

    async def _running(self, session: str, tenant: str | None) -> set[SessionKey]:
        """Sessions of that id that have a call in flight anywhere."""
        answers = await self.peers.ask(WhoRuns(session, tenant), self.peers.others())
        told = [msgspec.msgpack.decode(a, type=Running) for a in answers.values() if a]
        elsewhere = {SessionKey(t, session) for running in told for t in running.tenants}
        return elsewhere | set(self.calls.keys(session, tenant))

    async def _cut(self, key: SessionKey, refusal: Refusal) -> None:
        self.calls.cut_session(key, refusal)
        await self.tell(key, refusal)

    async def tell(self, key: SessionKey, refusal: Refusal | None = None) -> None:
        """Every other process hears that the session has changed; refusal: cuts what runs."""
        changed = SessionChanged(key.tenant, key.session, refusal)
        await self.peers.ask(changed, self.peers.others())

    async def catch_up(self) -> None:
        """Looks at all sessions that have calls in flight, and at others with their next call: what
        was said of them may have gone unheard. Until the store has told of each."""
        self.ledger.doubt()
        left = set(self.calls.running())
        while left:
            for key in tuple(left):
                with suppress(StoreUnavailable):
                    await self._look_at(key)
                    left.discard(key)
            if left:
                await self.clock.sleep(_LOOK_AGAIN_SECONDS)
                left.intersection_update(self.calls.running())

    async def _look_at(self, key: SessionKey) -> None:
        await self.refresh(key)
        state = await self.ledger.state(key)
        if state.killed:
            self.calls.cut_session(key, self._killed(key, state))

    def _killed(self, key: SessionKey, state: SessionState) -> Refusal:
        status = self.policy.current.rejection.status
        refusal = refuse_closed(status, replace(state, killed=True), key.session)
        assert refusal is not None
        return refusal

    async def _kill(self, key: SessionKey) -> SessionState:
        state = await self.show(key)
        refusal = self._killed(key, state)
        if state.killed:
            await self._cut(key, refusal)
            return state
        now = self.clock.now()
        killed: list[ev.AnyEvent] = [*answering(state, "kill", now), ev.SessionKilled(at=now)]
        # Together: neither a slow disk nor a process that hangs delays the other half.
        _, state = await asyncio.gather(self._cut(key, refusal), self.ledger.record(key, *killed))
        await self._cut(key, refusal)  # whoever was admitted meanwhile
        return state

    async def pause(self, key: SessionKey) -> SessionState:
        """Refuses later calls; those in flight end by themselves."""
        state = await self.show(key)
        if state.paused:
            return state
        return await self._record(key, ev.SessionPaused(at=self.clock.now()))

    async def resume(self, key: SessionKey, *, replay: bool = False) -> SessionState:
        """Ends a pause. replay: from now on its calls are answered from the record as well. Raises
        Unanswerable where it was killed."""
        state, now = await self.show(key), self.clock.now()
        refuse_killed(key, state)
        events: list[ev.AnyEvent] = [ev.SessionResumed(at=now)] if state.paused else []
        if replay and not state.resumable:
            events.append(ev.ReplayAllowed(at=now))
        return await self._record(key, *events) if events else state

    async def _record(self, key: SessionKey, *events: ev.AnyEvent) -> SessionState:
        state = await self.ledger.record(key, *events)
        await self.tell(key)
        return state
