"""How many replicas a server has, and the wait for them: what is told outlives a failover."""

import logging
import re
from collections.abc import Sequence

from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Command, Reply
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_url import Address

log = logging.getLogger(__name__)

_WAIT_SECONDS = 1.0
_REPLICA = re.compile(r"^slave\d+:.*state=(\w+)", re.MULTILINE)


class Replicas:
    """wanted: how many must have a write before it is acknowledged; None: one, if there is one.

    is_short: one that there was is missing, or one is on its way. Until it is looked for again what
    is told has one copy only, so that should be soon."""

    def __init__(self, servers: Servers, wanted: int | None) -> None:
        self._servers = servers
        self._wanted = wanted
        self._waits = wanted or 0
        # Longer than an answer may take, and it would look as if the server were dead.
        self._wait = min(_WAIT_SECONDS, servers.url.timeout_seconds / 2)
        self._had_one = False
        self.is_short = False

    async def look(self) -> None:
        """Counts them anew. With several primaries the one with the fewest counts."""
        if self._wanted is not None:
            return
        states = [await self._states(one) for one in await self._servers.primaries()]
        self._waits = min([state.count("online") for state in states], default=0) and 1
        self._had_one = self._had_one or self._waits > 0
        self.is_short = not self._waits and (self._had_one or any(states))

    def commands(self) -> Sequence[Command]:
        """To be sent behind a write, on its connection."""
        return (("WAIT", self._waits, round(self._wait * 1000)),) if self._waits else ()

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
            f"no replica of Redis has confirmed the write within {self._wait:g} s: "
            "bring the replica back, or disconnect it"
        )

    async def _states(self, address: Address) -> list[str]:
        reply = await self._servers.ask_primary(address, "INFO", "replication")
        return _REPLICA.findall(reply.decode()) if isinstance(reply, bytes) else []
