"""One request of a client and the answer to it, written to the socket as it is meant to be.

aiohttp parses the request; the answer does not pass through its response classes, which add
`Date`, `Server` and `Content-Type` and re-encode header values. The framing is ours:

    EMPTY        no body by definition: HEAD, 204, 304
    LENGTH       a content-length; fewer bytes than promised end in a cut connection
    CHUNKED      no length known
    UNTIL_CLOSE  the same for HTTP/1.0; only a reset shows such a client that it was cut

A client that has left is never reported to the handler as an error: its task is cancelled, and
whoever still writes or reads waits for that.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import Protocol

from aiohttp import web
from aiohttp.http import HttpProcessingError

from proxy.errors import MalformedRequest
from proxy.wire import Head, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.head import decoded, origin_form, rendered, status_line
from proxy.wire.headers import get, without

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_FRAMING_HEADERS = ("connection", "keep-alive", "transfer-encoding")


class Framing(Enum):
    """How the client finds the end of the answer's body."""

    EMPTY = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


class Link(Protocol):
    """What an exchange needs of the connection that it is on."""

    def may_stay_open(self) -> bool:
        """Whether the connection can take another request after this one."""

    def client_left(self) -> None:
        """Cancels the handler, once."""


class HttpExchange:
    """An `Exchange` on aiohttp's parser and transport. Belongs to one handler."""

    def __init__(self, request: web.BaseRequest, link: Link, bounds: Bounds) -> None:
        target = request.raw_path
        if not target.isascii():
            target = target.encode("utf-8", "surrogateescape").decode("latin-1")
        self.head = Head(
            method=request.method,
            target=origin_form(target),
            headers=decoded(request.raw_headers),
        )
        self.started = False
        self.stays: Callable[[], bool] | None = None
        self.goes_on = False
        self.ended = False
        self.keeps_alive = False
        self._request = request
        self._link = link
        self._bounds = bounds
        self._framing = Framing.EMPTY
        self._left_to_write = 0
        self._broken = False
        self._body_began: float | None = None
        self._body_bytes = 0

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body, as it was sent: still content-encoded."""
        declared = self.head.get("content-length")
        if declared is not None and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        chunks = []
        while chunk := await self._next_chunk():
            if self._body_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            chunks.append(chunk)
        return b"".join(chunks)

    async def stream_body(self) -> AsyncIterator[bytes]:
        """The body as it comes. MalformedRequest: 408 when it stalls, 400 for bad chunks."""
        while chunk := await self._next_chunk():
            yield chunk

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer. To HEAD, and with 304, a content-length that is given stands."""
        self._begin()
        self._framing = Framing.EMPTY if self._has_no_body(status) else Framing.LENGTH
        if self._framing is Framing.LENGTH or (body and status not in (204, 304)):
            headers = (*without(headers, "content-length"), ("content-length", str(len(body))))
        head = self._head_bytes(status, headers)
        self.ended = True
        await self._send(head if self._framing is Framing.EMPTY else head + body)

    async def start(self, status: int, headers: Headers) -> None:
        """Begins a streamed answer; its head leaves at once."""
        self._begin()
        length = get(headers, "content-length")
        if self._has_no_body(status):
            self._framing = Framing.EMPTY
        elif length is not None:
            self._framing, self._left_to_write = Framing.LENGTH, int(length)
        elif self._request.version < (1, 1):
            self._framing = Framing.UNTIL_CLOSE
        else:
            self._framing = Framing.CHUNKED
        await self._send(self._head_bytes(status, headers))

    async def write(self, chunk: bytes) -> None:
        """Sends at once; waits only while the client does not read."""
        if not self.send(chunk):
            await self.drained()

    def send(self, chunk: bytes) -> bool:
        """`write` without the wait."""
        if not self.started or self.ended:
            raise RuntimeError("write before start or after the end")
        if not chunk or self._framing is Framing.EMPTY:
            return True
        if self._framing is Framing.CHUNKED:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        elif self._framing is Framing.LENGTH:
            self._left_to_write -= len(chunk)
            if self._left_to_write < 0:
                self.abort()
                raise RuntimeError("more bytes than the content-length promised")
        return self._put(chunk)

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
        if self._framing is Framing.CHUNKED:
            await self._send(b"0\r\n\r\n")

    def abort(self) -> None:
        """Cuts the connection; the handler goes on, to settle what it has to."""
        if self.ended:
            return
        self.ended = True
        self.keeps_alive = False
        transport = self._request.transport
        if transport is None:
            return
        if self._framing is Framing.UNTIL_CLOSE:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()

    def break_body(self) -> None:
        """The rest of the body is not HTTP: its reader must not wait for it."""
        if not self._request.content.is_eof():
            self._broken = True
            self._request.content.feed_eof()

    def _begin(self) -> None:
        if self.started or self.ended:
            raise RuntimeError("an answer was begun already")
        self.started = True

    def _has_no_body(self, status: int) -> bool:
        return self.head.method == "HEAD" or status in (204, 304)

    def _head_bytes(self, status: int, headers: Headers) -> bytes:
        """The head, with a `Connection` header where the client could expect otherwise."""
        request = self._request
        self.keeps_alive = (
            self._framing is not Framing.UNTIL_CLOSE
            and request.keep_alive
            and request.content.is_eof()  # else what is unread would be taken for a request
            and not self._broken
            and self._link.may_stay_open()
        )
        dropped = (*_FRAMING_HEADERS, "content-length") if status == 204 else _FRAMING_HEADERS
        headers = without(headers, *dropped)
        if self._framing is Framing.CHUNKED:
            headers += (("transfer-encoding", "chunked"),)
        if not self.keeps_alive:
            headers += (("connection", "close"),)
        elif request.version < (1, 1):
            headers += (("connection", "keep-alive"),)
        return rendered(status_line(status), headers)

    async def _send(self, data: bytes) -> None:
        if not self._put(data):
            await self.drained()

    def _put(self, data: bytes) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        transport.write(data)
        return not self._request.protocol.writing_paused

    async def drained(self) -> None:
        """Waits until the client reads again."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            await self._client_is_gone()
            return
        try:
            async with asyncio.timeout(self._bounds.write_seconds):
                await self._request.writer.drain()
        except (TimeoutError, ConnectionError):
            transport.abort()
            await self._client_is_gone()

    async def _next_chunk(self) -> bytes:
        """What has come of the body, or b"" at its end."""
        content = self._request.content
        chunk = b""
        try:
            chunk = content.read_nowait()
            if not chunk and not content.is_eof():
                async with asyncio.timeout_at(self._body_deadline()):
                    chunk = await content.readany()
        except TimeoutError:
            raise MalformedRequest("the request body did not arrive in time", status=408) from None
        except (HttpProcessingError, web.RequestPayloadError) as exc:
            raise MalformedRequest("the request body is not framed as HTTP demands") from exc
        except OSError:
            await self._client_is_gone()
        if not chunk and self._broken:
            raise MalformedRequest("the request body is not framed as HTTP demands")
        self._body_bytes += len(chunk)
        return chunk

    def _body_deadline(self) -> float:
        """When the next part must be there: neither a stall nor a drip holds the connection."""
        now = asyncio.get_running_loop().time()
        bounds = self._bounds
        if self._body_began is None:
            self._body_began = now
            self._say_continue()
        at_slowest = self._body_bytes / bounds.body_bytes_per_second
        return bounds.body_seconds + min(now, self._body_began + at_slowest)

    def _say_continue(self) -> None:
        transport = self._request.transport
        if transport is not None and self.head.get("expect") is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _client_is_gone(self) -> None:
        """Waits for the cancellation; after the end of the answer nothing is left to cancel."""
        if self.ended:
            return
        self._link.client_left()
        await asyncio.get_running_loop().create_future()


def _too_large(limit_bytes: int) -> MalformedRequest:
    return MalformedRequest(f"the request body is larger than {limit_bytes} bytes", status=413)
