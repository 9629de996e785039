"""A provider without thought, as cheap as it can be: stamped streams, and short answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter
from typing import cast

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b\r\n\r\n"
_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "t=%.6f "}}]}\n\n'
_END = (
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}\n\n'
    b"data: [DONE]\n\n"
)
_ANSWER = (
    b'{"choices": [{"message": {"role": "assistant", "content": "%b"}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 7, "completion_tokens": 3}}'
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Source(asyncio.Protocol):
    """A provider's connection. A stream is asked for by `stream: true`, and lasts as long as the
    provider's `seconds` say; anything else is answered at once."""

    def __init__(self, provider: "Source") -> None:
        self._provider = provider
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
        assert self._transport is not None
        self._provider.calls += 1
        if b'"stream": true' not in body:
            answer = _ANSWER % b"%d" % (self._provider.calls % self._provider.replies)
            length = b"content-length: %d" % len(answer)
            self._transport.write(_HEAD % (b"application/json", length) + answer)
            return
        self._transport.write(_HEAD % (b"text/event-stream", b"transfer-encoding: chunked"))
        self._tick(perf_counter() + self._provider.random.uniform(*self._provider.seconds))

    def _tick(self, until: float) -> None:
        if self._transport is None:
            return
        now = perf_counter()
        if now >= until:
            self._transport.write(_chunk(_END) + _chunk(b""))
            return
        self._transport.write(_chunk(_EVENT % now))
        self._provider.events += 1
        gap = self._provider.random.uniform(*self._provider.gap_seconds)
        self._loop.call_later(gap, self._tick, until)


class Source:
    """A provider without thought: streams for so many seconds, an event after each gap. replies:
    how many different ones it has."""

    def __init__(
        self,
        seconds: tuple[float, float] = (1.0, 1.0),
        gap_seconds: tuple[float, float] = (0.5, 1.0),
        replies: int = 10**9,
    ) -> None:
        self.seconds = seconds
        self.gap_seconds = gap_seconds
        self.replies = replies
        self.random = Random(1)
        self.calls = 0
        self.events = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Source"]:
        """On a free port of loopback."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Source(self), "127.0.0.1", 0, backlog=4_096)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


def length_of(head: bytes) -> int:
    """What a head announces; 0 where it announces nothing."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def reply_in(answer: bytes) -> bytes:
    """What the model says in one of these answers."""
    return answer.partition(b'"content": "')[2].partition(b'"')[0]
