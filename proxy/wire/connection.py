"""One client connection: aiohttp's protocol with what it leaves open closed.

Each has a raw-socket test that fails without the remedy (aiohttp 3.14.5): a bad chunk in a later
segment leaves the body's reader waiting for ever; slow heads are bounded by the keep-alive time
only; what follows an `Upgrade: h2c` request in one segment is dropped.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from proxy.errors import HoldfastError, MalformedRequest
from proxy.wire import Headers
from proxy.wire.bounds import Bounds
from proxy.wire.exchange import HttpExchange
from proxy.wire.head import rendered, status_line
from proxy.wire.screening import parse_error

log = logging.getLogger(__name__)

_READ_BYTES: Final = 65_536

Refusal = Callable[[HoldfastError], tuple[Headers, bytes]]
"""Headers and body of the answer to a request that never reached the handler, or broke it."""


class _Answered(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire already, and whether the connection lives on."""

    def __init__(self, keeps_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keeps_alive

    @property
    def keep_alive(self) -> bool:
        return self._keeps_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class _Refused(_Answered):
    """Keeps aiohttp from closing while the client may still be sending: its kernel would answer
    that with a reset, and the client lose the refusal unread."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__(keeps_alive=False)
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await self._connection.linger()


KEEP: Final = _Answered(keeps_alive=True)
CLOSE: Final = _Answered(keeps_alive=False)


class Connections:
    """The connections of one server: all that are open, those with a request on them, and the
    handlers, which may outlive the connection that they answered on."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.busy: set[Connection] = set()
        self.handlers: set[asyncio.Task[None]] = set()
        self.draining = False
        self.none_left = asyncio.Event()

    def forget(self, connection: "Connection") -> None:
        """It is closed, and all that was written to it has left."""
        self.busy.discard(connection)
        self.open.discard(connection)
        self.look_around()

    def look_around(self) -> None:
        """Tells whoever drains when nothing is left."""
        if not self.open and not self.handlers:
            self.none_left.set()


class Connection(web.RequestHandler):
    """Cancels the handler itself when the client leaves. aiohttp would also cancel one that has
    ended its answer, in the middle of what it still has to write down."""

    def __init__(
        self, server: web.Server, others: Connections, bounds: Bounds, refusal: Refusal
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=bounds.idle_seconds,
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to have none
            max_line_size=bounds.line_bytes,
            max_headers=bounds.header_count,
            max_field_size=bounds.header_bytes,
            lingering_time=bounds.lingering_seconds,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
        )
        self._others = others
        self._bounds = bounds
        self._refusal = refusal
        self._exchange: HttpExchange | None = None
        self._handler: asyncio.Task[None] | None = None
        self._cancelled = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._upgrading = False
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        others = self._others
        if others.draining or len(others.open) >= self._bounds.connections:
            log.warning("connection refused: %s are open", len(others.open))
            self.drop()
        others.open.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        serving = self._task_handler
        super().connection_lost(exc)
        self._stop_head_timer()
        self._others.forget(self)
        if self._exchange is not None:
            self.client_left()
        elif serving is not None:
            serving.cancel()  # it may be waiting for the rest of a body that was refused

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if data and self._exchange is None and self._head_timer is None:
            self._others.busy.add(self)
            delay = self._bounds.head_seconds
            self._head_timer = self._loop.call_later(delay, self._head_is_late)
        super().data_received(data)
        if self._exchange is not None and self._messages:
            self._pass_on_parse_error(self._exchange)

    def begin(self, request: web.BaseRequest) -> HttpExchange:
        """The head of a request is complete, and the current task handles it."""
        self._stop_head_timer()
        self._others.busy.add(self)
        self._handler = asyncio.current_task()
        assert self._handler is not None
        self._others.handlers.add(self._handler)
        self._exchange = HttpExchange(request, self, self._bounds)
        self._upgrading = self._exchange.head.get("upgrade") is not None
        return self._exchange

    def end(self) -> None:
        """The handler has returned or failed."""
        others = self._others
        self._exchange = None
        assert self._handler is not None
        others.handlers.discard(self._handler)
        others.busy.discard(self)
        others.look_around()

    def may_stay_open(self) -> bool:
        """Not while draining; nor after an upgrade, where aiohttp loses what follows."""
        return not self._upgrading and not self._others.draining

    def client_left(self) -> None:
        """Cancels a handler that has not ended its answer, once."""
        exchange = self._exchange
        if self._cancelled or self._handler is None or exchange is None or exchange.ended:
            return
        self._cancelled = True
        exchange.goes_on = exchange.stays is not None and exchange.stays()
        if not exchange.goes_on:
            self._handler.cancel()

    def drop(self) -> None:
        """Ends the connection now, whatever is on it."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp calls this for what it cannot parse and for what the handler raised."""
        if status == 400:
            error: HoldfastError = parse_error(exc, message)
        elif isinstance(exc, MalformedRequest):
            error = exc
        else:
            log.error("handler failed", exc_info=exc)
            error = HoldfastError("internal error")
        self._refuse(error, with_body=request.method != "HEAD")
        return _Refused(self)

    async def linger(self) -> None:
        """Half-closes and swallows what still comes, until the client closes or takes too long."""
        self._deaf = True
        self._others.busy.discard(self)
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write_eof()
        try:
            async with asyncio.timeout(self._bounds.lingering_seconds):
                await self._loop.create_future()  # the end of the connection cancels this
        except TimeoutError:
            return

    def _refuse(self, error: HoldfastError, *, with_body: bool = True) -> None:
        self._stop_head_timer()
        if self.transport is None or self.transport.is_closing():
            return
        headers, body = self._refusal(error)
        framing = (("content-length", str(len(body))), ("connection", "close"))
        head = rendered(status_line(error.status), (*headers, *framing))
        self.transport.write(head + body if with_body else head)

    def _head_is_late(self) -> None:
        self._refuse(MalformedRequest("the request head did not arrive in time", status=408))
        self.force_close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _pass_on_parse_error(self, exchange: HttpExchange) -> None:
        """aiohttp queues a parse error as the next request; the body's reader must know it now."""
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            exchange.break_body()
