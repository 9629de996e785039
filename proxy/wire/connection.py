"""One client connection: from segments to requests, each to a handler, one after the other.

    idle       nothing has come of the next request       until idle_seconds: closed
    head       its head is on the way                     until head_seconds: 408
    handled    a handler has it; its body may still come, and the next requests wait
    lingering  answered, with more to come: half-closed,  until lingering_seconds: cut
               and what comes is swallowed
    closing    what was written is on its way             until write_seconds: cut

A client that ends its side has left, wherever it is: until one writes, a half-close cannot be told
from a close, and a provider must not work for nobody. The handler is cancelled, unless its answer
has ended: then what is still on its way arrives.
"""

import asyncio
import logging
import math
from typing import Final, cast

from proxy.errors import HoldfastError, MalformedRequest
from proxy.wire import Head
from proxy.wire.body import Body
from proxy.wire.exchange import HttpExchange
from proxy.wire.handling import Handling
from proxy.wire.head import rendered, status_line
from proxy.wire.outlet import Outlet
from proxy.wire.reader import RequestReader
from proxy.wire.shared import Shared

log = logging.getLogger(__name__)

_AHEAD_BYTES: Final = 65_536


class Connections:
    """The connections of one server, and the handlers that outlived the one they answered on."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self.left_behind: dict[Handling, bool] = {}
        """True for one that goes on for itself, and does not only come to its end."""
        self.draining = False
        self.none_left = asyncio.Event()

    def look_around(self) -> None:
        """Tells whoever drains when nothing is left."""
        if not self.open and not self.left_behind:
            self.none_left.set()


class Connection(asyncio.Protocol):
    """Called by the event loop, and by the exchange that is on it."""

    due = math.inf
    _exchange: HttpExchange | None = None
    _body: Body | None = None
    _handler: Handling | None = None
    _cancelled = False
    _deaf = False
    _leaving = False
    _head_is_coming = False

    def __init__(self, shared: Shared, others: Connections) -> None:
        self._shared = shared
        self._others = others
        self._reader = RequestReader(shared.bounds, shared.known)
        self._ahead: list[bytes] = []
        self._ahead_at = 0
        self._ahead_bytes = 0

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        shared, others = self._shared, self._others
        self._transport = cast("asyncio.Transport", transport)
        self._outlet = Outlet(self._transport, shared)
        if others.draining or len(others.open) >= shared.bounds.connections:
            log.warning("connection refused: %s are open", len(others.open))
            self.drop()
        others.open.add(self)
        self.due = shared.loop.time() + shared.bounds.idle_seconds
        shared.deadlines.add(self)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if not self._ahead and (self._exchange is None or not self._reader.complete):
            self._parse(data, 0)
            return
        self._ahead.append(data)
        self._ahead_bytes += len(data)
        if self._ahead_bytes > _AHEAD_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The transport closes by itself then, once what was written has left."""
        exchange = self._exchange
        if exchange is not None and not exchange.ended:
            self.client_left()
            exchange.cut()
        else:
            self.leave()

    def connection_lost(self, exc: BaseException | None) -> None:
        others = self._others
        self._shared.deadlines.discard(self)
        self.client_left()
        others.open.discard(self)
        if self._handler is not None:
            others.left_behind[self._handler] = (
                self._exchange is not None and self._exchange.goes_on
            )
        others.look_around()
        self._outlet.wake()
        if self._body is not None:
            self._body.fail("the client left in the middle of its request")
        self._ahead.clear()
        self._reader.close()

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()

    # --- called by the exchange, and the server ---

    @property
    def busy(self) -> bool:
        """Whether there is a request on it; a head that is still coming is one."""
        return self._exchange is not None or (self._head_is_coming and not self._leaving)

    @property
    def handled(self) -> bool:
        """Whether a handler is at work on it."""
        return self._handler is not None

    def may_stay_open(self) -> bool:
        """Whether the connection can take another request after this one."""
        return self._reader.keeps_alive and not self._deaf and not self._others.draining

    def client_left(self) -> bool:
        """Cancels a handler that has not ended its answer, unless it stays; once, and False if
        there is nothing to cancel."""
        exchange = self._exchange
        if self._cancelled or self._handler is None or exchange is None or exchange.ended:
            return False
        self._cancelled = True
        if exchange.stays is not None and exchange.stays():
            exchange.goes_on = True
        else:
            self._handler.cancel()
        return True

    def leave(self) -> None:
        """Closes, once what was written has left."""
        self._leaving = True
        self.due = self._shared.loop.time() + self._shared.bounds.write_seconds
        self._transport.close()

    def drop(self) -> None:
        """Ends the connection; its handler learns of that as if the client had left."""
        self._transport.abort()

    def end(self) -> None:
        """Ends the connection and what is on it, but for a handler that has ended its answer."""
        if self._exchange is not None:
            self._exchange.stays = None
        self.drop()

    def expired(self, now: float) -> None:
        """The time of the state that it is in is over."""
        if self._leaving:
            self.drop()
        elif self._head_is_coming:
            self._refuse(MalformedRequest("the request head did not arrive in time", status=408))
        else:
            self.leave()

    # --- requests ---

    def _parse(self, data: bytes, at: int) -> None:
        """What has come, up to the end of one request; the rest waits until it is answered. The
        handler of a new one runs once all that came has been read."""
        reader, size, begun = self._reader, len(data), False
        try:
            while at < size and not reader.complete:
                at = reader.feed(data, at)
                if self._body is None and reader.head is not None:
                    begun = True
                    self._body = reader.sink = self._begin(reader.head)
        except MalformedRequest as error:
            self._misread(error)
        else:
            if at < size:
                self._ahead, self._ahead_at, self._ahead_bytes = [data], at, size - at
        self._parsed(begun=begun)

    def _parsed(self, *, begun: bool) -> None:
        """A segment has been read: its request begins, waits for more, or goes on."""
        body = self._body
        if begun and self._handler is not None:
            self._handler.start()
        if body is None:
            self._await_head()
        elif body is self._body and (not body.complete or body.waiter is not None):
            body.moved()

    def _await_head(self) -> None:
        """From its first byte on it has so much time."""
        if not self._head_is_coming and self._reader.begun and not self._deaf:
            self._head_is_coming = True
            self.due = self._shared.loop.time() + self._shared.bounds.head_seconds

    def _begin(self, head: Head) -> Body:
        """A request whose head is complete."""
        shared, reader = self._shared, self._reader
        self.due = math.inf
        self._head_is_coming = False
        body = Body(self._transport, shared)
        body.complete = reader.complete
        exchange = HttpExchange(
            head, body, self._outlet, self, shared.heads, http_1_0=reader.http_1_0
        )
        self._exchange = exchange
        self._handler = Handling(shared.handler(exchange), shared.loop, self._handled)
        return body

    def _handled(self, handler: Handling) -> None:
        """The handler has returned, raised, or was cancelled; this may be long after the client
        left, or before `_parse` goes on."""
        exchange = self._exchange
        assert exchange is not None
        self._exchange = self._body = self._handler = None
        error = handler.exception()
        if not (error or exchange.ended or exchange.goes_on or handler.cancelled()):
            error = RuntimeError("the handler returned without ending its answer")
        if error is not None and not isinstance(error, MalformedRequest):
            log.error("handler failed", exc_info=error)
        if self._transport.is_closing():
            self._others.left_behind.pop(handler, None)
            self._others.look_around()
        elif exchange.ended:
            self._go_on(exchange)
        elif exchange.started or error is None:
            exchange.abort()
        else:
            told = error if isinstance(error, MalformedRequest) else HoldfastError("internal error")
            self._refuse(told)

    def _go_on(self, exchange: HttpExchange) -> None:
        """With the next request, or to the end."""
        if exchange.keeps_alive and self.may_stay_open():
            self.due = self._shared.loop.time() + self._shared.bounds.idle_seconds
            self._reader.start()
            if self._ahead:  # not at once: a thousand small ones would be a thousand deep
                self._shared.loop.call_soon(self._take_up)
        elif self._reader.complete and not self._ahead and self._others.draining:
            self.leave()  # nobody waits for who says nothing more
        else:
            self._linger()

    def _take_up(self) -> None:
        """Parses what was sent ahead; more is read once little of it is left."""
        if not self._ahead or self._leaving:
            return
        data, at = b"".join(self._ahead), self._ahead_at
        self._ahead, self._ahead_at, self._ahead_bytes = [], 0, 0
        self._parse(data, at)
        if self._ahead_bytes <= _AHEAD_BYTES:
            self._transport.resume_reading()

    def _misread(self, error: MalformedRequest) -> None:
        """What came is not HTTP, so nothing after it is known to be."""
        self._deaf = True
        if self._body is None:
            self._refuse(error)
        else:
            self._body.fail(error.message)

    def _refuse(self, error: HoldfastError) -> None:
        if self._transport.is_closing():
            return
        headers, body = self._shared.refusal(error)
        framing = (("content-length", str(len(body))), ("connection", "close"))
        head = rendered(status_line(error.status), (*headers, *framing))
        self._outlet.put(head, b"" if self._reader.method == "HEAD" else body)
        self._linger()

    def _linger(self) -> None:
        """Half-closes and swallows what still comes: a close would be answered with a reset by the
        kernel, and the client lose its answer unread."""
        bounds = self._shared.bounds
        self._deaf = self._leaving = True
        self._ahead.clear()
        unsent = self._transport.get_write_buffer_size() > 0
        seconds = bounds.write_seconds if unsent else bounds.lingering_seconds
        self.due = self._shared.loop.time() + seconds
        self._transport.resume_reading()
        self._outlet.end()
