"""The server's end: listens, has each request screened and handled, drains."""

import asyncio
from typing import Final

from proxy.errors import HoldfastError
from proxy.wire import Handler, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.connection import Connection, Connections
from proxy.wire.shared import Refusal, Shared
from proxy.wire.timing import Deadlines

_BACKLOG: Final = 1_024
_CANCEL_SECONDS: Final = 5.0


def plain_refusal(error: HoldfastError) -> tuple[Headers, bytes]:
    """The error's text; what a server says that knows no dialect."""
    return (("content-type", "text/plain; charset=utf-8"),), f"{error}\n".encode()


class Server:
    """A listening server. Belongs to the loop that it was started on."""

    def __init__(self, sockets: asyncio.Server, clients: Connections, deadlines: Deadlines) -> None:
        self._sockets = sockets
        self._clients = clients
        self._deadlines = deadlines
        self.port: int = sockets.sockets[0].getsockname()[1]

    @property
    def in_progress(self) -> int:
        """Connections with a request on them, a head that is still coming included."""
        return sum(connection.busy for connection in self._clients.open)

    @property
    def handlers(self) -> int:
        """Handlers that have not ended, those whose client has left included."""
        clients = self._clients
        return len(clients.left_behind) + sum(connection.handled for connection in clients.open)

    def stop_accepting(self) -> None:
        """Closes the listening socket; connections stay."""
        self._sockets.close()

    async def drain(self, seconds: float) -> bool:
        """Closes idle connections and waits for the others and their handlers: a connection ends
        with its answer, once that has left whole. False if some are left after so many seconds."""
        clients = self._clients
        self.stop_accepting()
        clients.draining = True
        for connection in clients.open:
            if not connection.busy:
                connection.leave()
        return await self._is_empty(seconds)

    async def close(self) -> None:
        """Ends everything now: connections are cut, their handlers cancelled and waited for."""
        self.stop_accepting()
        self._clients.draining = True
        for connection in self._clients.open:
            connection.end()
        for handler, goes_on in self._clients.left_behind.items():
            if goes_on:
                handler.cancel()
        if not await self._is_empty(_CANCEL_SECONDS):
            for handler in self._clients.left_behind:
                handler.cancel()
            await self._is_empty(_CANCEL_SECONDS)
        self._deadlines.close()

    async def _is_empty(self, seconds: float) -> bool:
        """Waits for the last connection, and the last handler; False if it takes longer."""
        clients = self._clients
        clients.none_left.clear()
        clients.look_around()
        try:
            async with asyncio.timeout(seconds):
                await clients.none_left.wait()
        except TimeoutError:
            return False
        return True


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
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    shared = Shared(handler, refusal, bounds or Bounds(), loop, deadlines)
    clients = Connections()
    sockets = await loop.create_server(
        lambda: Connection(shared, clients), host, port, backlog=_BACKLOG, reuse_port=reuse_port
    )
    return Server(sockets, clients, deadlines)
