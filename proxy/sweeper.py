"""What has to happen though nobody calls: lost holds are booked, idle sessions finished."""

import logging
from collections.abc import Callable

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.errors import StoreUnavailable
from proxy.ledger import Ledger
from proxy.reservation import Settlement
from proxy.stores import OpenHold, Store

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0


class Sweeper:
    """One for each process. Several processes may sweep one store: closing a hold is idempotent."""

    def __init__(
        self, ledger: Ledger, store: Store, clock: Clock, idle_seconds: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._idle_seconds = idle_seconds

    async def run(self) -> None:
        """Sweeps until cancelled; a store that is away is tried again."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                log.warning("sweep failed", extra={"reason": str(error)})
            await self._clock.sleep(_EVERY_SECONDS)

    async def sweep(self) -> int:
        """Books every hold past its deadline, finishes idle sessions; returns how many of both.

        Calls that this process still runs are left to it, however the wall clock has jumped.
        """
        due = await self._store.open_holds(deadline_before=self._clock.now())
        lost = [hold for hold in due if not self._ledger.runs(hold.call_id)]
        for hold in lost:
            await self._book(hold)
        idle = self._ledger.idle_sessions(self._idle_seconds())
        for key in idle:
            await self._ledger.record(key, ev.SessionFinished(at=self._clock.now()))
        return len(lost) + len(idle)

    async def _book(self, hold: OpenHold) -> None:
        """Nobody knows what the call used: the whole hold is booked."""
        held = (await self._ledger.state(hold.key)).held.get(hold.call_id)
        booked = Settlement(
            outcome="expired",
            status=0,
            cost_micro_usd=held.cost_micro_usd if held else 0,
            usage=None,
            tokens=held.tokens if held else 0,
        )
        await self._ledger.settle(hold.key, hold.call_id, booked)
        facts = {"session": hold.key.session, "owner": hold.owner, "call": hold.call_id}
        log.warning("a call was never settled; its whole hold is booked", extra=facts)
