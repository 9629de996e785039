"""Who lives, where there is no folder that all share: leases, renewed each second.

Theory of operation. A process that lives renews its lease; one whose lease has ended is taken for
dead, and its holds are booked by whoever takes it over. Time is the server's: clocks of replicas
may differ by minutes. A lease that has ended is no proof: the server may have been away for all of
them. So nobody is buried by one who has not himself renewed, without a gap, for as long as a lease
lasts: until then everybody who lives has come back. Who was only stopped (SIGSTOP, a paused VM)
comes back to find its holds booked whole: what it settles then changes nothing.
The workers of one `serve` share a folder as well, in which the kernel tells of a death at once.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.clock import Clock
from proxy.errors import StoreUnavailable
from proxy.tasks import Tasks
from proxy.workers.owners import FolderOwners, Gone

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 5.0
BEAT_SECONDS: Final = 1.0
_CARE_SECONDS: Final = 60.0
"""How long one has to book what a dead one held, before another may."""
_LEFT_SECONDS: Final = 10.0**9
"""Ended so long ago, it was ended by its owner."""


class Leases(Protocol):
    """What a store keeps of them. All raise StoreUnavailable. See `stores.redis_fleet`."""

    async def claim(self, name: str, seconds: float) -> Mapping[str, float] | None: ...

    async def beat(self, name: str, seconds: float) -> Mapping[str, float]: ...

    async def leave(self, name: str, *, settled: bool) -> None: ...

    async def take(self, name: str, by: str, seconds: float) -> bool: ...

    async def bury(self, name: str, by: str) -> None: ...

    async def let_go(self, name: str, by: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Lapsed:
    """One whose lease has ended. near: as the folder has it, where it was of this `serve`."""

    name: str
    _bury: Callable[[str], None]
    _let_go: Callable[[str], None]
    near: Gone | None

    def bury(self) -> None:
        """See `Gone`."""
        self._bury(self.name)
        if self.near is not None:
            self.near.bury()

    def let_go(self) -> None:
        """See `Gone`."""
        self._let_go(self.name)
        if self.near is not None:
            self.near.let_go()


class LeasedOwners:
    """As `Owners`. near: the workers of this `serve`, by their folder. on_gone: somebody has died.
    For one process; `run` renews until it is cancelled."""

    def __init__(
        self,
        leases: Leases,
        near: FolderOwners,
        clock: Clock,
        tasks: Tasks,
        on_gone: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = near.name
        self.near = near
        self._leases = leases
        self._clock = clock
        self._tasks = tasks
        self.on_gone = on_gone
        self._left: Mapping[str, float] = {}
        self._beaten_at: float | None = None
        self._steady_since = clock.monotonic()
        self._taken: set[str] = set()
        self._given: set[str] = set()

    async def claim(self) -> None:
        """This process lives, from now on. Raises StoreUnavailable."""
        self.near.claim()
        left = await self._leases.claim(self.name, LEASE_SECONDS)
        if left is None:
            raise StoreUnavailable(f"another process is called {self.name} already")
        self._beaten(left)

    async def leave(self, *, settled: bool) -> None:
        """This process ends. Where the store is away, its lease ends by itself."""
        self.near.leave(settled=settled)
        with suppress(StoreUnavailable):
            await self._leases.leave(self.name, settled=settled)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(BEAT_SECONDS)
            with suppress(StoreUnavailable):
                await self.beat()

    async def beat(self) -> None:
        """Renews, and takes over who has died."""
        self._beaten(await self._leases.beat(self.name, LEASE_SECONDS))
        steady = self._clock.monotonic() - self._steady_since >= LEASE_SECONDS
        over = [
            name
            for name, left in self._left.items()
            if left <= -_LEFT_SECONDS or (left <= 0 and steady)
        ]
        before = len(self._taken)
        for name in over:
            is_known = name == self.name or name in self._taken or name in self._given
            if not is_known and await self._leases.take(name, self.name, _CARE_SECONDS):
                self._taken.add(name)
        if len(self._taken) > before:
            self.on_gone()

    def seen(self, name: str) -> None:
        """It has just said something."""
        if name not in self._left:
            self._left = {**self._left, name: LEASE_SECONDS}

    def lives(self, name: str) -> bool:
        """As far as is known: while the store is away, those that lived then do."""
        return self.near.lives(name) or self._left.get(name, 0.0) > 0

    def others(self) -> list[str]:
        """Those that can be spoken to."""
        far = [name for name, left in self._left.items() if left > 0 and name != self.name]
        return sorted({*far, *self.near.others()})

    def gone(self) -> Sequence[Gone]:
        """Those that ended, which this process takes care of now."""
        near = [Lapsed(gone.name, self._bury, self._let_go, gone) for gone in self.near.gone()]
        names = {gone.name for gone in near}
        far = [Lapsed(n, self._bury, self._let_go, None) for n in sorted(self._taken - names)]
        self._given |= self._taken | names
        self._taken.clear()
        return [*near, *far]

    def _bury(self, name: str) -> None:
        self._later(self._leases.bury, name)

    def _let_go(self, name: str) -> None:
        self._given.discard(name)
        self._later(self._leases.let_go, name)

    def _later(self, say: Callable[[str, str], Awaitable[None]], name: str) -> None:
        async def said() -> None:
            with suppress(StoreUnavailable):  # its lock ends by itself
                await say(name, self.name)

        self._tasks.spawn(said(), "say of a dead owner")

    def _beaten(self, left: Mapping[str, float]) -> None:
        now = self._clock.monotonic()
        if self._beaten_at is None or now - self._beaten_at >= LEASE_SECONDS:
            self._steady_since = now
        self._beaten_at = now
        self._left = left
