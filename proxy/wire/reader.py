"""Requests out of bytes: llhttp, fed so that it never sees beyond the end of one.

llhttp cannot stop between two requests of a segment, and does not say where one ended. But neither
a head nor a chunked body ends before an empty line, and a body with a length ends where that says.
So it is fed up to the next such place, and asked there whether the request is complete. What
follows a request waits as bytes, until that has been answered, and costs nothing.

A head that is known (`known.py`) passes llhttp by, and so does every body that has a length: where
that ends needs no parser. After such a body the next head is given to a new one.
"""

from typing import Final, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from proxy.wire import Head
from proxy.wire.bounds import Bounds
from proxy.wire.head import header_lines
from proxy.wire.known import MOST_BYTES, KnownHeads
from proxy.wire.screening import malformed, measure, request_line, screen, too_large

_EMPTY_LINE: Final = b"\r\n\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked"


class Sink(Protocol):
    """Where a body goes."""

    parts: list[bytes]
    size: int
    complete: bool


class RequestReader:
    """The requests of one connection, one after the other. What is public is of the current one.

    head: once it is complete, and screened. keeps_alive: whether the client wants, and its request
    allows, another after it. complete: nothing more of it is to come. sink: has to be set before
    what follows the head is fed.
    """

    def __init__(self, bounds: Bounds, known: KnownHeads) -> None:
        self._bounds = bounds
        self._short_bytes = min(bounds.line_bytes, bounds.header_bytes)
        self._known = known
        self._known_bytes = min(self._short_bytes, bounds.head_bytes, MOST_BYTES)
        self._parser: HttpRequestParser | None = None
        self._tail = b""
        self._overrun = False
        self._upgrade = False
        self.start()

    def start(self) -> None:
        """Makes ready for the next request."""
        self.complete = False
        self.head: Head | None = None
        self.http_1_0 = False
        self.keeps_alive = False
        self.sink: Sink | None = None
        self._fed = 0
        self._head_is_over = False
        self._left = 0
        self._pieces: list[bytes] = []
        self._unfruitful = 0

    def close(self) -> None:
        """Lets go of the parser, which holds this as well."""
        self._parser = None

    @property
    def begun(self) -> bool:
        """Whether anything has come of the request."""
        return self._fed > 0

    @property
    def method(self) -> str:
        """Of a request whose head is complete, refused or not."""
        if self.head is not None:
            return self.head.method
        parser = self._parser
        return parser.get_method().decode() if parser is not None and self._head_is_over else ""

    def feed(self, data: bytes, at: int) -> int:
        """Reads on from `at`, at most to the end of the head, or of the request; returns where it
        stopped. Raises MalformedRequest; the connection cannot be read any more then."""
        if self.head is None:
            return self._feed_head(data, at)
        if not self._left:
            return self._feed_chunks(data, at)
        return self._take_body(data, at)

    def _feed_head(self, data: bytes, at: int) -> int:
        if not self._fed:
            while data.startswith(b"\r\n", at):  # RFC 9112 section 2.2; no part of a request
                at += 2
            if at == len(data):
                return at
            end = data.find(_EMPTY_LINE, at) + 4
            if 4 <= end <= at + self._known_bytes and self._recognise(data[at:end]):
                return end
        end = self._border(data, at)
        self._fed += end - at
        if self._fed > self._bounds.head_bytes:
            raise too_large()
        piece = data[at:end]
        self._pieces.append(piece)
        self._execute(piece)
        if self._head_is_over:
            self._finish_head()
        return end

    def _recognise(self, raw: bytes) -> bool:
        """Takes a head that was read before, if it is one."""
        found = self._known.find(raw)
        if found is None:
            return False
        known, self.head, self._left = found
        self._fed = len(raw)
        self.keeps_alive, self.http_1_0 = known.keeps_alive, known.http_1_0
        self.complete = not self._left
        return True

    def _take_body(self, data: bytes, at: int) -> int:
        sink = self.sink
        assert sink is not None
        end = at + self._left
        part = data[at:end]
        size = len(part)
        sink.parts.append(part)
        sink.size += size
        self._left -= size
        if not self._left:
            self.complete = sink.complete = True
        return at + size

    def _feed_chunks(self, data: bytes, at: int) -> int:
        sink = self.sink
        assert sink is not None
        before = sink.size
        end = self._border(data, at)
        self._execute(memoryview(data)[at:end])
        self._unfruitful = 0 if sink.size > before else self._unfruitful + end - at
        if self._unfruitful > self._bounds.line_bytes:
            raise malformed()  # an extension, or trailers, without end
        return end

    def _border(self, data: bytes, at: int) -> int:
        """Behind the next empty line, which may have begun in the segment before."""
        tail = self._tail
        if tail:
            seam = (tail + data[at : at + 3]).find(_EMPTY_LINE)
            if seam >= 0:
                self._tail = b""
                return at + seam + 4 - len(tail)
        found = data.find(_EMPTY_LINE, at)
        if found >= 0:
            self._tail = b""
            return found + 4
        self._tail = (tail + data[max(at, len(data) - 3) :])[-3:]
        return len(data)

    def _execute(self, piece: bytes | memoryview) -> None:
        if self._parser is None:
            self._parser = HttpRequestParser(self)
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            self._upgrade = True
        except HttpParserError:
            raise malformed() from None
        if self._overrun:
            raise malformed()

    def _finish_head(self) -> None:
        """llhttp has judged the head, and this reads it: in one go, for half of what a callback for
        each header costs. No line is folded, and none ends but in CRLF: that was refused."""
        raw = b"".join(self._pieces)
        text = raw.decode("latin-1")
        start = 0
        while text.startswith("\r\n", start):  # RFC 9112 section 2.2
            start += 2
        first, _, rest = text[start:-4].partition("\r\n")
        method, target, self.http_1_0 = request_line(first)
        headers, fields = header_lines(rest) if rest else ((), {})
        bounds = self._bounds
        if self._fed > self._short_bytes or len(headers) > bounds.header_count:
            measure(first, headers, bounds)  # else no line of it can be too long
        head = Head(method, target, headers, fields)
        screen(head, http_1_0=self.http_1_0)
        self._left = int(fields.get("content-length", 0))
        if self._upgrade:
            self._decline_upgrade("transfer-encoding" in fields)
        elif self._left:
            self._parser = None  # in the middle of a body that it will not see
        self._pieces.clear()
        self.head = self._known.learn(
            raw, head, keeps_alive=self.keeps_alive, http_1_0=self.http_1_0
        )

    def _decline_upgrade(self, chunked: bool) -> None:
        """No upgrade is taken, so what follows is the body (RFC 9110 section 7.8; Java's client
        sends one). httptools has given it up to the other protocol: another parser reads it."""
        self._upgrade = False
        self.complete = not (chunked or self._left)
        if chunked:
            self._parser = HttpRequestParser(self)
            self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: x\r\n" + _CHUNKED + _EMPTY_LINE)
        self.keeps_alive = False

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        if self.complete:
            self._overrun = True

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        self._head_is_over = True
        self.keeps_alive = parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        sink = self.sink
        assert sink is not None
        sink.parts.append(part)
        sink.size += len(part)

    def on_message_complete(self) -> None:
        self.complete = True
        if self.sink is not None:
            self.sink.complete = True
