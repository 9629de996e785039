"""A connection to a provider: its socket's callbacks, its deadlines, the request on its way out.

    kept      nothing under way, in the pool: any byte ends it, for nobody asked
    asked     a request is leaving or has left, no head yet
    answered  the head has come, the body is coming
    lost      cut, closed or reset; never used again

From answered it is kept again at the answer's last byte, whoever reads that later, but only where
all is certain: the request has left whole, nothing follows the answer, and neither side wants the
connection closed. No task and no timer is made for a call: `due` is what `Deadlines` looks at.
"""

import asyncio
import fcntl
import select
import socket
import ssl
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, cast

from msgspec.structs import replace

from proxy.errors import FailureKind, UpstreamUnavailable
from proxy.wire import Timeouts
from proxy.wire.answer import Answer
from proxy.wire.timing import Deadlines

_COPIED_BYTES: Final = 16_384
"""Up to here one buffer is cheaper than two."""

_QUIET_SECONDS: Final = 60
"""After so long without a byte the kernel asks whether the provider is still there: models think
for minutes, and middleboxes forget connections that say nothing."""

_LOST: Final = "the connection was lost"


@dataclass(frozen=True, slots=True, eq=False)
class Household:
    """What the connections of a pool share: `open` holds all that are not lost; `none_left` is set
    when the last one is."""

    deadlines: Deadlines
    keepalive_seconds: float
    open: set["UpstreamConnection"] = field(default_factory=set)
    none_left: asyncio.Event = field(default_factory=asyncio.Event)


