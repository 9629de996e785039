"""The way out of a connection: what is sent, and waiting while the client does not read."""

import asyncio
import math
from contextlib import suppress
from typing import Final

from proxy.wire.shared import Shared

_JOINED_BYTES: Final = 65_536
"""Up to here a copy costs less than handing two buffers to the kernel."""


class Outlet:
    """Belongs to one connection; all answers on it go out here."""

    due = math.inf
    _paused = False

    def __init__(self, transport: asyncio.Transport, shared: Shared) -> None:
        self.transport = transport
        self._shared = shared
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the client has not left."""
        return not self.transport.is_closing()

    def put(self, data: bytes, more: bytes = b"") -> bool:
        """Sends, in one write. True if more may follow at once; False while the client does not
        read, or when it has left."""
        transport = self.transport
        if transport.is_closing():
            return False
        if not more:
            transport.write(data)
        elif len(more) <= _JOINED_BYTES:
            transport.write(data + more)
        else:
            transport.writelines((data, more))
        return not self._paused

    def end(self) -> None:
        """Nothing more is sent: half-closes, once what was put has left."""
        with suppress(OSError):  # asyncio's: the client has reset, and its loop does not know yet
            self.transport.write_eof()

    async def drained(self) -> bool:
        """Waits until the client reads again; False if it has left, or took too long."""
        shared = self._shared
        while self._paused and not self.transport.is_closing():
            waiter = shared.loop.create_future()
            if not self._waiters:
                self.due = shared.loop.time() + shared.bounds.write_seconds
                shared.deadlines.add(self)
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
                if not self._waiters:
                    shared.deadlines.discard(self)
        return not self.transport.is_closing()

    def pause(self) -> None:
        """The transport holds more than it should."""
        self._paused = True

    def resume(self) -> None:
        """The client has read."""
        self._paused = False
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def expired(self, now: float) -> None:
        """The client has not read for too long: it is left, which cancels the handler."""
        self._shared.deadlines.discard(self)
        self.transport.abort()
