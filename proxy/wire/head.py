"""Heads between bytes and text: one character a byte (ISO 8859-1), so that any value survives."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from proxy.wire import Headers

_FRAMING: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})
_NAMES_KEPT: Final = 1_024
_NAME_LENGTH: Final = 64
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}


def header_lines(text: str) -> tuple[Headers, dict[str, str]]:
    """Headers, in lines that are known to be well formed, and the first value of each by lower-case
    name."""
    usual = not ("  " in text or "\t" in text or " \r" in text or text.endswith(" "))
    headers = []
    fields: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, separator, value = line.partition(": ")
        if not (usual and separator) or ":" in name:
            name, _, value = line.partition(":")
            value = value.strip(" \t")
        headers.append((name, value))
        fields.setdefault(name.lower(), value)
    return tuple(headers), fields


def status_line(status: int) -> str:
    """The first line of an answer; an unknown status has an empty reason."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} "


def rendered(first_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of a head, with its empty line.

    Raises ValueError for a line break or NUL within a line: it would be another header, or another
    message, to whoever reads it.
    """
    return _joined([first_line, *map(": ".join, headers)])


class AnswerHeads:
    """Writes the heads of answers, without what was said of their framing and with what is so.
    Remembers the names that say nothing of it: to look at each in lower case takes as long as all
    the rest."""

    def __init__(self) -> None:
        self._plain: set[str] = set()

    def of(self, status: int, headers: Headers, own: Iterable[str], *, length: bool) -> bytes:
        """`own`: lines that go last. length: whether a content-length that is given stands. Raises
        ValueError as `rendered`."""
        plain = self._plain
        lines = [_STATUS_LINES.get(status) or status_line(status)]
        for header in headers:
            name = header[0]
            if name in plain or self._stands(name, length):
                lines.append(": ".join(header))
        lines += own
        return _joined(lines)

    def _stands(self, name: str, length: bool) -> bool:
        lower = name.lower()
        if lower == "content-length":
            return length
        if lower in _FRAMING:
            return False
        if len(name) <= _NAME_LENGTH and len(self._plain) < _NAMES_KEPT:
            self._plain.add(name)
        return True


def _joined(lines: list[str]) -> bytes:
    unbroken = "".join(lines)  # three searches: counting breaks in `text` takes three times as long
    if "\n" in unbroken or "\r" in unbroken or "\0" in unbroken:
        raise ValueError("a header holds a line break or NUL")
    lines += ("", "")
    try:
        return "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError:  # ours, not relayed: what came from the wire has no such character
        return b"\r\n".join(map(_encoded, lines))


def _encoded(line: str) -> bytes:
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode()


def origin_form(target: str) -> str:
    """A request target as path and query: an absolute form (RFC 9112 section 3.2.2) loses its
    scheme and authority."""
    if target.startswith("/") or target == "*":
        return target
    rest = target.partition("://")[2]
    start = next((i for i, character in enumerate(rest) if character in "/?"), len(rest))
    path = rest[start:]
    return path if path.startswith("/") else f"/{path}"
