"""Whether a call may be sent here now (`/readyz`)."""

from collections.abc import Callable
from typing import Final

from proxy.clock import Clock
from proxy.config.watch import PolicyWatcher
from proxy.stores import Store
from proxy.workers.seat import Seat

LOOK_SECONDS: Final = 2.0


class Readiness:
    """Of one process. draining: no new calls are taken. writable: the store was, when it was looked
    at last. said_of_store: what is to be known of it beside that."""

    def __init__(
        self,
        seat: Seat | None,
        store: Store,
        watcher: PolicyWatcher,
        said_of_store: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.draining = False
        self.writable = False
        self._seat = seat
        self._store = store
        self._watcher = watcher
        self._said_of_store = said_of_store

    def now(self) -> tuple[bool, str]:
        """Whether, and what an operator should know either way."""
        said = "ok"
        if self.draining:
            said = "not ready: draining"
        elif not self.writable:
            said = "not ready: the store cannot be written to; the log says why"
        elif self._seat is not None and (board := self._seat.shared.board).ready() < board.workers:
            said = f"not ready: {board.ready()} of {board.workers} workers are up"
        error = self._watcher.last_error
        warning = f"policy not reloaded, the last good one is in force: {error}\n" if error else ""
        of_store = self._said_of_store()
        if of_store is not None:
            warning += f"{of_store}\n"
        return said == "ok", f"{said}\n{warning}"

    async def watch_store(self, clock: Clock) -> None:
        """Looks again and again, until cancelled."""
        while True:
            self.writable = await self._store.writable()
            await clock.sleep(LOOK_SECONDS)
