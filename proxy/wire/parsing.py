"""A provider's answer from bytes to its head and the pieces of its body. No I/O, no waiting.

llhttp (httptools) parses, at its strictest: bare CR or LF, NUL, a folded header, a second or an
unreadable length, a length beside a coding: each is malformed. What it lets pass and we do not:

- a coding other than `chunked`, once: its header ends here, and nobody could read the body;
- statuses below 100, versions other than 1.0 and 1.1;
- heads and trailers without end: httptools copies an unfinished header at each segment.

What follows a whole answer is not parsed as one: `extra` says that the connection cannot be trusted
with another request.
"""

from collections.abc import Callable
from typing import Final

from httptools import HttpParserError, HttpResponseParser

from proxy.wire import Headers

_BARREN_BYTES: Final = 65_536
"""So much may come without a byte of body: a head with its interim answers, or trailers."""

_FIELDS: Final = 256
_NAMES_KEPT: Final = 1_024
_NAME_BYTES: Final = 64
_VERSIONS: Final = frozenset({"1.0", "1.1"})


class MalformedAnswer(Exception):
    """What came is no answer, or could be read in two ways. The text says why."""


class AnswerParser:
    """One answer. `parse` takes what arrives; `pieces` is emptied by whoever takes the body.

    `names` is a cache of header names, shared among answers. `bodiless`: the answer to a HEAD or a
    CONNECT, whose headers may announce a body that does not come.
    """

    __slots__ = (
        "_barren_bytes",
        "_chunked",
        "_feed_data",
        "_fields",
        "_llhttp",
        "_names",
        "_unparsed",
        "extra",
        "headers",
        "keeps_alive",
        "on_body",
        "pieces",
        "status",
        "whole",
    )

    def __init__(self, names: dict[bytes, str], *, bodiless: bool) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.pieces: list[bytes] = []
        self.whole = False
        self.extra = False
        self.keeps_alive = False
        self.on_body: Callable[[bytes], None] = self.pieces.append
        self._names = names
        self._unparsed = b""
        self._fields: list[tuple[str, str]] = []
        self._chunked = False
        self._barren_bytes = 0
        parser = HttpResponseParser(self)
        self._llhttp: HttpResponseParser | None = parser
        self._feed_data: Callable[[bytes], None] | None = (
            self._parse_heads if bodiless else parser.feed_data
        )

    def parse(self, data: bytes) -> None:
        """Takes the next segment. Raises MalformedAnswer; what came before it is in `pieces`."""
        count = len(self.pieces)
        self._barren_bytes += len(data)
        assert self._feed_data is not None
        try:
            self._feed_data(data)
        except HttpParserError as exc:
            if self.whole:
                self.extra = True
            elif exc.__context__ is not None:  # raised in a callback, and wrapped by httptools
                raise exc.__context__ from None
            else:
                raise MalformedAnswer(str(exc)) from exc
        if len(self.pieces) > count:
            self._barren_bytes = 0
        elif self._barren_bytes > _BARREN_BYTES and not self.whole:
            raise MalformedAnswer("headers without end")

    def ends_by_close(self) -> bool:
        """Whether the end of the connection is the end of this answer."""
        if self.status == 0 or self._chunked:
            return False
        return all(name.lower() != "content-length" for name, _ in self.headers)

    def done(self) -> None:
        """Parses no more. (The parser and its callbacks hold each other.)"""
        self._llhttp = self._feed_data = None

    def on_message_begin(self) -> None:
        if self.whole:
            raise MalformedAnswer("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        text = self._names.get(name) or self._new_name(name, value)
        self._fields.append((text, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        parser = self._llhttp
        assert parser is not None
        status = parser.get_status_code()
        if parser.get_http_version() not in _VERSIONS:
            raise MalformedAnswer("a version of HTTP that nobody spoke")
        if status < 200:
            if status < 100 or status == 101:
                raise MalformedAnswer(f"status {status:03}")
            self._fields.clear()
            self._chunked = False
            return
        if len(self._fields) > _FIELDS or self._is_too_long():
            raise MalformedAnswer("a head that is too large")
        self.status = status
        self.headers = tuple(self._fields)
        self.keeps_alive = parser.should_keep_alive()

    def on_message_complete(self) -> None:
        if self.status:
            self.whole = True

    def _new_name(self, name: bytes, value: bytes) -> str:
        """A name met for the first time; the one that matters here is never kept."""
        text = name.decode("latin-1")
        if text.lower() == "transfer-encoding":
            if self._chunked or value.lower() != b"chunked":
                raise MalformedAnswer("a transfer coding other than chunked")
            self._chunked = True
        elif len(self._names) < _NAMES_KEPT and len(name) <= _NAME_BYTES:
            self._names[name] = text
        return text

    def _is_too_long(self) -> bool:
        """One segment may hold more than the bound; whether its head does is counted only then."""
        if self._barren_bytes <= _BARREN_BYTES:
            return False
        return sum(len(name) + len(value) + 4 for name, value in self._fields) > _BARREN_BYTES

    def _parse_heads(self, data: bytes) -> None:
        """llhttp would wait for the body: it is given lines, and nothing behind the empty one."""
        parser = self._llhttp
        assert parser is not None
        self._unparsed += data
        while not self.status and (end := self._unparsed.find(b"\n") + 1):
            parser.feed_data(self._unparsed[:end])
            self._unparsed = self._unparsed[end:]
        if self.status:
            self.whole = True
            self.extra = self._unparsed != b""
