"""Heads between bytes and text: one character a byte (ISO 8859-1), so that any value survives."""

from collections.abc import Iterable
from http import HTTPStatus

from proxy.wire import Headers

_BREAKS = frozenset("\r\n\0")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Header bytes as text that `rendered` turns into the same bytes again."""
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)


def status_line(status: int) -> str:
    """The first line of an answer; an unknown status has an empty reason."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} "


def rendered(first_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of a head, with its empty line.

    Raises ValueError for a line break or NUL within a line: it would be another header, or another
    message, to whoever reads it.
    """
    lines = [first_line, *map(": ".join, headers)]
    if not (line := "".join(lines)).isprintable() and not _BREAKS.isdisjoint(line):
        raise ValueError("a header holds a line break or NUL")
    text = "\r\n".join((*lines, "", ""))
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:  # ours, not relayed: what came from the wire has no such character
        return b"\r\n".join(map(_encoded, (*lines, "", "")))


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
