"""All replicas on one ledger, as one of them sees them."""

from dataclasses import dataclass
from typing import Protocol

from proxy.errors import StoreUnavailable
from proxy.workers.fleet_peers import Bus, FleetPeers
from proxy.workers.leases import LeasedOwners, Leases


class Shared(Leases, Bus, Protocol):
    """What a store does for them. See `stores.redis_fleet`."""

    async def open(self) -> None:
        """Raises StoreUnavailable; it is there later all the same."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who lives, and how they are spoken to."""

    shared: Shared
    owners: LeasedOwners
    peers: FleetPeers

    async def claim(self) -> None:
        """Raises StoreUnavailable; the workers of one `serve` know of each other all the same."""
        try:
            await self.shared.open()
        except StoreUnavailable:
            self.owners.near.claim()
            raise
        await self.owners.claim()

    async def leave(self, *, settled: bool) -> None:
        await self.owners.leave(settled=settled)
        await self.shared.close()
