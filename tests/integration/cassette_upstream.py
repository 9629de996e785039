"""Recorded exchanges of real providers, and a provider that plays them over a raw socket."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from proxy.core.request import DialectName
from proxy.wire import Headers
from tests.fakes_wire import Received, chunk, turn

REPOSITORY = Path(__file__).parents[2]
SAMPLE = REPOSITORY / "tests" / "data" / "cassettes_integration.jsonl"
ENDPOINTS: Mapping[str, DialectName] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/responses": "responses",
    "/messages": "messages",
    "/embeddings": "embeddings",
}
FRAMING = ("host", "content-length", "transfer-encoding", "connection", "keep-alive")
"""What the recorder's own connection had; ours have their own."""
PIECES = 24


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange. base: the path at the provider that stands for /v1; target: the rest of it."""

    name: str
    provider: str
    endpoint: DialectName
    base: str
    target: str
    stream: bool
    sent_headers: Headers
    sent: bytes
    status: int
    headers: Headers
    body: bytes

    @property
    def asked_for_usage(self) -> bool:
        options = json.loads(self.sent or b"{}").get("stream_options") or {}
        return bool(options.get("include_usage"))


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a recorded answer is brought: line ends of a stream, framing, and where it is cut."""

    end: bytes
    chunked: bool
    seed: int

    def events(self, recording: Recording) -> bytes:
        """The body of the answer with these line ends."""
        if not recording.stream:
            return recording.body
        return recording.body.replace(b"\r\n", b"\n").replace(b"\n", self.end)

    def segments(self, recording: Recording, body: bytes) -> Sequence[bytes]:
        """The answer as it is written to the socket: chunk borders and segment borders differ."""
        random = Random(f"{recording.name} {self.seed}")
        headers = "".join(f"{name}: {value}\r\n" for name, value in recording.headers)
        head = f"HTTP/1.1 {recording.status} Recorded\r\n{headers}".encode("latin-1")
        if self.chunked:
            framed = b"".join(chunk(piece) for piece in pieces(random, body) if piece) + chunk(b"")
            return pieces(random, head + b"transfer-encoding: chunked\r\n\r\n" + framed)
        return pieces(random, head + b"content-length: %d\r\n\r\n" % len(body) + body)


def pieces(random: Random, data: bytes) -> list[bytes]:
    """`data` cut at random places."""
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(PIECES)))
    return [data[start:stop] for start, stop in pairwise([0, *cuts, len(data)])]


class CassetteUpstream:
    """Answers each request with the segments in `plays`, each of them read before the next."""

    def __init__(self) -> None:
        self.plays: Sequence[bytes] = ()
        self.received: list[Received] = []
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = Received(head, b"", 0).header("content-length") or b"0"
                self.received.append(Received(head, await reader.readexactly(int(length)), 0))
                for segment in self.plays:
                    writer.write(segment)
                    await turn()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator["CassetteUpstream"]:
        upstream = cls()
        server = await asyncio.start_server(upstream._serve, "127.0.0.1", 0)
        upstream.port = server.sockets[0].getsockname()[1]
        try:
            yield upstream
        finally:
            server.close()


def recordings(lines: Iterable[str]) -> list[Recording]:
    """The exchanges among these records whose endpoint is one of ours, whatever its base path."""
    found = (_recording(json.loads(line)) for line in lines)
    return [recording for recording in found if recording is not None]


def full_set() -> list[Recording]:
    """All of them; skips where the full sets are not at hand."""
    folder = Path(os.environ.get("HOLDFAST_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / "cassettes" / "cassettes_small.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recorded exchanges are not there: {path} (set HOLDFAST_DATA)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return recordings(lines)


def sample() -> list[Recording]:
    """The few that are kept with the tests; each line names its source and licence."""
    return recordings(SAMPLE.read_text("utf-8").splitlines())


def _recording(record: dict[str, object]) -> Recording | None:
    request, response = record["request"], record["response"]
    assert isinstance(request, dict)
    assert isinstance(response, dict)
    url = urlsplit(request["url"])
    found = next((end for end in ENDPOINTS if url.path.endswith(end)), None)
    if found is None or request["method"] != "POST" or "/threads/" in url.path:
        return None
    body = response["body"].encode()
    headers = _pairs(response["headers"])
    if record["stream"]:  # nobody asks for a compressed stream, so none is sent
        headers = tuple(h for h in headers if h[0] != "content-encoding")
    elif any(h == ("content-encoding", "gzip") for h in headers):
        body = gzip.compress(body, mtime=0)
    return Recording(
        name=str(record["id"]),
        provider=str(record["provider"]),
        endpoint=ENDPOINTS[found],
        base=url.path.removesuffix(found),
        target=found + (f"?{url.query}" if url.query else ""),
        stream=bool(record["stream"]) and response["status"] == 200,
        sent_headers=_pairs(request["headers"]),
        sent=(request["body"] or "").encode(),
        status=response["status"],
        headers=headers,
        body=body,
    )


def _pairs(headers: Mapping[str, str | list[str]]) -> Headers:
    pairs: list[tuple[str, str]] = []
    for name, value in headers.items():
        pairs += [(name, one) for one in ([value] if isinstance(value, str) else value)]
    return tuple((name, value) for name, value in pairs if name not in FRAMING)
