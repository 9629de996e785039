"""One request of a client and the answer to it, written to the socket as it is meant to be.

A client that has left is never reported to the handler as an error: its task is cancelled, and
whoever still writes waits for that.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal, Protocol

from proxy.wire import Connection, Head, Headers
from proxy.wire.body import Body, too_large
from proxy.wire.head import AnswerHeads
from proxy.wire.headers import get
from proxy.wire.outlet import Outlet

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_BODILESS: Final = (204, 304)

Framing = Literal["none", "length", "chunked", "until close"]
"""How the client finds the end of the answer's body. none: it has none by definition (HEAD, 204,
304). length: fewer bytes than promised end in a cut connection. until close: HTTP/1.0 knows no
chunks; only a reset shows such a client that the answer was cut."""


class Link(Protocol):
    """What an exchange needs of the connection that it is on."""

    def may_stay_open(self) -> bool:
        """Whether the connection can take another request after this one."""

    def client_left(self) -> bool:
        """Cancels the handler, unless it stays; False if that was done before."""


class HttpExchange:
    """An `Exchange`. Belongs to one handler."""

    started = False
    ended = False
    keeps_alive = False
    stays: Callable[[], bool] | None = None
    goes_on = False
    """The client has left, and the handler stays: what it writes is lost."""
    _asked = False
    _framing: Framing = "none"
    _left_to_write = 0

    def __init__(
        self,
        head: Head,
        body: Body,
        outlet: Outlet,
        link: Link,
        heads: AnswerHeads,
        *,
        http_1_0: bool,
    ) -> None:
        self.head = head
        self._body = body
        self.connection: Connection = outlet
        self._outlet = outlet
        self._link = link
        self._heads = heads
        self._http_1_0 = http_1_0

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body, as it was sent: still content-encoded."""
        body = self._body
        if body.complete and body.size <= limit_bytes:
            return body.taken()
        declared = self.head.get("content-length")
        if declared is not None and int(declared) > limit_bytes:
            raise too_large(limit_bytes)
        self._ask_for_body()
        return await body.whole(limit_bytes)

    async def stream_body(self) -> AsyncIterator[bytes]:
        """The body as it comes. MalformedRequest: 408 when it stalls, 400 for bad chunks."""
        self._ask_for_body()
        while part := await self._body.next_part():
            yield part

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer. To HEAD, and with 304, a content-length that is given stands."""
        if self.head.method != "HEAD" and status not in _BODILESS:
            head = self._begun(status, headers, "length", len(body))
        else:
            counted = body and status not in _BODILESS
            head = self._begun(status, headers, "none", len(body) if counted else None)
            body = b""
        self.ended = True
        if not self._outlet.put(head, body):
            await self.drained()

    async def start(self, status: int, headers: Headers) -> None:
        """Begins a streamed answer; its head leaves at once."""
        length = get(headers, "content-length")
        framing: Framing
        if self.head.method == "HEAD" or status in _BODILESS:
            framing = "none"
        elif length is not None:
            framing = "length"
        elif self._http_1_0:
            framing = "until close"
        else:
            framing = "chunked"
        left = int(length) if length is not None and framing == "length" else 0
        head = self._begun(status, headers, framing, None)
        self._left_to_write = left
        if not self._outlet.put(head):
            await self.drained()

    async def write(self, chunk: bytes) -> None:
        """Sends at once; waits only while the client does not read."""
        if not self.send(chunk):
            await self.drained()

    def send(self, chunk: bytes) -> bool:
        """`write` without the wait."""
        if self.ended or not self.started:
            raise RuntimeError("write before start or after the end")
        framing = self._framing
        if not chunk or framing == "none":
            return True
        if framing == "chunked":
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        elif framing == "length":
            self._left_to_write -= len(chunk)
            if self._left_to_write < 0:
                self.abort()
                raise RuntimeError("more bytes than the content-length promised")
        return self._outlet.put(chunk) or self.goes_on

    async def drained(self) -> None:
        """Waits until the client reads again."""
        if not await self._outlet.drained():
            await self._client_is_gone()

    async def finish(self) -> None:
        """Ends the answer; one that is shorter than its content-length ends in a cut."""
        if not self.started:
            raise RuntimeError("finish before start")
        if self.ended:
            return
        if self._left_to_write:
            self.abort()
            return
        self.ended = True
        if self._framing == "chunked" and not self._outlet.put(b"0\r\n\r\n"):
            await self.drained()

    def abort(self) -> None:
        """Cuts the connection; the handler goes on, to settle what it has to."""
        if not self.ended:
            self.ended = True
            self.keeps_alive = False
            self.cut()

    def cut(self) -> None:
        """Ends the connection so that what was sent does not look whole."""
        transport = self._outlet.transport
        if self._framing == "until close" and not transport.is_closing():
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def _begun(self, status: int, headers: Headers, framing: Framing, length: int | None) -> bytes:
        """The head of the answer, which is begun with it. It says how long it is, and whether the
        connection stays, where the client could expect otherwise."""
        if self.started or self.ended:
            raise RuntimeError("an answer was begun already")
        keeps_alive = (
            self._body.complete  # else what is unread would be taken for a request
            and framing != "until close"
            and self._link.may_stay_open()
        )
        own: list[str] = []
        if length is not None:
            own.append(f"content-length: {length}")
        elif framing == "chunked":
            own.append("transfer-encoding: chunked")
        if not keeps_alive:
            own.append("connection: close")
        elif self._http_1_0:
            own.append("connection: keep-alive")
        given = length is None and status != 204
        head = self._heads.of(status, headers, own, length=given)
        self.started, self.keeps_alive, self._framing = True, keeps_alive, framing
        return head

    def _ask_for_body(self) -> None:
        """An HTTP/1.0 client would take it for the answer (RFC 9110 section 10.1.1)."""
        if self._asked or self._body.complete or self._body.size or self.started:
            return
        self._asked = True
        if not self._http_1_0 and self.head.get("expect") is not None:
            self._outlet.put(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _client_is_gone(self) -> None:
        """Waits for the cancellation; after the end of the answer nothing is left to cancel."""
        if self.ended:
            return
        left_now = self._link.client_left()
        if self.goes_on:
            return
        if not left_now:
            raise asyncio.CancelledError  # it was cancelled before, and writes all the same
        await asyncio.get_running_loop().create_future()
