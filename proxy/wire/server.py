"""The server's end: listens, has each request screened and handled, drains."""

import asyncio
from typing import Final

from aiohttp import web

from proxy.errors import HoldfastError
from proxy.wire import Handler, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.connection import CLOSE, KEEP, Connection, Connections, Refusal
from proxy.wire.screening import screen

_BACKLOG: Final = 1_024
_CANCEL_SECONDS: Final = 5.0


def plain_refusal(error: HoldfastError) -> tuple[Headers, bytes]:
    """The error's text; what a server says that knows no dialect."""
    return (("content-type", "text/plain; charset=utf-8"),), f"{error}\n".encode()


class _Listener(web.Server):
    """Makes a `Connection` of each accepted socket and runs the handler on each request."""

    def __init__(self, handler: Handler, bounds: Bounds, refusal: Refusal) -> None:
        super().__init__(self._serve)
        self.clients = Connections()
        self._application = handler
        self._bounds = bounds
        self._refusal = refusal

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self.clients, self._bounds, self._refusal)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        exchange = connection.begin(request)
        try:
            screen(request, exchange.head, self._bounds)
            await self._application(exchange)
            if not (exchange.ended or exchange.goes_on):
                raise RuntimeError("the handler returned without ending its answer")
        finally:
            if exchange.started:
                exchange.abort()  # does nothing to an answer that has ended
            connection.end()
        return KEEP if exchange.keeps_alive and connection.may_stay_open() else CLOSE


class Server:
    """A listening server. Belongs to the loop that it was started on."""

    def __init__(self, sockets: asyncio.Server, listener: _Listener) -> None:
        self._sockets = sockets
        self._listener = listener
        self._clients = listener.clients
        self.port: int = sockets.sockets[0].getsockname()[1]

    @property
    def in_progress(self) -> int:
        """Connections with a request on them, a head that is still coming included."""
        return len(self._clients.busy)

    def stop_accepting(self) -> None:
        """Closes the listening socket; connections stay."""
        self._sockets.close()

    async def drain(self, seconds: float) -> bool:
        """Closes idle connections and waits for the others and their handlers: a connection ends
        with its answer, once that has left whole. False if some are left after so many seconds."""
        clients = self._clients
        self.stop_accepting()
        clients.draining = True
        for connection in clients.open - clients.busy:
            connection.force_close()
        clients.none_left.clear()
        clients.look_around()
        try:
            async with asyncio.timeout(seconds):
                await clients.none_left.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends everything now: connections are cut, their handlers cancelled and waited for."""
        self.stop_accepting()
        self._clients.draining = True
        for connection in tuple(self._clients.open):
            connection.drop()
        if self._clients.handlers:
            await asyncio.wait(tuple(self._clients.handlers), timeout=_CANCEL_SECONDS)
        await self._listener.shutdown(_CANCEL_SECONDS)


async def serve(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bounds: Bounds | None = None,
    refusal: Refusal = plain_refusal,
    reuse_port: bool = False,
) -> Server:
    """Listens and calls `handler` for each request; port 0 takes a free one (`Server.port`).
    reuse_port: other processes may listen there too, and the kernel deals out the connections.

    What is not HTTP, or could be read in two ways, never reaches the handler: `refusal` says what
    the client is told (400, 405, 408, 417, 431, 505). An error that the handler lets out is a 500
    by the same function (a MalformedRequest its own status), or a cut connection if the answer was
    begun.
    """
    listener = _Listener(handler, bounds or Bounds(), refusal)
    loop = asyncio.get_running_loop()
    sockets = await loop.create_server(
        listener, host, port, backlog=_BACKLOG, reuse_port=reuse_port
    )
    return Server(sockets, listener)
