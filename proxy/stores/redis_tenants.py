"""Which tenants a ledger has: written before anything of theirs is, so that it is all found."""

import asyncio
from collections.abc import Collection

from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_keys import shared
from proxy.stores.redis_servers import Servers

_TOLD_AGAIN_SECONDS = 3_600.0
_REMEMBERED = 65_536


class Tenants:
    """Shared by all appends of a process."""

    def __init__(self, servers: Servers, expiry: Expiry) -> None:
        self._servers = servers
        self._name = f"{shared(servers.prefix)}:t"
        self._expiry = expiry
        self._told: dict[str, float] = {}

    async def introduce(self, tenants: Collection[str]) -> None:
        """Once an hour for each, as long as it is used. Raises StoreUnavailable."""
        now = asyncio.get_running_loop().time()
        new = [
            one for one in tenants if now - self._told.get(one, float("-inf")) > _TOLD_AGAIN_SECONDS
        ]
        if new:
            await self._servers.calls(
                self._name,
                [("SADD", self._name, *new), ("EXPIRE", self._name, self._expiry.seconds)],
            )
            if len(self._told) > _REMEMBERED:
                self._told.clear()
            self._told.update(dict.fromkeys(new, now))
