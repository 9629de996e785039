"""New connections to providers: names, addresses, TLS, proxies; one time-out for it all."""

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from proxy.wire.addresses import Addresses, race
from proxy.wire.faults import CONNECT_FAULTS, connect_fault
from proxy.wire.origin import Origin
from proxy.wire.tunnel import Tunnel
from proxy.wire.upstream import Household, UpstreamConnection

_P = TypeVar("_P", bound=asyncio.Protocol)


def verifying() -> ssl.SSLContext:
    """Trusts the machine's authorities, or those of SSL_CERT_FILE; there is no switch for less."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections for a pool. `tls` replaces the context that `verifying` makes."""

    def __init__(self, household: Household, tls: ssl.SSLContext | None) -> None:
        self._household = household
        self._given = tls
        self._addresses = Addresses()

    async def connect(self, origin: Origin, seconds: float) -> UpstreamConnection:
        """A connection with nothing on it yet. Raises UpstreamUnavailable, `sent` False."""
        try:
            async with asyncio.timeout(seconds):
                return await self._connect(origin)
        except CONNECT_FAULTS as exc:
            raise connect_fault(exc, origin.authority, seconds) from exc

    async def close(self) -> None:
        """Ends the look-ups that are under way."""
        await self._addresses.close()

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when it is first needed: reading the authorities takes 35 ms."""
        return self._given or verifying()

    async def _connect(self, origin: Origin) -> UpstreamConnection:
        household = self._household
        make = functools.partial(UpstreamConnection, household, origin.kept, origin.authority)
        proxy = origin.proxy
        if proxy is None:
            return await self._open(origin.host, origin.port, origin.secure, make)
        if not origin.secure:
            return await self._open(proxy.host, proxy.port, proxy.secure, make)
        tunnel = await self._open(proxy.host, proxy.port, proxy.secure, Tunnel)
        transport = await tunnel.open(origin.host, origin.port, proxy.authorization)
        return await self._secured(transport, origin.host, make)

    async def _open(self, host: str, port: int, secure: bool, make: Callable[[], _P]) -> _P:
        """To a provider, or to the proxy on the way there."""
        addresses = await self._addresses.of(host)
        if secure:
            return await self._secured(await race(addresses, port, asyncio.Protocol), host, make)
        return cast("_P", (await race(addresses, port, make)).get_protocol())

    async def _secured(self, transport: asyncio.Transport, host: str, make: Callable[[], _P]) -> _P:
        """TLS on a connection that nothing has been said on, or that leads through a proxy."""
        protocol = make()
        loop = asyncio.get_running_loop()
        inner = await loop.start_tls(transport, protocol, self._tls, server_hostname=host)
        assert inner is not None
        protocol.connection_made(inner)
        return protocol
