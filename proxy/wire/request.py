"""A request as it goes out: its head, byte for byte as asked, with the framing that is ours."""

from typing import Final

import msgspec

from proxy.wire import Headers, Outgoing
from proxy.wire.head import rendered
from proxy.wire.headers import get

_NEED_NO_LENGTH: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "DELETE"})
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding"})
_NAMES_KEPT: Final = 1_024
_NAME_LENGTH: Final = 64


class _Written(msgspec.Struct, frozen=True):
    """A head that was written: of what, and its bytes up to the digits of its length."""

    line: tuple[str, str]
    own: Headers
    given: Headers
    start: bytes


class RequestHeads:
    """Writes the heads of a pool's requests. Remembers the names that it has met: looking at each
    of a dozen in lower case would take a third of the time. Where the request says that its headers
    come again, all of its head but the length is remembered beside them."""

    def __init__(self) -> None:
        self._not_ours: set[str] = set()

    def of(self, request: Outgoing, target: str, own: Headers) -> bytes:
        """`own` goes before what was given. Raises ValueError for a line break in a header."""
        same, body = request.same, request.body
        if same is None or not isinstance(body, bytes) or not body:
            return self._written(request, target, own)
        written = same.get(RequestHeads)
        if (
            not isinstance(written, _Written)
            or written.given is not request.headers
            or written.own is not own
            or written.line != (request.method, target)
        ):
            whole = self._written(request, target, own)
            start = whole.removesuffix(b"%d\r\n\r\n" % len(body))
            written = _Written((request.method, target), own, request.headers, start)
            same[RequestHeads] = written
        return b"%b%d\r\n\r\n" % (written.start, len(body))

    def _written(self, request: Outgoing, target: str, own: Headers) -> bytes:
        given = request.headers
        for name, _ in given:
            if name not in self._not_ours:
                given = self._without_ours(given)
                break
        return rendered(f"{request.method} {target} HTTP/1.1", (*own, *given, *_framing(request)))

    def _without_ours(self, given: Headers) -> Headers:
        """Where a message goes and where it ends is said once: a relayed header beside ours would
        make two messages of it to somebody."""
        kept = tuple(header for header in given if header[0].lower() not in _OURS)
        if len(self._not_ours) < _NAMES_KEPT:
            self._not_ours.update(name for name, _ in kept if len(name) <= _NAME_LENGTH)
        return kept


def announced_length(request: Outgoing) -> int | None:
    """The length that a body in parts has to keep to; without one it goes in chunks."""
    length = get(request.headers, "content-length")
    return None if length is None else int(length)


def _framing(request: Outgoing) -> Headers:
    body = request.body
    if isinstance(body, bytes):
        if body or request.method not in _NEED_NO_LENGTH:
            return (("content-length", str(len(body))),)
        return ()
    length = announced_length(request)
    if length is None:
        return (("transfer-encoding", "chunked"),)
    return (("content-length", str(length)),)
