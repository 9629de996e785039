"""`store.on_failure: open`: a store that goes away stops no call; what they did follows later.

Theory of operation. Three modes. HERE: all goes to the store. What it was given and did not take
(StoreUnavailable) turns the mode to AWAY: from then on appends go to a spool on the local disk, in
order, and are answered as soon as they are durable there. Reads fail with `StoreAway`, and whoever
keeps folds goes on from those. When the store takes writes again the mode is BACK: the spool is
written into it, and a session of which nothing is spooled is the store's again; what comes of the
others goes to the spool, behind the rest. So the mode is HERE again some time, however many calls
come meanwhile: with the spool empty nothing lies between the store and who writes to it. With
`closed` in force nothing new is spooled, but for the end of calls that were let through before.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from itertools import count
from typing import Final, TypeVar

from proxy.clock import Clock
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import Append, Appended, Balance, Store, StoreAway, Stored
from proxy.stores.delegating import DelegatingStore
from proxy.stores.spool import Spool
from proxy.stores.spool_drains import SpoolDrains
from proxy.stores.spooling import Spooling
from proxy.stores.spools import Spools

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
ADOPT_EVERY: Final = 20
"""Looks between two for spools of dead processes: 5 seconds."""
_FIRST_SECONDS: Final = 30.0
"""How long a start waits for what was spooled before it."""
_LAST_SECONDS: Final = 10.0
"""How long an end waits for it."""
_READS: Final = 3
"""How often a read is tried while the store is there."""

Read = TypeVar("Read")


class Mode(Enum):
    """Of the store, as this process sees it."""

    HERE = "here"
    AWAY = "away"
    BACK = "back"


class OpenOnFailure(DelegatingStore):
    """See `Store`. For one process and its loop.

    is_open: what the policy says now. idle_seconds: after which a session begins anew. let_through:
    told of each call that was. `on_back` is called when the log is whole again.
    """

    def __init__(
        self,
        primary: Store,
        spools: Spools,
        is_open: Callable[[], bool],
        idle_seconds: Callable[[], float],
        let_through: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(primary)
        self._is_open = is_open
        self.on_back: Callable[[Collection[SessionKey] | None], None] = lambda _: None
        self.mode = Mode.HERE
        self._is_opened = False
        self._why = ""
        self._spooling = spooling = Spooling(
            *(primary, self._spool, self._lost),
            is_away=lambda: self.mode is Mode.AWAY,
            is_held=self._holds,
            let_through=let_through,
        )
        self._spools = spools
        self._drains = SpoolDrains(
            *(spools, primary, idle_seconds, spooling),
            home=lambda keys: self.on_back(keys),
        )
        self._looks = 0
        self._missed: set[str] = set()

    @property
    def waiting(self) -> int:
        """Appends that the store does not have yet."""
        return self._spooling.waiting

    def said(self) -> str | None:
        """What an operator should know; None where there is nothing."""
        if self.mode is Mode.HERE:
            return None
        how = "calls are let through" if self._is_open() else "calls are refused"
        waits = f"{self.waiting} appends wait for it"
        return f"the store is {self.mode.value}, {waits}, {how}: {self._why}"

    async def open(self) -> None:
        """Raises StoreUnavailable; under `open` only where nothing can be kept for later either.
        What was spooled before is written first."""
        await self._drains.adopt()
        try:
            await self._primary.open()
            self._is_opened = True
        except StoreUnavailable as error:
            if not self._is_open():
                raise
            self._lost(error)
        if self._is_open():
            await self._spool().probe()
        if self._is_opened and self._drains.has_adopted:
            with suppress(TimeoutError):  # then it goes on meanwhile
                async with asyncio.timeout(_FIRST_SECONDS):
                    await self.look()

    async def close(self) -> None:
        """What is spooled stays so, for whoever comes next."""
        if self._is_opened or self._is_lost():  # it may be back since the last look
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self.look()
        self.mode, self._is_open = Mode.HERE, lambda: False  # what comes after is refused
        if self._is_opened:
            await self._primary.close()
        await self._drains.close(is_empty=self._spooling.is_empty)

    def append(self, append: Append) -> Awaitable[Appended]:
        """As in `Store`. While the store is away the answer is `SPOOLED`."""
        if self.mode is Mode.HERE or not self._is_to_be_spooled(append):
            return self._spooling.ask(append) if self._is_open() else self._primary.append(append)
        if not self._is_open() and not append.closes:
            raise StoreUnavailable(self._why)
        return self._spooling.put(append)

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        """Raises StoreAway where what is known here counts."""
        if not self._holds(key):
            found = await self._asked(lambda: self._primary.read(key, after_seq))
            if found is not None:
                return found
        is_spooled = self._spooling.left[key] > 0
        raise StoreAway(self._why, log=await self._drains.log_of(key) if is_spooled else ())

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        """Raises StoreAway where what is known here counts."""
        found: Mapping[str, Balance] | None = None
        if self.mode is not Mode.AWAY:
            found = await self._asked(lambda: self._primary.balances(accounts))
        if self.mode is Mode.HERE and found is not None:
            return found
        raise StoreAway(self._why, balances=found or {})

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        """None, where the store is away: who is told by its history alone begins anew."""
        if self.mode is Mode.AWAY:
            return {}
        return await self._asked(lambda: self._primary.find_links(tenant, links)) or {}

    async def writable(self) -> bool:
        """Whether calls are let through."""
        if self.mode is not Mode.AWAY and await self._primary.writable():
            return True
        return self._is_open() and await self._can_spool()

    async def watch(self, clock: Clock) -> None:
        """Brings what was spooled home, again and again, until cancelled."""
        while True:
            await clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # or calls would be let through until a restart
                log.exception("what was spooled cannot be brought home; trying again")

    async def look(self) -> None:
        """Once: whether the store is back, and whether a process died and left a spool."""
        self._looks += 1
        if self._looks % ADOPT_EVERY == 0 and self.mode is Mode.HERE:
            await self._drains.adopt()
        if not (self._drains.has_adopted or self._is_lost()):
            return
        try:
            await self._drains.mend()
            if not self._is_opened:
                await self._primary.open()
                self._is_opened = True
            if not await self._primary.writable():
                return
            if self.mode is Mode.AWAY:
                self.mode = Mode.BACK
            await self._empty()
        except StoreUnavailable as error:
            if self.mode is Mode.BACK:
                self.mode = Mode.AWAY
            self._why = error.message

    def is_spooled(self, name: str) -> bool:
        """Whether what a process that has died did may not be in the store yet. It is looked for at
        the next look, and then now and again."""
        is_left = name not in self._drains.kept and self._spools.is_left(name)
        if is_left and name not in self._missed:
            self._missed.add(name)
            self._looks = -1
        return is_left

    def _is_lost(self) -> bool:
        return self.mode is not Mode.HERE

    def _holds(self, key: SessionKey) -> bool:
        """Whether a session is not the store's now: what was done to it is spooled, or will be."""
        if self.mode is Mode.BACK:
            return self._spooling.holds(key)
        return self.mode is Mode.AWAY

    def _is_to_be_spooled(self, append: Append) -> bool:
        """Also where it was decided on a session above that is held."""
        return self._holds(append.key) or any(self._holds(guard.key) for guard in append.guards)

    def _lost(self, error: StoreUnavailable) -> None:
        self._why = error.message
        if self.mode is Mode.HERE:
            said = "the store is away; calls are let through, to be counted later"
            log.error(said, extra={"reason": error.message, "on_failure": "open"})
            self._drains.reconciled = 0
        self.mode = Mode.AWAY

    async def _asked(self, ask: Callable[[], Awaitable[Read]]) -> Read | None:
        """What a read comes to; None where the store is away. One that fails though it is there is
        asked again: it may have come back just now. Raises what is about that read."""
        for tries in count(1):
            try:
                return await ask()
            except StoreUnavailable as error:
                if not self._is_open():
                    raise
                if not await self._primary.writable():
                    self._lost(error)
                    break
                if tries == _READS:
                    raise
        return None

    def _spool(self) -> Spool:
        """Raises StoreUnavailable."""
        return self._drains.own().spool

    async def _can_spool(self) -> bool:
        try:
            await self._spool().probe()
        except StoreUnavailable:
            return False
        return True

    async def _empty(self) -> None:
        await self._drains.empty_adopted()
        while self.mode is Mode.BACK:
            if self._spooling.is_empty:
                self._come_back()  # before anything else runs
            elif not await self._drains.empty_some():
                return  # it goes on at the next look

    def _come_back(self) -> None:
        self.mode = Mode.HERE
        log.warning("the store is back and has it all", extra={"appends": self._drains.reconciled})
        self.on_back(None)
