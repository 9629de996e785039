"""What an outgoing proxy is asked, so that TLS can be spoken with a provider behind it."""

import asyncio
from typing import cast

from proxy.wire import Headers
from proxy.wire.head import rendered
from proxy.wire.parsing import AnswerParser, MalformedAnswer


class Tunnel(asyncio.Protocol):
    """A connection to a proxy, up to its yes."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer = AnswerParser({}, bodiless=True)
        self._answered = asyncio.Event()
        self._fault: str | None = None

    async def open(self, host: str, port: int, authorization: str | None) -> asyncio.Transport:
        """The transport that leads there. Raises ConnectionError unless the proxy says yes, and
        nothing else: what came with it would be taken for the provider's."""
        transport = self._transport
        assert transport is not None
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers: Headers = (("Host", where),)
        if authorization is not None:
            headers += (("Proxy-Authorization", authorization),)
        try:
            transport.write(rendered(f"CONNECT {where} HTTP/1.1", headers))
            await self._answered.wait()
            if self._fault is not None:
                raise ConnectionError(f"the outgoing proxy {self._fault}")
        except BaseException:
            transport.abort()
            raise
        return transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if self._answered.is_set():
            return
        try:
            answer.parse(data)
        except MalformedAnswer:
            self._end("does not speak HTTP")
        if answer.status and not 200 <= answer.status < 300:
            self._end(f"answered {answer.status}")
        elif answer.status:
            self._end("says more than yes" if answer.extra else None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("hung up")

    def _end(self, fault: str | None) -> None:
        if not self._answered.is_set():
            self._fault = fault
            self._answer.done()
            self._answered.set()
