"""What a human or a machine beside the agent may do to a session: list, kill, pause, extend …"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from proxy.calls import Calls
from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.decision import Refusal
from proxy.core.engine import Rules, refuse_closed
from proxy.core.limits.registry import EXTENDABLE_COUNTS, EXTENDABLE_MONEY
from proxy.core.policy import MICRO
from proxy.core.session import EMPTY, SessionKey, SessionState
from proxy.errors import HoldfastError, MalformedRequest, StoreUnavailable
from proxy.intake import PolicySource
from proxy.ledger import Ledger
from proxy.stores import SessionRow, Store, Stored


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
    MalformedRequest, StoreUnavailable."""

    ledger: Ledger
    store: Store
    calls: Calls
    clock: Clock
    policy: PolicySource

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
            key = await self.find(session, tenant)
            return key, await self._kill(key)
        except StoreUnavailable:
            live = self.calls.keys(session, tenant)
            if len(live) == 1:
                self.calls.cut_session(live[0], self._killed(live[0], EMPTY))
            raise

    def _killed(self, key: SessionKey, state: SessionState) -> Refusal:
        policy = self.policy.current
        rules = Rules(policy.limits, refusal_status=policy.rejection.status)
        refusal = refuse_closed(rules, replace(state, killed=True), key.session)
        assert refusal is not None
        return refusal

    async def _kill(self, key: SessionKey) -> SessionState:
        state = await self.ledger.state(key)
        refusal = self._killed(key, state)
        self.calls.cut_session(key, refusal)
        if not state.killed:
            state = await self.ledger.record(key, ev.SessionKilled(at=self.clock.now()))
            self.calls.cut_session(key, refusal)  # whoever was admitted meanwhile
        return state

    async def pause(self, key: SessionKey) -> SessionState:
        """Refuses later calls; those in flight end by themselves."""
        state = await self.ledger.state(key)
        if state.paused:
            return state
        return await self.ledger.record(key, ev.SessionPaused(at=self.clock.now()))

    async def resume(self, key: SessionKey) -> SessionState:
        """Ends a pause."""
        state = await self.ledger.state(key)
        if not state.paused:
            return state
        return await self.ledger.record(key, ev.SessionResumed(at=self.clock.now()))

    async def extend(self, key: SessionKey, amounts: Mapping[str, object]) -> SessionState:
        """Adds to limits: counts as whole numbers, money in USD."""
        if not amounts:
            raise MalformedRequest(f"name a limit to extend (allowed: {_ALLOWED})")
        added = tuple((name, _amount(name, value)) for name, value in amounts.items())
        return await self.ledger.record(key, ev.LimitsExtended(at=self.clock.now(), added=added))


_ALLOWED = ", ".join((*EXTENDABLE_COUNTS, *EXTENDABLE_MONEY, "per_tool.GLOB"))
_MOST = 10**15


def _amount(name: str, value: object) -> int:
    """What is added, in the unit of the log."""
    if name not in EXTENDABLE_COUNTS + EXTENDABLE_MONEY and not name.startswith("per_tool."):
        raise MalformedRequest(f"{name}: no such limit (allowed: {_ALLOWED})", param=name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
        raise MalformedRequest(f"{name}: a positive number is needed", param=name)
    if name in EXTENDABLE_MONEY:
        return round(value * MICRO)
    if value != int(value):
        raise MalformedRequest(f"{name}: a whole number is needed", param=name)
    return int(value)
