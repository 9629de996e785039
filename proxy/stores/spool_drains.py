"""All spools that a process cares for: its own, and those that it took over from the dead.

A spool whose file is damaged would hold up all behind it, and waiting does not mend it: it is moved
out of the way, under a name that says so, for a human to look at.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import Store
from proxy.stores.spool_drain import AT_ONCE, SpoolDrain
from proxy.stores.spooling import Spooling
from proxy.stores.spools import Spools

log = logging.getLogger(__name__)


class SpoolDrains:
    """home: told of sessions of which nothing is spooled any more. All raise StoreUnavailable."""

    def __init__(
        self,
        spools: Spools,
        primary: Store,
        idle_seconds: Callable[[], float],
        spooling: Spooling,
        home: Callable[[Collection[SessionKey]], None],
    ) -> None:
        self._spools = spools
        self._primary = primary
        self._idle_seconds = idle_seconds
        self._spooling = spooling
        self._home = home
        self._own: SpoolDrain | None = None
        self._adopted: dict[str, SpoolDrain] = {}
        self.kept: set[str] = set()
        """Of whom nothing is left but what stays for a human."""
        self.reconciled = 0
        """Appends that are not spooled any more."""

    @property
    def has_adopted(self) -> bool:
        return bool(self._adopted)

    def own(self) -> SpoolDrain:
        """Of this process's own spool, made when it is asked for first."""
        if self._own is None:
            self._own = SpoolDrain(self._spools.own(), self._primary, self._idle_seconds)
        return self._own

    async def adopt(self) -> None:
        """What dead processes left is this one's from now on."""
        for name, spool in self._spools.adopt():
            drain = SpoolDrain(spool, self._primary, self._idle_seconds, all_tried=True)
            try:
                drain.left.update(dict(await spool.sessions()))
            except StoreUnavailable as error:
                if not spool.is_damaged:
                    reason = {"reason": error.message}
                    log.error("a dead process's spool cannot be read", extra=reason)
                    await self._spools.leave(name, spool, is_empty=False)
                    continue
                await self._set_aside(name, drain, error)
                continue
            self._adopted[name] = drain
            for key, count in drain.left.items():
                self._spooling.count(key, count)

    async def empty_adopted(self) -> None:
        """Those of the dead go first: what they did came before what is done now."""
        for name, drain in tuple(self._adopted.items()):
            try:
                while drain.left:
                    await self._some(drain, drain.left)
                refused = await drain.spool.refused()
            except StoreUnavailable as error:
                if not drain.spool.is_damaged:
                    raise
                del self._adopted[name]
                await self._set_aside(name, drain, error)
                continue
            del self._adopted[name]
            if refused:
                self.kept.add(name)
            await self._spools.leave(name, drain.spool, is_empty=not refused)

    async def empty_some(self) -> int:
        """Writes the first few of this process's own; how many are not left any more."""
        return await self._some(self.own(), self._spooling.left)

    async def mend(self) -> None:
        """Where this process's own spool is damaged it goes on with another."""
        own = self._own
        if own is not None and own.spool.is_damaged:
            self._own = None
            own.left = self._spooling.left.copy()
            for drain in self._adopted.values():
                own.left -= drain.left
            await self._set_aside(self._spools.name, own, StoreUnavailable("it is damaged"))

    async def log_of(self, key: SessionKey) -> tuple[AnyEvent, ...]:
        """What was done to a session and is not in the store, in order."""
        events: list[AnyEvent] = []
        for spool in (*(one.spool for one in self._adopted.values()), self.own().spool):
            for append in await spool.of_session(key):
                events += append.events
        return tuple(events)

    async def close(self, *, is_empty: bool) -> None:
        """What is spooled stays so, for whoever comes next. is_empty: nothing is left."""
        for name, drain in self._adopted.items():
            await self._spools.leave(name, drain.spool, is_empty=False)
        own = self._own
        if own is not None and is_empty:
            is_empty = not await own.spool.refused()
        await self._spools.close(is_empty=own is None or is_empty)

    async def _some(self, drain: SpoolDrain, left: Counter[SessionKey]) -> int:
        keys = _first(left)
        last = [key for key in keys if self._spooling.left[key] <= AT_ONCE]
        self._spooling.park(last)
        try:
            done, missing = await drain.some(keys)
            for key in done:
                self._gone(drain, key, 1)
            for key in missing.intersection(last):  # counted, and not there
                self._gone(drain, key, left[key])
            self._at_home(drain, keys)
        finally:
            self._spooling.unpark(last)
        self.reconciled += len(done)
        for key in keys:  # the others first
            if key in left:
                left[key] = left.pop(key)
        return len(done)

    def _gone(self, drain: SpoolDrain, key: SessionKey, count: int) -> None:
        self._spooling.count(key, -count)
        if key in drain.left:
            drain.left[key] -= count
            if drain.left[key] <= 0:
                del drain.left[key]

    def _at_home(self, drain: SpoolDrain, keys: Collection[SessionKey]) -> None:
        home = [key for key in keys if key not in self._spooling.left]
        drain.forget(home)
        self._home(home)

    async def _set_aside(self, name: str, drain: SpoolDrain, error: StoreUnavailable) -> None:
        place = await self._spools.set_aside(name, drain.spool)
        for key, count in drain.left.items():
            self._spooling.count(key, -count)
        self._at_home(drain, drain.left)
        log.error(
            "a spool is damaged and was set aside: what it held is not in the ledger. "
            "`sqlite3 FILE .recover` shows what can still be read of it; delete it when done",
            extra={
                "spool": str(place),
                "reason": error.message,
                "appends": drain.left.total(),
                "sessions": sorted({key.session for key in drain.left})[:20],
            },
        )


def _first(left: Counter[SessionKey]) -> list[SessionKey]:
    """Sessions of which so much is left that it is worth to be written at once."""
    keys, appends = [], 0
    for key, count in left.items():
        keys.append(key)
        appends += count
        if appends >= AT_ONCE:
            break
    return keys
