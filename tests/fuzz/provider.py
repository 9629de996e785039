"""The provider of the fuzzers: bills honestly or plays a case's plan, and is strict with requests.

What the sidecar sends must be HTTP without any doubt, one request at a time, with no header of its
own: all else is a fault.
"""

import asyncio
import gzip
import json
import re
import socket
import struct
import zlib
from collections import Counter
from types import TracebackType
from typing import Self, cast

import httptools

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from tests.fakes_wire import End, answer
from tests.fuzz.cases import MARK, Case, Plan, case_of
from tests.fuzz.seeds import INPUT_TOKENS, OUTPUT_WORDS, PATHS, honest_answer, honest_events

_BILL = INPUT_TOKENS + 2 * OUTPUT_WORDS
_MARKED = re.compile(rb"%b: (\S+)" % MARK.encode())
_DIALECT_AT = {path: dialect for dialect, path in PATHS.items()}


class Provider:
    """seen: requests of each case of which anything came. billed: micro-USD of each case."""

    def __init__(self) -> None:
        self.cases: dict[int, Case] = {}
        self.seen: Counter[int] = Counter()
        self.billed: Counter[int] = Counter()
        self.faults: list[str] = []
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=1_024
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def play(self, plan: Plan, on: "_Connection") -> None:
        """Sends it; what has to wait does so in a task of its own."""
        if all(isinstance(step, bytes) for step in plan):
            on.write(b"".join(step for step in plan if isinstance(step, bytes)))
            on.answered()
            return
        task = asyncio.get_running_loop().create_task(_play(plan, on))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def answer(self, number: int, method: bytes, path: str, body: bytes, coding: bytes) -> Plan:
        """The plan of the case, else what an honest provider says."""
        case = self.cases.get(number)
        if case is not None and case.plan is not None:
            self.billed[number] += case.billed
            return case.plan
        dialect = _DIALECT_AT.get(path)
        if dialect is None or method != b"POST":
            return [answer(b"{}", "200 OK", "x-up: 1")]
        asked = _decoded(body, coding)
        if not isinstance(asked, dict):
            return [answer(b'{"error": {"message": "no"}}', "400 Bad Request", "x-up: 1")]
        self.billed[number] += INPUT_TOKENS if dialect == "embeddings" else _BILL
        return _honest(dialect, asked)


def _honest(dialect: DialectName, asked: dict[str, Json]) -> Plan:
    if asked.get("stream") is not True or dialect == "embeddings":
        body = honest_answer(dialect)
        return [answer(body, "200 OK", "x-up: 1", "content-type: application/json")]
    events = b"".join(honest_events(dialect))
    return [answer(events, "200 OK", "x-up: 1", "content-type: text/event-stream")]


def _decoded(body: bytes, coding: bytes) -> Json:
    try:
        if coding == b"gzip":
            body = gzip.decompress(body)
        elif coding == b"deflate":
            body = zlib.decompress(body)
        decoded: Json = json.loads(body)
    except (ValueError, RecursionError, OSError, EOFError, zlib.error):
        return None
    return decoded


async def _play(plan: Plan, on: "_Connection") -> None:
    for step in plan:
        if isinstance(step, bytes):
            on.write(step)
        elif isinstance(step, float):
            await asyncio.sleep(step)  # noqa: TID251 (a provider takes its time)
        else:
            on.leave(step)
            return
    on.answered()


class _Connection(asyncio.Protocol):
    """One connection from the sidecar; also what httptools calls back."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._number = -1
        self._url, self._coding, self._body = b"", b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._provider.open -= 1

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._crossed(data)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fault(f"not HTTP: {error!r} {data[:200]!r}")

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == MARK.encode():
            self._number = case_of(value)
        elif name == b"content-encoding":
            self._coding = value.strip().lower()
        elif name.startswith(b"x-holdfast-"):
            self._fault(f"was told {name!r}")

    def on_headers_complete(self) -> None:
        self._provider.seen[self._number] += 1

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._busy = True
        path = self._url.partition(b"?")[0].decode("latin-1")
        method = self._parser.get_method()
        plan = self._provider.answer(self._number, method, path, self._body, self._coding)
        self._provider.play(plan, self)

    def answered(self) -> None:
        self._busy = False
        self._begin()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def leave(self, how: End) -> None:
        if self._transport is not None and how is End.CLOSE:
            self._transport.close()
        elif self._transport is not None and how is End.RESET:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def _crossed(self, data: bytes) -> None:
        """A request while an answer lasts. It may have crossed what a plan sends after the answer;
        it has been sent, and is lost."""
        case = self._provider.cases.get(self._number)
        if case is None or case.plan is None:
            self._fault(f"a request before the answer to the last: {data[:60]!r}")
        if (mark := _MARKED.search(data)) is not None:
            self._provider.seen[case_of(mark[1])] += 1
        if self._transport is not None:
            self._transport.abort()

    def _fault(self, what: str) -> None:
        self._provider.faults.append(f"the provider, case {self._number}: {what}")
        if self._transport is not None:
            self._transport.abort()
