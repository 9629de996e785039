"""Answers as providers send them, down to the byte, and what has to come of them."""

import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from proxy.wire import Headers


@dataclass(frozen=True, slots=True)
class Sample:
    """`head`: bytes up to the body, interim answers included. `until_close`: its end is the
    connection's end. `reusable`: the connection serves the next request."""

    raw: bytes
    status: int
    headers: Headers
    body: bytes
    method: str = "POST"
    until_close: bool = False
    reusable: bool = True

    @property
    def head(self) -> int:
        """Where the body begins."""
        return self.raw.index(b"\r\n\r\n", self.raw.rindex(b"HTTP/1.")) + 4


def sample(
    first: str, headers: Headers, body: bytes = b"", framed: bytes | None = None, **more: object
) -> Sample:
    """`framed` is the body as it is sent, where that differs."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    raw = f"{first}\r\n{lines}\r\n".encode("latin-1") + (body if framed is None else framed)
    return Sample(raw, int(first.split(" ")[1]), headers, body, **more)  # type: ignore[arg-type]


EVENTS = (
    b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"id":"chatcmpl-1","choices":[],"usage":{"total_tokens":9}}\n\n',
    b"data: [DONE]\n\n",
)
STREAM: Headers = (
    ("Date", "Mon, 23 Nov 2026 02:00:00 GMT"),
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Transfer-Encoding", "chunked"),
    ("x-request-id", "req_1"),
)
JSON = b'{"id":"chatcmpl-1","usage":{"total_tokens":9}}'
ZIPPED = gzip.compress(JSON, mtime=0)
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error"}}'


def chunks(*parts: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Parts as HTTP chunks, with the last one."""
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return framed + b"0" + extension + b"\r\n" + trailers + b"\r\n"


SAMPLES = {
    "JSON": sample(
        "HTTP/1.1 200 OK",
        (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(JSON))),
            ("openai-processing-ms", "412"),
            ("x-ratelimit-remaining-tokens", "29 996"),
            ("Set-Cookie", "__cf_bm=a; path=/; HttpOnly"),
            ("Set-Cookie", "_cfuvid=b"),
            ("X-Empty", ""),
            ("alt-svc", 'h3=":443"; ma=86400'),
        ),
        JSON,
    ),
    "a stream": sample("HTTP/1.1 200 OK", STREAM, b"".join(EVENTS), chunks(*EVENTS)),
    "extensions and trailers": sample(
        "HTTP/1.1 200 OK",
        (("transfer-encoding", "Chunked"), ("trailer", "x-usage")),
        b"".join(EVENTS),
        chunks(*EVENTS, extension=b";a=b", trailers=b"x-usage: 9\r\nx-more: \xe9\r\n"),
    ),
    "until close": sample(
        "HTTP/1.0 200 OK",
        (("Server", "llama.cpp"), ("Content-Type", "application/json")),
        JSON,
        until_close=True,
        reusable=False,
    ),
    "compressed, to be closed": sample(
        "HTTP/1.1 200",
        (
            ("content-encoding", "gzip"),
            ("content-length", str(len(ZIPPED))),
            ("Connection", "close"),
        ),
        ZIPPED,
        reusable=False,
    ),
    "overloaded": sample(
        "HTTP/1.1 529 ",
        (("retry-after", "3"), ("content-length", str(len(OVERLOADED))), ("x-raw", "\xe9\xff")),
        OVERLOADED,
    ),
    "no content": sample("HTTP/1.1 204 No Content", (("x-request-id", "req_1"),)),
    "not modified": sample("HTTP/1.1 304 Not Modified", (("content-length", "9"), ("etag", '"a"'))),
    "to HEAD": sample("HTTP/1.1 200 OK", STREAM, method="HEAD"),
}
HINTS = b"HTTP/1.1 103 Early\r\nLink: </a>\r\nContent-Length: 5\r\n\r\nHTTP/1.1 100 Go\r\n\r\n"
SAMPLES["after interim answers"] = Sample(
    HINTS + SAMPLES["JSON"].raw, 200, SAMPLES["JSON"].headers, JSON
)
SAMPLES["a stream after a hint that names its coding"] = replace(
    SAMPLES["a stream"],
    raw=b"HTTP/1.1 103 Early\r\nTransfer-Encoding: chunked\r\n\r\n" + SAMPLES["a stream"].raw,
)


class PlayedAnswer:
    """A provider's answer that comes in these pieces (`Incoming`)."""

    def __init__(self, status: int, kind: str, *pieces: bytes, encoding: str = "") -> None:
        self.status = status
        self.headers: Headers = (("Content-Type", kind), ("content-length", "7"), ("x-id", "1"))
        if encoding:
            self.headers += (("content-encoding", encoding),)
        self.closed = False
        self.released = False
        self._pieces = list(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        while self._pieces:
            if not take(self._pieces.pop(0)):
                return True
        return False

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        while self._pieces:
            take(self._pieces.pop(0))

    def unread_part(self) -> float:
        return 0.0

    async def read(self, limit_bytes: int) -> bytes:
        body = b"".join(self._pieces)
        assert len(body) <= limit_bytes
        self._pieces.clear()
        return body

    def release(self) -> None:
        self.released = True

    def expect_more_within(self, seconds: float) -> None:
        self.idle_seconds = seconds

    def close(self) -> None:
        self.closed = True
