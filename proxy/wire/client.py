"""The client's end: a pool of connections to providers, on aiohttp's connector."""

import functools
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.tasks import Tasks
from proxy.wire import Headers, Outgoing, Timeouts
from proxy.wire.call import Call
from proxy.wire.environment import Proxy, proxy_rules
from proxy.wire.faults import CONNECT_FAULTS, connect_fault
from proxy.wire.link import UpstreamLink

_ORIGINS_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where requests to one scheme, host and port go: aiohttp's key of the pool, and what each
    request there starts with."""

    authority: str
    key: aiohttp.ClientRequest
    target_prefix: str
    own_headers: Headers


class _Connector(aiohttp.TCPConnector):
    """No queue: what limits the number of calls is the policy, and it says so to the client."""

    def __init__(self, tls: ssl.SSLContext | None, keepalive_seconds: float) -> None:
        super().__init__(ssl=tls or True, limit=0, keepalive_timeout=keepalive_seconds)
        make = functools.partial(UpstreamLink, loop=self._loop)
        self._factory = cast("functools.partial[ResponseHandler]", make)


class UpstreamPool:
    """`Upstreams` on kept connections. Made and used on one running loop.

    `environ` names the outgoing proxies. `tls` replaces the default context, which verifies by the
    machine's authorities (or SSL_CERT_FILE, as it was when the process started). Nothing is ever
    sent twice: a request whose kept connection turns out to be dead is reported as sent, and
    whether it may be repeated is for the caller to say.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None = None,
        keepalive_seconds: float = 30.0,
    ) -> None:
        self._rules = proxy_rules(environ)
        self._connector = _Connector(tls, keepalive_seconds)
        self._origin_of = functools.lru_cache(maxsize=_ORIGINS_KEPT)(self._find_origin)
        self._tasks = Tasks()

    async def send(
        self, request: Outgoing, timeouts: Timeouts, on_sent: Callable[[], None] | None = None
    ) -> Call:
        """Sends and waits for the head. Cancelled or failed, it leaves no connection behind."""
        base, target = _split(request.url)
        origin = self._origin_of(base)
        connection = await self._connect(origin, timeouts)
        call = Call(connection, origin.authority, timeouts, on_sent)
        try:
            prefixed = origin.target_prefix + target
            await call.send(request, prefixed, origin.own_headers, self._tasks)
        except BaseException:
            call.close()
            raise
        return call

    async def close(self) -> None:
        """Ends all connections, those with a call on them as well."""
        await self._tasks.close()
        await self._connector.close()

    async def _connect(self, origin: _Origin, timeouts: Timeouts) -> aiohttp.connector.Connection:
        bounds = _client_timeout(timeouts.connect)
        try:
            while True:
                connection = await self._connector.connect(origin.key, [], bounds)
                link = connection.protocol
                assert isinstance(link, UpstreamLink)
                if not link.holds_unasked_answer():
                    return connection
                link.abort()
                connection.close()
        except CONNECT_FAULTS as exc:
            raise connect_fault(exc, origin.authority, timeouts.connect) from exc

    def _find_origin(self, base: str) -> _Origin:
        try:
            url = URL(base)
            port = url.port
        except ValueError:
            port = None
        if port is None or not url.host or url.scheme not in ("http", "https"):
            raise UpstreamUnavailable(f"{base}: not the base of an HTTP URL", sent=False)
        return _origin(base, url, self._rules.proxy_for(url.scheme, url.host, port))


def _origin(base: str, url: URL, proxy: Proxy | None) -> _Origin:
    authority = base.partition("://")[2].rpartition("@")[2]
    own: Headers = (("Host", authority),)
    to_proxy = {"Host": authority}
    relayed = proxy is not None and url.scheme == "http"
    if proxy is not None and proxy.authorization is not None:
        to_proxy["Proxy-Authorization"] = proxy.authorization
        if relayed:
            own += (("Proxy-Authorization", proxy.authorization),)
    key = aiohttp.ClientRequest(
        "GET",
        url.with_user(None),
        proxy=None if proxy is None else URL(proxy.url),
        proxy_headers=None if proxy is None else to_proxy,
    )
    return _Origin(authority, key, f"http://{authority}" if relayed else "", own)


def _split(url: str) -> tuple[str, str]:
    """Scheme and authority, and the target as it stands."""
    start = url.find("://") + 3
    ends = [i for i in (url.find("/", start), url.find("?", start)) if i >= 0]
    end = min(ends, default=len(url))
    target = url[end:]
    if any(character <= " " or character == "\x7f" for character in target):
        raise MalformedRequest("a request target holds no blanks or control characters")
    return url[:end], target if target.startswith("/") else f"/{target}"


@functools.lru_cache(maxsize=64)
def _client_timeout(connect_seconds: float) -> aiohttp.ClientTimeout:
    """Names, addresses, TLS and proxy in all; aiohttp would round above five seconds."""
    return aiohttp.ClientTimeout(connect=connect_seconds, ceil_threshold=float("inf"))
