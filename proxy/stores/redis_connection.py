"""One connection to one server: requests go out in order, many under way at a time.

Nothing waits for a free connection, and nothing is asked twice here: what is under way when the
connection breaks fails with `Lost`, and whoever asked knows whether it may ask again.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

try:
    import hiredis
except ImportError as error:  # the extra is not installed
    raise ImportError("store.url names Redis: `pip install holdfast[redis]`") from error

from proxy.stores.redis_errors import Lost, ServerError
from proxy.stores.redis_url import Address

_GRACE_SECONDS = 0.05

Word = bytes | str | int | float
Command = Sequence[Word]
Reply = object
"""bytes, int, None, a list of replies, or a `ServerError`."""


@dataclass(frozen=True, slots=True)
class Login:
    """What every connection begins with. timeout_seconds: of an answer, and of connecting."""

    username: str
    password: str
    database: int
    timeout_seconds: float
    context: ssl.SSLContext | None


class Connection(asyncio.Protocol):
    """Made by `connect`. on_message: takes what comes by itself, where this is a subscriber's."""

    def __init__(
        self, timeout_seconds: float, on_message: Callable[[Reply], None] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout_seconds
        self._on_message = on_message
        self._reader = hiredis.Reader(protocolError=Lost, replyError=ServerError)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Request] = deque()
        self._heard_at = 0.0
        self._doubted = False
        self._timer: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        return not self.lost.done()

    def request(self, *commands: Command) -> "asyncio.Future[list[Reply]]":
        """The answers to these commands, which go out now and in this order."""
        future: asyncio.Future[list[Reply]] = self._loop.create_future()
        if not self.is_open or self._transport is None:
            future.set_exception(Lost("the connection is closed"))
            return future
        self._transport.write(b"".join([_packed(command) for command in commands]))
        self._waiting.append(_Request(future, len(commands), self._loop.time(), []))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._watch)
        return future

    def refuse_itself(self) -> None:
        """Raises Lost for a connection whose both ends are this one: the kernel makes such where a
        port of those that it gives to clients has no listener."""
        assert self._transport is not None
        ends = [self._transport.get_extra_info(name) for name in ("sockname", "peername")]
        if ends[0] == ends[1]:
            raise Lost("nobody listens there")

    def push(self, command: Command) -> None:
        """Of a subscriber: what comes of it goes to `on_message`."""
        if self.is_open and self._transport is not None:
            self._transport.write(_packed(command))

    def close(self, why: str = "the connection was closed") -> None:
        """At once: what is under way fails."""
        self._end(Lost(why))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not asyncio's
        endpoint = transport.get_extra_info("socket")
        if endpoint is not None:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except Lost as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Lost(str(exc) if exc else "the server closed the connection"))

    def _take(self, reply: Reply) -> None:
        if self._on_message is not None:
            self._on_message(reply)
            return
        if not self._waiting:
            raise Lost("the server answered what nobody had asked")
        request = self._waiting[0]
        request.replies.append(reply)
        if len(request.replies) == request.commands:
            self._waiting.popleft()
            if not request.future.done():
                request.future.set_result(request.replies)

    def _watch(self) -> None:
        """Whether nothing has come for too long to who waits. A loop that was busy itself has its
        answers lie unread: it gets a turn to read them before it is the server's fault."""
        self._timer = None
        if not self._waiting:
            return
        left = max(self._waiting[0].sent_at, self._heard_at) + self._timeout - self._loop.time()
        if left > 0:
            self._doubted = False
        elif self._doubted:
            self._end(Lost("the server does not answer in time"))
            return
        else:
            self._doubted = True
        self._timer = self._loop.call_later(max(left, _GRACE_SECONDS), self._watch)

    def _end(self, error: Lost) -> None:
        if self.lost.done():
            return
        self.lost.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever asked may be gone


@dataclass(slots=True)
class _Request:
    future: "asyncio.Future[list[Reply]]"
    commands: int
    sent_at: float
    replies: list[Reply]


async def connect(
    address: Address, login: Login, on_message: Callable[[Reply], None] | None = None
) -> Connection:
    """A connection that is logged in. Raises OSError, TimeoutError, Lost, ServerError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(login.timeout_seconds):
        _, connection = await loop.create_connection(
            lambda: Connection(login.timeout_seconds), *address, ssl=login.context
        )
        try:
            connection.refuse_itself()
            await _log_in(connection, login)
        except BaseException:
            connection.close()
            raise
    connection._on_message = on_message  # noqa: SLF001 - from now on
    return connection


async def _log_in(connection: Connection, login: Login) -> None:
    hello: list[Command] = []
    if login.password:
        user = (login.username,) if login.username else ()
        hello.append(("AUTH", *user, login.password))
    hello.append(("CLIENT", "SETNAME", "holdfast"))
    if login.database:
        hello.append(("SELECT", login.database))
    for reply, command in zip(await connection.request(*hello), hello, strict=True):
        if isinstance(reply, ServerError) and command[0] != "CLIENT":
            raise reply


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # any length
    return packed
