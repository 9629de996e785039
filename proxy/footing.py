"""What a process stands on: the store, whoever else is on it, and how it goes on without."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.config.watch import PolicyWatcher
from proxy.metrics import Metrics
from proxy.stores import Store
from proxy.stores.open_on_failure import OpenOnFailure
from proxy.stores.spools import Spools
from proxy.stores.urls import open_store, spools_folder
from proxy.tasks import Tasks
from proxy.workers.owners import Owners, owners_folder
from proxy.workers.peers import Peers


@dataclass(frozen=True, slots=True)
class Footing:
    """kept: the store itself, where it is one that can be away."""

    store: Store
    owners: Owners
    peers: Peers
    kept: OpenOnFailure | None

    def said(self) -> str | None:
        """What an operator should know of the store."""
        return self.kept.said() if self.kept is not None else None

    def watch(self, clock: Clock, tasks: Tasks, on_back: Callable[[], None]) -> None:
        """From now on. on_back: called when the store has all that it missed."""
        if self.kept is not None:
            self.kept.on_back = on_back
            tasks.spawn(self.kept.watch(clock), "watch for the store to be back")


def footing(
    store_url: str,
    key: bytes,
    env: Mapping[str, str],
    name: str,
    crew: str,
    policy: PolicyWatcher,
    idle_seconds: Callable[[], float],
    metrics: Metrics,
) -> Footing:
    """Of the process called `name`, of a `crew`. key: of the log's chain. Nothing is opened yet.
    Raises ValueError for a URL that is none."""
    store, kept = open_store(store_url, key), None
    folder = spools_folder(store_url, env)
    if folder is not None:
        store = kept = OpenOnFailure(
            *(store, Spools(folder, name)),
            is_open=lambda: policy.current.store_on_failure == "open",
            idle_seconds=idle_seconds,
            let_through=metrics.observe_let_through,
        )
        metrics.watch_store(lambda: kept.waiting)
    owners = Owners(owners_folder(store_url), name)
    return Footing(store, owners, Peers(owners, crew), kept)
