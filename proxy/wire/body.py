"""The body of one request: what has come of it, and who waits for more."""

import asyncio
import math
from typing import Final

from proxy.errors import MalformedRequest
from proxy.wire.shared import Shared

_UNREAD_BYTES: Final = 65_536
"""Of a body that nobody has asked for yet, and between two parts of a stream."""


_LOOSE_PARTS: Final = 64
_SMALL_BYTES: Final = 1_024


class Body:
    """Filled by a connection, read by a handler. A body that came with its head never waits.

    Two bounds on time hold while the reader waits, and only then: `body_seconds` between two parts,
    and `body_bytes_per_second` over all its waits. So neither a stall nor a drip holds a
    connection, and a client is not blamed for a reader that was slow.
    """

    complete = False
    """Nothing more of it is to come."""
    size = 0
    """Bytes that have come."""
    waiter: asyncio.Future[None] | None = None
    """Of the handler, while it waits for more."""
    due = math.inf
    _packed = 0
    _read = 0
    _wanted = 0
    _waited = 0.0
    _waits_since = 0.0
    _came_at = 0.0
    _fault: str | None = None

    def __init__(self, transport: asyncio.Transport, shared: Shared) -> None:
        self.parts: list[bytes] = []
        self._transport = transport
        self._shared = shared

    # --- the connection's side ---

    def moved(self) -> None:
        """A segment has been taken: wakes the reader if it has what it wants, and stops reading
        where there is none."""
        if len(self.parts) - self._packed > _LOOSE_PARTS:
            self._pack()
        if self.waiter is None:
            if not self.complete and self.size - self._read > _UNREAD_BYTES:
                self._transport.pause_reading()
            return
        self._came_at = self._shared.loop.time()
        if self.complete or self.size - self._read > self._wanted:
            self._wake()

    def _pack(self) -> None:
        """Many small parts become one: an object for each takes 20 times the room of its bytes."""
        loose = self.parts[self._packed :]
        if sum(map(len, loose)) < _LOOSE_PARTS * _SMALL_BYTES:
            self.parts[self._packed :] = [b"".join(loose)]
        self._packed = len(self.parts)

    def fail(self, message: str) -> None:
        """No more will come. Whoever reads is told so after what came before."""
        self._fault = message
        self._wake()

    # --- the handler's side ---

    async def whole(self, limit_bytes: int) -> bytes:
        """All of it. Raises MalformedRequest: 413 over the limit, 408 when it stalls."""
        self._wanted = limit_bytes
        while not self.complete and self.size <= limit_bytes:
            await self._more()
        self._wanted = 0
        if self.size > limit_bytes:
            self.taken()
            raise too_large(limit_bytes)
        return self.taken()

    async def next_part(self) -> bytes:
        """What has come since the last one, or b"" at the end. Raises MalformedRequest."""
        while not self.parts and not self.complete:
            await self._more()
        return self.taken()

    def taken(self) -> bytes:
        parts, self.parts, self._packed = self.parts, [], 0
        self._read = self.size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _more(self) -> None:
        if self._fault is not None:
            raise MalformedRequest(self._fault)  # kept, it would be in a circle with its frames
        loop, deadlines = self._shared.loop, self._shared.deadlines
        self._transport.resume_reading()
        self.waiter = loop.create_future()
        self._waits_since = self._came_at = loop.time()
        self.due = self._deadline()
        deadlines.add(self)
        try:
            await self.waiter
        finally:
            self.waiter = None
            deadlines.discard(self)
            self._waited += loop.time() - self._waits_since

    def expired(self, now: float) -> None:
        """The deadline that was set has passed; parts that came since have moved it."""
        self.due = self._deadline()
        if self.due <= now and self.waiter is not None and not self.waiter.done():
            message = "the request body did not arrive in time"
            self.waiter.set_exception(MalformedRequest(message, status=408))

    def _deadline(self) -> float:
        """When the next part has to be there."""
        bounds = self._shared.bounds
        at_slowest = self.size / bounds.body_bytes_per_second - self._waited
        return bounds.body_seconds + min(self._came_at, self._waits_since + at_slowest)

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


def too_large(limit_bytes: int) -> MalformedRequest:
    """A body over the limit of whoever reads it."""
    return MalformedRequest(f"the request body is larger than {limit_bytes} bytes", status=413)
