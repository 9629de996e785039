"""Calls of a client: the bytes of one, and a connection that makes one after another."""

import asyncio
from collections.abc import Sequence
from typing import Final, cast

from tests.soak.source import length_of

PATH: Final = "/v1/chat/completions"
POLICY: Final = """
prices: {"*": {input: 1.0, output: 2.0}}
limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null}
budgets: []
bounds: {sessions_in_memory: %d}
"""


async def pause(seconds: float) -> None:
    """A soak is made of time."""
    await asyncio.sleep(seconds)  # noqa: TID251


def message(role: str, text: bytes) -> bytes:
    """One message; its text needs no escapes."""
    return b'{"role": "%b", "content": "%b"}' % (role.encode(), text)


def request(target: str, messages: Sequence[bytes], *headers: str, stream: bool = False) -> bytes:
    """The bytes of a call."""
    said = b'"stream": true, ' if stream else b""
    data = b'{"model": "m", "max_tokens": 4000, %b"messages": [%b]}' % (said, b", ".join(messages))
    lines = ("host: h", "authorization: Bearer k", f"content-length: {len(data)}", *headers)
    return "\r\n".join((f"POST {target} HTTP/1.1", *lines, "", "")).encode() + data


class Caller(asyncio.Protocol):
    """A kept connection that makes one call after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._came = b""

    async def call(self, raw: bytes) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError."""
        if self._transport is None:
            await self._loop.create_connection(lambda: self, "127.0.0.1", self._port)
        assert self._transport is not None
        self._answer = self._loop.create_future()
        self._transport.write(raw)
        return await self._answer

    def close(self) -> None:
        """Leaves."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if found and len(body) >= length_of(head) and not self._answer.done():
            self._came = b""
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._came = b""
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("it was closed before an answer"))
