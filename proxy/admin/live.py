"""The stream of events to whoever watches: bounded, and never in the way of a call."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey, SessionState

_QUEUE = 1_000


class Live:
    """Hands every event to every watcher; one who does not keep up loses the oldest."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes]] = set()

    def observe(self, key: SessionKey, event: AnyEvent, state: SessionState) -> None:
        """An observer of the ledger."""
        if not self._watchers:
            return
        body = msgspec.to_builtins(event)
        line = msgspec.json.encode(
            {"session": key.session, "tenant": key.tenant, "state": state.status, **body}
        )
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Events as JSON from now on, for as long as the watcher stays."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
