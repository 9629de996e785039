"""A wire tap: forwards TCP bytes as they are and reads the requests and answers among them.

It stands in front of the sidecar and behind it, so that a test sees what a client really sent and
what really went upstream, whoever the upstream is. It must not share code with the proxy.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httptools

from proxy.admin.shapes import Json

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Seen:
    """A request whose body has passed whole."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> dict[str, Json]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that has passed whole, and the request that it answers. body: without chunking."""

    to: Seen
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class _Message:
    """What httptools calls back while it reads one side of a connection."""

    def __init__(self) -> None:
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self.target = b""
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body.append(body)


class _Requests(_Message):
    """The client's side. `waiting`: those of this connection that are not answered yet."""

    def __init__(self, seen: list[Seen]) -> None:
        super().__init__()
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._reading = True
        self.waiting: deque[Seen] = deque()

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        target = self.target.decode("latin-1")
        seen = Seen(method, target, tuple(self.headers), b"".join(self.body))
        self._seen.append(seen)
        self.waiting.append(seen)

    def feed(self, chunk: bytes) -> None:
        """Reads on; after an upgrade the bytes are no longer ours to read."""
        if not self._reading:
            return
        try:
            self._parser.feed_data(chunk)
        except httptools.HttpParserUpgrade:
            self._reading = False


class _Answers(_Message):
    """The server's side. A parser for each answer: one to HEAD has no body, whatever it says."""

    def __init__(self, answers: list[Answered], waiting: deque[Seen]) -> None:
        super().__init__()
        self._answers = answers
        self._waiting = waiting
        self._parser = httptools.HttpResponseParser(self)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        whole = tuple(self.headers), b"".join(self.body)
        self._answers.append(Answered(self._waiting.popleft(), status, *whole))

    def feed(self, chunk: bytes) -> None:
        if self._waiting and self._waiting[0].method == "HEAD":
            self._waiting.popleft()
            self._parser = httptools.HttpResponseParser(self)
        elif self._waiting:
            self._parser.feed_data(chunk)


class Tap:
    """One listening port in front of `origin`. `requests`, `answers`: in the order of their last
    byte."""

    def __init__(self, origin: str) -> None:
        host, _, port = origin.removeprefix("http://").partition(":")
        self._to = (host, int(port))
        self.requests: list[Seen] = []
        self.answers: list[Answered] = []
        self.url = ""
        self._open: dict[tuple[asyncio.StreamWriter, ...], list[asyncio.Task[None]]] = {}

    def calls(self, end: str = "") -> list[Seen]:
        """The POST requests, of a path that ends so."""
        return [r for r in self.requests if r.method == "POST" and r.path.endswith(end)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. When either side ends it, so does the other."""
        up_reader, up_writer = await asyncio.open_connection(*self._to)
        requests = _Requests(self.requests)
        answers = _Answers(self.answers, requests.waiting)
        ends = (writer, up_writer)
        ways = [
            asyncio.ensure_future(_copy(reader, up_writer, requests.feed)),
            asyncio.ensure_future(_copy(up_reader, writer, answers.feed)),
        ]
        self._open[ends] = ways
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.close()
        await asyncio.gather(*ways, return_exceptions=True)
        del self._open[ends]

    async def close(self) -> None:
        """Ends what is still open."""
        ways = [way for both in self._open.values() for way in both]
        for ends in self._open:
            for end in ends:
                end.close()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read: Callable[[bytes], None]
) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK):
            read(chunk)
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def tapped(origin: str) -> AsyncIterator[Tap]:
    """A tap in front of `origin`, `http://HOST:PORT`."""
    tap = Tap(origin)
    server = await asyncio.start_server(tap.serve, "127.0.0.1", 0)
    tap.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tap
    finally:
        server.close()
        await tap.close()
