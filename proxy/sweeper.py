"""What has to happen though nobody calls: lost holds are booked, idle sessions finished."""

import logging
from collections.abc import Callable, Sequence

from proxy.clock import Clock
from proxy.core.checkpoints import Checkpoints
from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.ledger import Ledger
from proxy.retention import Retention
from proxy.stores import OpenHold, Store
from proxy.workers.owners import FolderOwners, Gone, Owners

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_FINISHED_AT_ONCE = 500
"""The others at the next sweep."""

_LOOKED_THROUGH = 1_000
"""The sessions that a process wrote last before it died are among so many of the newest."""


class Sweeper:
    """One for each process. Several processes may sweep one store: closing a hold is idempotent.

    owners: without them nobody is known to be gone before the deadline of a hold. is_spooled:
    whether what such a one did may not be in the store yet; a call that it settled is not lost."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        clock: Clock,
        idle_seconds: Callable[[], float],
        owners: Owners | None = None,
        kept: Callable[[], Checkpoints] = Checkpoints,
        is_spooled: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._owners = owners or FolderOwners(None, "")
        self._is_spooled = is_spooled
        self._retention = Retention(store, clock, kept, idle_seconds)

    async def run(self) -> None:
        """Sweeps until cancelled; a store that is away is tried again."""
        while True:
            try:
                await self.sweep()
                await self.purge()
            except StoreUnavailable as error:
                log.warning("sweep failed", extra={"reason": str(error)})
            await self._clock.sleep(_EVERY_SECONDS)

    async def sweep(self) -> int:
        """Books every hold past its deadline, finishes idle sessions, whoever ran them; returns how
        many of both.

        Calls that a process still runs are left to it, however the wall clock has jumped.
        """
        await self.recover()
        await self._ledger.clear_doubts()
        due = await self._store.open_holds(deadline_before=self._clock.now())
        lost = [hold for hold in due if not self._is_run(hold)]
        idle_seconds = self._idle_seconds()
        idle = dict.fromkeys(self._ledger.idle_sessions(idle_seconds))
        since = self._retention.reached() - idle_seconds
        idle |= dict.fromkeys(await self._store.list_idle(since, _FINISHED_AT_ONCE))
        swept = [await self._book(hold) for hold in lost]
        swept += [await self._finish(key, idle_seconds) for key in idle]
        return sum(swept)

    async def purge(self) -> None:
        """See `Retention.look_after`."""
        await self._retention.look_after()

    async def recover(self) -> None:
        """Books at once what processes held that have died, and spooled nothing that is yet to be
        written."""
        gone = self._owners.gone()
        try:
            known = [owner for owner in gone if not self._is_spooled(owner.name)]
            if known:
                await self._book_all_of(known)
        except StoreUnavailable as error:
            log.warning("what a dead process held is not booked", extra={"reason": str(error)})
        finally:
            for owner in gone:
                owner.let_go()

    async def _book_all_of(self, gone: Sequence[Gone]) -> None:
        names = {owner.name for owner in gone}
        for hold in await self._store.open_holds():
            if hold.owner in names:
                await self._book(hold)
        await self._mend_listings()
        left = {hold.owner for hold in await self._store.open_holds()}
        for owner in gone:
            if owner.name not in left:
                owner.bury()

    async def _mend_listings(self) -> None:
        """What two processes wrote of a session at once is mended in the listing by who notices,
        if it lives: see `Folds.mend_head`."""
        rows, _ = await self._store.list_sessions(limit=_LOOKED_THROUGH)
        for row in rows:
            if row.head.seq != row.seq:
                await self._ledger.mend_head(row.key)

    def _is_run(self, hold: OpenHold) -> bool:
        """Whether a process still carries the call out; another that lives books its own."""
        mine = hold.owner == self._owners.name
        return self._ledger.runs(hold.call_id) or (not mine and self._owners.lives(hold.owner))

    async def _book(self, hold: OpenHold) -> bool:
        """Nobody knows what the call used: the whole hold is booked."""
        facts = {"session": hold.key.session, "owner": hold.owner, "call": hold.call_id}
        try:
            booked = await self._ledger.expire(hold.key, hold.call_id)
        except HoldfastError as error:
            log.warning("a lost call cannot be booked", extra={**facts, "reason": str(error)})
            return False
        if booked:
            log.warning("a call was never settled; its whole hold is booked", extra=facts)
        return booked

    async def _finish(self, key: SessionKey, idle_seconds: float) -> bool:
        try:
            if await self._ledger.finish(key, idle_seconds):
                return True
            await self._ledger.mend_head(key)  # or its listing will call it idle again and again
            return False
        except HoldfastError as error:
            facts = {"session": key.session, "reason": str(error)}
            log.warning("an idle session cannot be finished", extra=facts)
            return False
