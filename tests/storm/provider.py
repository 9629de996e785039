"""A provider without thought, as cheap as it can be: each request is answered as its number or the
hour says, and is counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from tests.soak.source import length_of

_HEAD = b"HTTP/1.1 %b\r\ncontent-type: %b\r\n%b\r\n\r\n"
_ANSWER = (
    b'{"id": "c-1", "object": "chat.completion", "choices": [{"index": 0, "message": {"role":'
    b' "assistant", "content": "%b"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}}'
)
_CHUNK = b'data: {"id": "c-1", "object": "chat.completion.chunk", "choices": [%b]%b}\n\n'
_BEGIN = _CHUNK % (b'{"index": 0, "delta": {"role": "assistant", "content": ""}}', b"")
_TEXT = b'{"index": 0, "delta": {"content": "%b"}, "finish_reason": null}'
_END = (
    _CHUNK % (b'{"index": 0, "delta": {}, "finish_reason": "stop"}', b"")
    + _CHUNK % (b"", b', "usage": {"prompt_tokens": 7, "completion_tokens": 1}')
    + b"data: [DONE]\n\n"
)
_DOWN = b'{"error": {"message": "The engine is overloaded.", "type": "server_error", "code": null}}'


@dataclass(frozen=True, slots=True)
class Manner:
    """How one request is answered. seconds: until the answer, or a stream's first token."""

    seconds: float = 0.0
    down: bool = False


class Provider:
    """arrivals: when each request came, by `perf_counter`. manner: how the n-th is answered."""

    def __init__(self, name: str, manner: Callable[[int], Manner]) -> None:
        self.name = name
        self.manner = manner
        self.arrivals: list[float] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Provider"]:
        """On a free port of loopback."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=4_096)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Connection(asyncio.Protocol):
    """A kept connection: one request at a time."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._name = provider.name.encode()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found or len(body) < length_of(head):
            return
        self._came = b""
        number = len(self._provider.arrivals)
        self._provider.arrivals.append(perf_counter())
        manner = self._provider.manner(number)
        if manner.down:
            self._write(b"503 Service Unavailable", _DOWN)
        elif b'"stream": true' in body:
            self._begin()
            self._loop.call_later(manner.seconds, self._end)
        else:
            self._loop.call_later(manner.seconds, self._write, b"200 OK", _ANSWER % self._name)

    def _write(self, status: bytes, body: bytes) -> None:
        if self._transport is not None:
            length = b"content-length: %d" % len(body)
            self._transport.write(_HEAD % (status, b"application/json", length) + body)

    def _begin(self) -> None:
        if self._transport is not None:
            head = _HEAD % (b"200 OK", b"text/event-stream", b"transfer-encoding: chunked")
            self._transport.write(head + _chunk(_BEGIN))

    def _end(self) -> None:
        if self._transport is not None:
            said = _CHUNK % (_TEXT % self._name, b"")
            self._transport.write(_chunk(said) + _chunk(_END) + _chunk(b""))
