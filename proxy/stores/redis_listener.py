"""Hears what is published, on a connection of its own that is made anew whenever it breaks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from proxy.clock import Clock
from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Login, Reply, connect
from proxy.stores.redis_errors import PASSING, Lost, ServerError
from proxy.stores.redis_url import Address

log = logging.getLogger(__name__)

OnMessage = Callable[[str, bytes], None]
OnConnected = Callable[[], None]

PING_SECONDS = 1.0
_PAUSE_SECONDS = 0.1


class Listener:
    """Made and started by `Servers.listen`."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Address]],
        login: Login,
        channels: Sequence[str],
        on_message: OnMessage,
        on_connected: OnConnected,
        clock: Clock,
    ) -> None:
        self._find = find
        self._login = login
        self._channels = tuple(channels)
        self._on_message = on_message
        self._on_connected = on_connected
        self._clock = clock
        self._missing = 0
        self._heard = False
        self._refused: ServerError | None = None
        self._told: set[type[Exception]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Callable[["Listener"], None]) -> None:
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(lambda _: ended(self))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._hear()
            except (OSError, TimeoutError, Lost, ServerError, StoreUnavailable) as problem:
                log.log(
                    self._level(problem),
                    "what is published is not heard (%s); trying again",
                    problem,
                )
            await self._clock.sleep(_PAUSE_SECONDS)

    def _level(self, problem: Exception) -> int:
        """Each kind of trouble is said once until it is over: ten times a second would bury all
        else that is said of an outage."""
        if type(problem) in self._told:
            return logging.DEBUG
        self._told.add(type(problem))
        return logging.WARNING if isinstance(problem, ServerError) else logging.INFO

    async def _hear(self) -> None:
        """Until the connection breaks. A ping each second tells of one that is only dead."""
        connection = await connect(await self._find(), self._login, self._take)
        try:
            self._missing, self._refused = len(self._channels), None
            connection.push(("SUBSCRIBE", *self._channels))
            while connection.is_open:
                self._heard = False
                connection.push(("PING",))
                await asyncio.wait({connection.lost}, timeout=PING_SECONDS)
                if self._refused is not None:  # it may not listen
                    raise self._refused
                if not self._heard:
                    raise Lost("the server does not answer in time")
        finally:
            connection.close()

    def _take(self, reply: Reply) -> None:
        self._heard = True
        if isinstance(reply, ServerError) and reply.code not in PASSING:
            self._refused = reply
        if not isinstance(reply, list) or not reply:
            return
        if reply[0] == b"message":
            self._on_message(reply[1].decode(), reply[2])
        elif reply[0] == b"subscribe":
            self._missing -= 1
            if not self._missing:
                self._told.clear()
                self._on_connected()
