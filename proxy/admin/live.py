"""The stream of events to whoever watches: bounded, and never in the way of a call."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey, SessionState

_QUEUE = 1_000


class Watcher:
    """One who watches; who does not keep up loses the oldest."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)

    def put(self, line: bytes) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(line)

    async def next(self) -> bytes:
        """The next event as JSON. Cancelled, it loses none."""
        return await self._queue.get()


class Live:
    """Hands every event of this process to every watcher."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def observe(self, key: SessionKey, event: AnyEvent, state: SessionState) -> None:
        """An observer of the ledger."""
        if not self._watchers:
            return
        body = msgspec.to_builtins(event)
        line = msgspec.json.encode(
            {"session": key.session, "tenant": key.tenant, "state": state.status, **body}
        )
        for watcher in self._watchers:
            watcher.put(line)

    def tell(self, facts: Mapping[str, object]) -> None:
        """What is no event of a session."""
        if self._watchers:
            line = msgspec.json.encode(facts)
            for watcher in self._watchers:
                watcher.put(line)

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Events from now on, until the end of the block."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
