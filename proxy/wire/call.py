"""One request on one connection to a provider, and the answer to it.

aiohttp gives the connection (names, addresses, TLS, proxies, the pool) and parses the answer. The
request is written here, byte for byte as asked, and its session layer is left out: cookies,
redirects, `.netrc`, default headers and its second attempt on a stale connection cannot happen.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader

from proxy.errors import HoldfastError, MalformedRequest, UpstreamUnavailable
from proxy.tasks import Tasks
from proxy.wire import Headers, Outgoing, Timeouts
from proxy.wire.faults import EXCHANGE_FAULTS, exchange_fault
from proxy.wire.head import decoded, rendered
from proxy.wire.headers import get, without
from proxy.wire.link import UpstreamLink

_READ_BYTES: Final = 65_536
_LINE_BYTES: Final = 16_384
_FIELD_BYTES: Final = 65_536
_FIELD_COUNT: Final = 256
_NEED_NO_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"})


class Call:
    """An `Incoming`, once `send` has returned. Belongs to one task."""

    def __init__(
        self,
        connection: Connection,
        authority: str,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        link = connection.protocol
        assert isinstance(link, UpstreamLink)
        self.status = 0
        self.headers: Headers = ()
        self._link = link
        self._connection = connection
        self._authority = authority
        self._timeouts = timeouts
        self._on_sent = on_sent
        self._loop = asyncio.get_running_loop()
        self._payload: StreamReader | None = None
        self._upload: asyncio.Task[None] | None = None
        self._over = False
        self._unsent_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._total_timer = self._loop.call_later(timeouts.total, self._total_is_over)

    async def send(self, request: Outgoing, target: str, own: Headers, tasks: Tasks) -> None:
        """Writes the request and waits for the head of the answer; `own` goes before the rest."""
        link = self._link
        if not link.is_connected():
            message = f"{self._authority}: the connection was lost before the request"
            raise UpstreamUnavailable(message, kind="reset", sent=False)
        link.set_response_params(
            skip_payload=request.method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._timeouts.idle,
            read_bufsize=_READ_BYTES,
            max_line_size=_LINE_BYTES,
            max_field_size=_FIELD_BYTES,
            max_headers=_FIELD_COUNT,
        )
        self._write(request, target, own, tasks)
        self._wait_for_head()
        try:
            answer = await self._read_head()
        except EXCHANGE_FAULTS as exc:
            raise exchange_fault(exc, self._authority) from exc
        finally:
            self._stop_head_timer()
        self.status = answer.code
        self.headers = decoded(answer.raw_headers)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what came before a cut comes before its error."""
        while chunk := await self._next_chunk():
            yield chunk

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """Hands the body to `take` piece by piece, until it says False or the body ends."""
        while chunk := await self._next_chunk():
            if not take(chunk):
                return True
        return False

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, or UpstreamUnavailable (kind malformed) when it is larger."""
        chunks = []
        size = 0
        while chunk := await self._next_chunk():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                self.close()
                message = f"{self._authority}: the answer is larger than {limit_bytes} bytes"
                raise UpstreamUnavailable(message, kind="malformed")
        return b"".join(chunks)

    def close(self) -> None:
        """Gives the connection back if all of the answer has come, and cuts it if not."""
        if self._over:
            return
        self._over = True
        self._stop_head_timer()
        self._total_timer.cancel()
        uploading = self._upload is not None and not self._upload.done()
        if self._upload is not None:
            self._upload.cancel()
        payload = self._payload
        if payload is None or not payload.is_eof() or self._link.fault is not None or uploading:
            self._link.abort()
            self._connection.close()
        else:
            self._connection.release()

    def _write(self, request: Outgoing, target: str, own: Headers, tasks: Tasks) -> None:
        """A body of bytes leaves with its head; one that comes in parts is sent by a task."""
        body = request.body
        length = get(request.headers, "content-length")
        if isinstance(body, bytes):
            needed = body or request.method not in _NEED_NO_LENGTH
            framing = (("content-length", str(len(body))),) if needed else ()
        elif length is not None:
            framing = (("content-length", length),)
        else:
            framing = (("transfer-encoding", "chunked"),)
        given = without(request.headers, "host", "content-length", "transfer-encoding")
        head = rendered(f"{request.method} {target} HTTP/1.1", (*own, *given, *framing))
        transport = self._link.transport
        assert transport is not None
        if self._on_sent is not None:
            self._on_sent()
        if isinstance(body, bytes):
            transport.write(head + body)
            return
        transport.write(head)
        writer = StreamWriter(self._link, self._loop)
        if length is None:
            writer.enable_chunking()
        sending = self._send_body(body, writer, None if length is None else int(length))
        self._upload = tasks.spawn(sending, "request body")

    async def _send_body(
        self, body: AsyncIterator[bytes], writer: StreamWriter, left: int | None
    ) -> None:
        try:
            async for chunk in body:
                if left is not None and (left := left - len(chunk)) < 0:
                    break
                await writer.write(chunk)
                await writer.drain()
            if left:
                raise MalformedRequest("the request body does not keep to its content-length")
            await writer.write_eof()
        except HoldfastError as exc:
            self._fail(exc)
        except ConnectionError:
            return  # what the provider said before it hung up, or that it did, is read elsewhere

    async def _read_head(self) -> RawResponseMessage:
        while True:
            message, payload = await self._link.read()
            if message.code == 101:
                raise UpstreamUnavailable(f"{self._authority}: a switch of protocol", "malformed")
            if message.code >= 200:
                self._payload = payload
                payload.on_eof(self._total_timer.cancel)
                return message

    async def _next_chunk(self) -> bytes:
        payload = self._payload
        assert payload is not None
        if self._over:
            return b""
        try:
            chunk = await payload.readany()
            if not chunk and self._link.fault is not None:
                raise self._link.fault
        except EXCHANGE_FAULTS as exc:
            self.close()
            raise exchange_fault(exc, self._authority) from exc
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()
        return chunk

    def _wait_for_head(self) -> None:
        self._unsent_bytes = self._buffered_bytes()
        self._head_timer = self._loop.call_later(self._timeouts.head, self._head_is_late)

    def _head_is_late(self) -> None:
        """The provider has all the time again while it still takes the request in."""
        uploading = self._upload is not None and not self._upload.done()
        buffered = self._buffered_bytes()
        if buffered != self._unsent_bytes or (uploading and not buffered):
            self._wait_for_head()
            return
        message = f"{self._authority}: no answer within {self._timeouts.head:g} seconds"
        self._fail(UpstreamUnavailable(message, kind="timeout"))

    def _total_is_over(self) -> None:
        message = f"{self._authority}: not done within {self._timeouts.total:g} seconds"
        self._fail(UpstreamUnavailable(message, kind="timeout"))

    def _fail(self, error: HoldfastError) -> None:
        """Cuts the connection for a reason of ours, and hands that to whoever waits."""
        if self._payload is None:
            self._link.set_exception(error)
        else:
            self._link.fail_body(error)
        self._link.abort()

    def _buffered_bytes(self) -> int:
        transport = self._link.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
