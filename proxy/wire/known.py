"""Heads that have been read before: clients send the same again, but for the content-length.

A head was judged by llhttp and screened; one that equals it in every byte beside the digits of its
length says the same, so it is neither parsed nor screened again. The key of a head is its bytes
without those digits, cut out at the first `ength: `. That place is in the key itself, so no two
heads that differ elsewhere have one key; and only where the digits cut out were the content-length,
or nothing was cut, is a head ever kept.

Bounded in number and size. A head holds a credential, which so stays in memory a while longer.
"""

from typing import Final

import msgspec

from proxy.wire import Head, Headers

MOST_BYTES: Final = 4_096
"""Of a head that is kept."""
_MOST_HEADS: Final = 256
_MARK: Final = b"ength: "
_LENGTH: Final = b"\r\ncontent-length: "
_MOST_DIGITS: Final = 15
_SPECIAL: Final = frozenset({"transfer-encoding", "upgrade", "expect"})
"""What has a head treated in a way of its own."""


class Known(msgspec.Struct, frozen=True):
    """A head with the content-length that it had first. place: of that among the headers."""

    head: Head
    digits: bytes
    place: int
    keeps_alive: bool
    http_1_0: bool

    def with_length(self, digits: bytes) -> Head:
        """The same head with another content-length."""
        headers, place = self.head.headers, self.place
        text = digits.decode()
        name = headers[place][0]
        changed: Headers = (*headers[:place], (name, text), *headers[place + 1 :])
        fields = {**self.head.fields, "content-length": text}
        return Head(self.head.method, self.head.target, changed, fields, self.head.same)


class KnownHeads:
    """Shared by the connections of a server. The oldest is forgotten for a new one."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def find(self, head: bytes) -> tuple[Known, Head, int] | None:
        """What is known of these bytes: a whole head, up to and with its empty line; with the head
        as it is here, and its content-length, or 0."""
        start = head.find(_MARK) + len(_MARK)
        if start < len(_MARK):
            known = self._known.get(head)
            return None if known is None else (known, known.head, 0)
        stop = head.find(b"\r", start)
        digits = head[start:stop]
        if not digits.isdigit() or stop - start > _MOST_DIGITS:
            return None
        known = self._known.get(head[:start] + head[stop:])
        if known is None:
            return None
        length = int(digits)
        if digits == known.digits:
            return known, known.head, length
        return known, known.with_length(digits), length

    def learn(self, raw: bytes, head: Head, *, keeps_alive: bool, http_1_0: bool) -> Head:
        """A head that was read and screened, with the bytes that it came as. Returns what stands
        for it from now on."""
        if len(raw) > MOST_BYTES or not head.fields.keys().isdisjoint(_SPECIAL):
            return head
        cut = _cut(raw, head) if "content-length" in head.fields else _uncut(raw)
        if cut is None:
            return head
        key, digits, place = cut
        kept = Head(head.method, head.target, head.headers, head.fields, {})
        while len(self._known) >= _MOST_HEADS:
            del self._known[next(iter(self._known))]
        self._known[key] = Known(kept, digits, place, keeps_alive, http_1_0)
        return kept


_Cut = tuple[bytes, bytes, int]


def _cut(raw: bytes, head: Head) -> _Cut | None:
    """The key of a head, its length, and where that stands; None if it is not told as usual."""
    start = raw.find(_MARK) + len(_MARK)
    stop = raw.find(b"\r", start)
    digits = raw[start:stop]
    line = raw[max(start - len(_LENGTH), 0) : start].lower()
    if line != _LENGTH or not digits.isdigit() or len(digits) > _MOST_DIGITS:
        return None
    place = next(i for i, (name, _) in enumerate(head.headers) if name.lower() == "content-length")
    return raw[:start] + raw[stop:], digits, place


def _uncut(raw: bytes) -> _Cut | None:
    """The same of a head without a length; None where another header would be taken for it."""
    return None if _MARK in raw else (raw, b"", 0)
