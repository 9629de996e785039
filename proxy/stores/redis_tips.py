"""The ends of logs as this process knows them: what appends are made on before they are sent."""

import asyncio
from collections import OrderedDict

from proxy.core.session import SessionKey
from proxy.stores import LogCutShort
from proxy.stores.redis_keys import tag
from proxy.stores.redis_requests import Tip
from proxy.stores.redis_servers import Servers

TRUSTED_SECONDS = 60.0
"""For so long a log that is shorter than it was acknowledged is an accident, not retention."""

_REMEMBERED = 16_384


class Tips:
    """Bounded; the session touched longest ago is forgotten first. A tip may be outdated: the
    server has the last word. What it may not be is ahead of the server."""

    def __init__(self) -> None:
        self._tips: OrderedDict[SessionKey, tuple[Tip, float]] = OrderedDict()

    def get(self, key: SessionKey) -> Tip | None:
        known = self._tips.get(key)
        return None if known is None else known[0]

    def acknowledged(self, key: SessionKey, tip: Tip) -> None:
        """This process was told so by the server."""
        self._tips[key] = (tip, asyncio.get_running_loop().time())
        self._tips.move_to_end(key)
        if len(self._tips) > _REMEMBERED:
            self._tips.popitem(last=False)

    def forget(self, key: SessionKey) -> None:
        self._tips.pop(key, None)

    def is_ahead(self, key: SessionKey, seq: int) -> bool:
        """Whether the server's log is shorter than it has been of late."""
        known = self._tips.get(key)
        if known is None or seq >= known[0].seq:
            return False
        if asyncio.get_running_loop().time() - known[1] < TRUSTED_SECONDS:
            return True
        self.forget(key)
        return False

    async def check(self, servers: Servers, key: SessionKey, seq: int) -> None:
        """Raises LogCutShort where the server's log is shorter than it has been, and was not
        deleted: a deletion leaves a mark for as long as tips are trusted."""
        if not self.is_ahead(key, seq):
            return
        mark = f"{tag(servers.prefix, key.tenant)}:x:{key.session}"
        if await servers.call(mark, "EXISTS", mark) or not self.is_ahead(key, seq):
            self.forget(key)
            return
        raise LogCutShort(
            f"the ledger went back in time: session {key.session!r} ends at event {seq} in Redis, "
            f"but was acknowledged up to {self._tips[key][0].seq}. Was it emptied, restored from "
            "an older copy, or did it crash with appendfsync everysec? (docs/fleet.md)"
        )