class UpstreamConnection(asyncio.Protocol):
    """One connection. `kept` is where it waits for the next request: the last in is the first out,
    so that the others reach their time-out."""

    def __init__(
        self, household: Household, kept: dict["UpstreamConnection", None], authority: str
    ) -> None:
        self.due = float("inf")
        self._household = household
        self._kept = kept
        self._authority = authority
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._socket_events = select.poll()
        self._answer: Answer | None = None
        self._timeouts = Timeouts()
        self._end = 0.0
        self._unsent_bytes = 0
        self.paused = False
        self._upload: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    def join(self) -> bool:
        """Makes it one of the household's, if it is still open. Not done when it is made: uvloop
        drops a connection whose making is cancelled without telling its protocol."""
        if self.is_open():
            self._household.open.add(self)
            self._household.deadlines.add(self)
        return self.is_open()

    def begin(self, names: dict[bytes, str], timeouts: Timeouts, *, bodiless: bool) -> Answer:
        """Makes it the connection of one call, to be sent at once."""
        answer = Answer(self, self._authority, names, self._loop, bodiless=bodiless)
        self._answer = answer
        self._timeouts = timeouts
        self._unsent_bytes = 0
        now = self._loop.time()
        self._end = now + timeouts.total
        self._is_due_in(timeouts.head, now)
        return answer

    def write(self, head: bytes, body: bytes = b"") -> None:
        """Sends both in one go."""
        transport = self._transport
        if self._lost or transport is None:
            return
        if len(body) > _COPIED_BYTES:
            transport.writelines((head, body))
        else:
            transport.write(head + body)

    def uploads(self, upload: asyncio.Task[None]) -> None:
        """The rest of the request is sent by this task, which calls `uploaded` at its end."""
        self._upload = upload

    def uploaded(self, fault: BaseException | None = None) -> None:
        """The request has left, or there will be no more of it for this reason."""
        self._upload = None
        if fault is not None:
            self._fail(fault)
        elif self._answer is not None and not self._answer.status:
            self._is_due_in(self._timeouts.head, self._loop.time())

    async def drained(self) -> None:
        """Waits until there is room to write. Raises ConnectionError once there will be none."""
        if self._writable is not None:
            await self._writable
        if not self.is_open():
            raise ConnectionError

    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return not (self._lost or self._transport is None or self._transport.is_closing())

    def is_untouched(self) -> bool:
        """Whether nothing has come since it was kept, as far as the kernel knows.

        The loop may not have read the provider's end yet: what is sent then is lost, and may be
        billed. Nor an answer that nobody asked for, which would be the next request's.
        """
        return self.is_open() and not self._socket_events.poll(0)

    def has_unread(self) -> bool:
        """Whether there is something to read, as far as the kernel knows."""
        return self.is_open() and bool(self._socket_events.poll(0))

    def unread_bytes(self) -> int:
        """How much there is to read, as far as the kernel knows; encrypted as it comes."""
        if self._transport is None or not self.is_open():
            return 0
        connected = self._transport.get_extra_info("socket")
        with suppress(OSError):
            told = fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4))
            return int.from_bytes(told, sys.byteorder)
        return 0

    def cut(self) -> None:
        """Ends the connection now; what has not left is thrown away."""
        self._lost = True
        self._answer = None
        self._kept.pop(self, None)
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """As `cut`, and whoever waits for an answer is told that the connection was lost."""
        self._fail(self._fault("reset", _LOST))

    def pause(self) -> None:
        """Reads no more. The provider is not late meanwhile: we are."""
        if not self.paused and self._transport is not None and self.is_open():
            self.paused = True
            self._transport.pause_reading()
            self.due = self._end

    def resume(self) -> None:
        """Reads again."""
        if self.paused and self._transport is not None and self.is_open():
            self.paused = False
            self._transport.resume_reading()
            self._is_due_in(self._timeouts.idle, self._loop.time())

    def expect_more_within(self, seconds: float) -> None:
        """The idle time-out of this answer's rest, where it is shorter."""
        if seconds < self._timeouts.idle:
            self._timeouts = replace(self._timeouts, idle=seconds)
            if not self.paused:
                self._is_due_in(seconds, self._loop.time())

    def expired(self, now: float) -> None:
        """`due` has passed. While the provider still takes the request in, it has all the time for
        its head again."""
        answer, timeouts = self._answer, self._timeouts
        if answer is None:
            self.cut()
        elif now >= self._end:
            self._fail(self._fault("timeout", f"not done within {timeouts.total:g} seconds"))
        elif answer.status:
            self._fail(self._fault("timeout", f"nothing came for {timeouts.idle:g} seconds"))
        elif self._request_moves():
            self._is_due_in(timeouts.head, now)
        else:
            self._fail(self._fault("timeout", f"no answer within {timeouts.head:g} seconds"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self._socket_events.register(sock.fileno(), select.POLLIN)
        with suppress(OSError, AttributeError):  # a courtesy, and not every system knows it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _QUIET_SECONDS)
        if self._lost:
            self.cut()

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nobody asked: the next request would be given it
            self.cut()
            return
        answer.feed(data)
        if answer.over:
            self._finished(answer)
        elif answer.status and not self.paused:
            due = self._loop.time() + self._timeouts.idle
            self.due = due if due < self._end else self._end

    def eof_received(self) -> None:
        answer = self._answer
        if answer is not None and answer.ends_by_close() and self._is_the_end():
            self._answer = None
            answer.end()
        self._fail(self._cut_off())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._transport = None
        self._forget()
        self.resume_writing()
        self._fail(self._cut_off() if exc is None else self._fault("reset", _LOST))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _finished(self, answer: Answer) -> None:
        """The answer is over: whole, broken, or left."""
        transport = self._transport
        if self._lost or transport is None:
            return
        certain = answer.whole and answer.keeps_alive and not answer.extra
        if not certain or self._upload is not None or transport.get_write_buffer_size():
            self.cut()
            return
        self._answer = None
        if self.paused:
            self.resume()
        self.due = self._loop.time() + self._household.keepalive_seconds
        self._kept[self] = None

    def _is_the_end(self) -> bool:
        """Whether the provider said that it ends here. With TLS anybody on the way can send a FIN,
        and asyncio makes no difference (uvloop does)."""
        assert self._transport is not None
        tls = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or tls.read(1) == b""
        except ssl.SSLError:
            return False

    def _fail(self, fault: BaseException) -> None:
        answer = self._answer
        self.cut()
        if answer is not None:
            answer.end(fault)

    def _forget(self) -> None:
        self._kept.pop(self, None)
        self._household.open.discard(self)
        self._household.deadlines.discard(self)
        if not self._household.open:
            self._household.none_left.set()

    def _is_due_in(self, seconds: float, now: float) -> None:
        due = now + seconds
        self.due = due if due < self._end else self._end

    def _request_moves(self) -> bool:
        """Whether the provider has taken something in since the last look, or we have to send."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        moves = unsent != self._unsent_bytes or (self._upload is not None and not unsent)
        self._unsent_bytes = unsent
        return moves

    def _cut_off(self) -> UpstreamUnavailable:
        if self._answer is not None and self._answer.status:
            return self._fault("truncated", "the answer is cut off")
        return self._fault("reset", _LOST)

    def _fault(self, kind: FailureKind, what: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"{self._authority}: {what}", kind=kind)
