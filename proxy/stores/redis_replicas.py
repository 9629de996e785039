"""How many replicas a server has, and the wait for them: what is told outlives a failover."""

import logging
import re
from collections.abc import Sequence

from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Command, Reply
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_url import Address

log = logging.getLogger(__name__)

WAIT_MILLISECONDS = 1_000
_ONLINE = re.compile(r"^slave\d+:.*state=online", re.MULTILINE)


class Replicas:
    """wanted: how many must have a write before it is acknowledged; None: one, if there is one."""

    def __init__(self, servers: Servers, wanted: int | None) -> None:
        self._servers = servers
        self._wanted = wanted
        self._waits = wanted or 0

    async def look(self) -> None:
        """Counts them anew. With several primaries the one with the fewest counts."""
        if self._wanted is not None:
            return
        fewest = None
        for address in await self._servers.primaries():
            count = await self._count(address)
            fewest = count if fewest is None else min(fewest, count)
        self._waits = min(fewest or 0, 1)

    def commands(self) -> Sequence[Command]:
        """To be sent behind a write, on its connection."""
        return (("WAIT", self._waits, WAIT_MILLISECONDS),) if self._waits else ()

    async def check(self, replies: Sequence[Reply]) -> StoreUnavailable | None:
        """What to say where too few have confirmed: the write is there, and may yet be lost."""
        if not replies or not isinstance(replies[0], int) or replies[0] >= self._waits:
            return None
        waited = self._waits
        await self.look()
        if self._waits < waited:
            log.warning("Redis has no replica any more: what it is told now has one copy only")
            return None
        return StoreUnavailable(
            f"no replica of Redis has confirmed the write within {WAIT_MILLISECONDS / 1e3:g} s: "
            "bring the replica back, or disconnect it"
        )

    async def _count(self, address: Address) -> int:
        reply = await self._servers.ask_primary(address, "INFO", "replication")
        return len(_ONLINE.findall(reply.decode())) if isinstance(reply, bytes) else 0
