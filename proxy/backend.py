"""What a process stands on: the store, whoever else is on it, and how it goes on without."""

import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.clock import Clock
from proxy.config.watch import PolicyWatcher
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.metrics import Metrics
from proxy.stores import Store
from proxy.stores.open_on_failure import OpenOnFailure
from proxy.stores.redis_url import is_redis
from proxy.stores.spools import Spools
from proxy.stores.urls import open_store, spools_folder, state_folder
from proxy.tasks import Tasks
from proxy.workers.fleet import Fleet
from proxy.workers.fleet_peers import FleetPeers
from proxy.workers.leases import LeasedOwners
from proxy.workers.owners import FolderOwners, Owners, owners_folder
from proxy.workers.peers import FolderPeers, Peers
from proxy.workers.seat import Seat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """on_failure: the store itself, where it is one that can be away. fleet: what replicas have in
    common, where it is a store for them."""

    store: Store
    owners: Owners
    peers: Peers
    on_failure: OpenOnFailure | None
    fleet: Fleet | None
    clock: Clock
    tasks: Tasks

    def said(self) -> str | None:
        """What an operator should know of the store."""
        return self.on_failure.said() if self.on_failure is not None else None

    def is_spooled(self, name: str) -> bool:
        """Whether what a process that has died did may not be in the store yet."""
        return self.on_failure is not None and self.on_failure.is_spooled(name)

    async def claim(self, policy: PolicyWatcher) -> None:
        """Says that this process lives. Raises StoreUnavailable."""
        if isinstance(self.owners, FolderOwners):
            self.owners.claim()
        elif self.fleet is not None:
            try:
                await self.fleet.claim()
            except StoreUnavailable as error:
                if policy.current.store_on_failure != "open":
                    raise
                log.warning("others do not know of this process yet: %s", error)

    async def leave(self, *, settled: bool) -> None:
        """This process ends. Not settled: it leaves holds, for others to book at once."""
        if isinstance(self.owners, FolderOwners):
            self.owners.leave(settled=settled)
        elif self.fleet is not None:
            await self.fleet.leave(settled=settled)

    def watch(
        self,
        on_back: Callable[[Collection[SessionKey] | None], None],
        on_gone: Callable[[], Coroutine[None, None, None]],
        on_missed: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """From now on. on_back: told when the store has all that it missed of these sessions, or of
        all. on_gone: when a replica has died. on_missed: when something may have been said that
        went unheard."""
        spawn = self.tasks.spawn
        if self.on_failure is not None:
            self.on_failure.on_back = on_back
            spawn(self.on_failure.watch(self.clock), "watch for the store to be back")
        if self.fleet is not None:
            self.fleet.owners.on_gone = lambda: spawn(on_gone(), "recover")
            self.fleet.peers.on_missed = lambda: spawn(on_missed(), "catch up")
            spawn(self.fleet.owners.run(), "renew the lease")


def build_backend(
    store_url: str,
    key: bytes,
    env: Mapping[str, str],
    name: str,
    seat: Seat | None,
    policy: PolicyWatcher,
    metrics: Metrics,
    clock: Clock,
    tasks: Tasks,
    idle_seconds: Callable[[], float],
) -> Backend:
    """Of the process of that name, which no other has had. key: of the log's chain. Nothing is
    opened yet. Raises ValueError for a URL that is none."""

    def kept_for() -> float:
        return max(policy.current.checkpoints.retention_seconds, idle_seconds())

    store, kept = open_store(store_url, key, kept_for), None
    folder = spools_folder(store_url, env)
    if folder is not None:
        store = kept = OpenOnFailure(
            *(store, Spools(folder, name)),
            is_open=lambda: policy.current.store_on_failure == "open",
            idle_seconds=idle_seconds,
            let_through=metrics.observe_let_through,
        )
        metrics.watch_store(lambda: kept.waiting)
    crew = seat.shared.crew if seat is not None else name
    if is_redis(store_url):
        near = FolderOwners(crew_folder(env, crew) if seat is not None else None, name)
        fleet = _fleet(store_url, near, FolderPeers(near, crew), clock, tasks)
        return Backend(store, fleet.owners, fleet.peers, kept, fleet, clock, tasks)
    owners = FolderOwners(owners_folder(store_url), name)
    return Backend(store, owners, FolderPeers(owners, crew), kept, None, clock, tasks)


def crew_folder(env: Mapping[str, str], crew: str) -> Path:
    """Where the workers of one `serve` speak to each other, if no place is beside their ledger."""
    return state_folder(env) / f"{crew}.run"


def _fleet(
    store_url: str, near: FolderOwners, crew: FolderPeers, clock: Clock, tasks: Tasks
) -> Fleet:
    # Imported where it is needed: its parser is an extra.
    from proxy.stores.redis_fleet import RedisFleet
    from proxy.stores.redis_servers import Servers

    shared = RedisFleet(Servers(store_url))
    owners = LeasedOwners(shared, near, clock, tasks)
    return Fleet(shared, owners, FleetPeers(shared, owners, crew, tasks))
