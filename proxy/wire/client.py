"""The client's end: a pool of connections to providers, on llhttp and asyncio's transports."""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from proxy.errors import UpstreamUnavailable
from proxy.tasks import Tasks
from proxy.wire import Incoming, Outgoing, Timeouts
from proxy.wire.answer import Answer
from proxy.wire.dialing import Dialer
from proxy.wire.environment import proxy_rules
from proxy.wire.origin import Origin, origin_of, split
from proxy.wire.request import RequestHeads, announced_length
from proxy.wire.timing import Deadlines
from proxy.wire.upload import upload
from proxy.wire.upstream import Household, UpstreamConnection

_URLS_KEPT: Final = 1_024
_URL_LENGTH: Final = 512
"""Longer ones are not kept: clients choose their queries."""

_CLOSE_SECONDS: Final = 1.0


class UpstreamPool:
    """`Upstreams` on kept connections. Made and used on one running loop.

    `environ` names the outgoing proxies. `tls` replaces the default context, which verifies by the
    machine's authorities (or SSL_CERT_FILE). There is no queue: what limits the number of calls is
    the policy, and it says so to the client. Nothing is ever sent twice: a request whose kept
    connection turns out to be dead is reported as sent, and whether it may be repeated is for the
    caller to say.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        keepalive_seconds: float = 30.0,
    ) -> None:
        self._rules = proxy_rules(environ)
        self._household = Household(Deadlines(asyncio.get_running_loop()), keepalive_seconds)
        self._closed = False
        self._dialer = Dialer(self._household, tls)
        self._heads = RequestHeads()
        self._names: dict[bytes, str] = {}
        self._tasks = Tasks()
        self._origin_of = functools.lru_cache(_URLS_KEPT)(self._find_origin)
        self._known_route = functools.lru_cache(_URLS_KEPT)(self._find_route)

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        on_left: Callable[[Incoming], Awaitable[None]] | None = None,
    ) -> Answer:
        """Sends and waits for the head. Cancelled or failed, it leaves no connection behind."""
        url = request.url
        route = self._known_route if len(url) <= _URL_LENGTH else self._find_route
        origin, target = route(url)
        head = self._heads.of(request, target, origin.own_headers)
        connection = _kept(origin) or await self._connect(origin, timeouts)
        answer = connection.begin(self._names, timeouts, bodiless=request.method == "HEAD")
        try:
            if on_sent is not None:
                on_sent()
            if isinstance(request.body, bytes):
                connection.write(head, request.body)
            else:
                self._upload(connection, head, request, request.body)
            await answer.begun()
        except asyncio.CancelledError:
            try:
                if answer.status and on_left is not None:
                    await on_left(answer)
            finally:
                answer.close()
            raise
        except BaseException:
            answer.close()
            raise
        return answer

    async def close(self) -> None:
        """Ends all connections, those with a call on them as well."""
        self._closed = True
        household = self._household
        household.none_left.clear()
        for connection in tuple(household.open):
            connection.close()
        await self._tasks.close()
        await self._dialer.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if household.open:
                    await household.none_left.wait()
        household.deadlines.close()

    async def _connect(self, origin: Origin, timeouts: Timeouts) -> UpstreamConnection:
        connection = await self._dialer.connect(origin, timeouts.connect)
        if self._closed or not connection.join():
            connection.cut()
            message = f"{origin.authority}: the connection was lost before the request"
            raise UpstreamUnavailable(message, kind="reset", sent=False)
        return connection

    def _upload(
        self,
        connection: UpstreamConnection,
        head: bytes,
        request: Outgoing,
        body: AsyncIterator[bytes],
    ) -> None:
        """A body that comes in parts is sent by a task; one of bytes leaves with its head."""
        connection.write(head)
        sending = upload(body, announced_length(request), connection)
        connection.uploads(self._tasks.spawn(sending, "request body"))

    def _find_route(self, url: str) -> tuple[Origin, str]:
        base, target = split(url)
        origin = self._origin_of(base)
        return origin, origin.target_prefix + target

    def _find_origin(self, base: str) -> Origin:
        return origin_of(base, self._rules)


def _kept(origin: Origin) -> UpstreamConnection | None:
    """The connection that was used last: the others reach their time-out."""
    while origin.kept:
        connection, _ = origin.kept.popitem()
        if connection.is_untouched():
            return connection
        connection.cut()
    return None
