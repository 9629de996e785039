"""How a body is kept as what it adds to an earlier one, and read back byte for byte.

Theory of operation. A body is recorded as ranges of its base's list and the bytes between them; its
head and tail are said to be the base's, or are given. All that is given is deflated together, with
what was recorded before it in the same history as a dictionary: the answer that the agent sends
back, the names of its tools, the frames of a stream. Such a window begins anew every so many
records, so that none takes longer than that to inflate. No record needs more to be made than the
base's fingerprint (and, to be small, the window): who has neither records more, never wrongly.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from proxy.core.fingerprints import (
    DIGEST_BYTES,
    NOTHING_KEPT,
    Fingerprint,
    Recorded,
    borders_of,
    seed_name,
    unpack,
)
from proxy.core.prefixes import Prefixes
from proxy.core.request import Request

WINDOW_BYTES: Final = 16_384
"""A record of a real trajectory of 220 KB has 401 bytes with 4 KB, 330 with 8 KB, 282 with 16 KB,
for 11, 13 and 15 µs."""
MOST_DEPTH: Final = 64
VERSION: Final = 1
_LEAST_SAVED_BYTES = 64
_CLOSES = ord("]")
SAME: Final = -1

Primed = int
UNPRIMED: Final = 0
BY_REQUEST: Final = 1
BY_ANSWER: Final = 2
"""What a record was inflated with: nothing, the window at the end of its base's request, or of the
base's answer. Of an answer: the window at the end of its own request."""


Deflated = Callable[[bytes, bytes], bytes]
"""Deflates a literal, primed with a window."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """Where the list is in a body."""

    start: int
    end: int


class Overlap(msgspec.Struct, frozen=True, gc=False):
    """What a body has of its base. kept: bytes of the base's list that it begins with. head, tail:
    whether they are the base's."""

    base: str = ""
    kept: int = 0
    head: bool = False
    tail: bool = False


class Window(msgspec.Struct, frozen=True, gc=False):
    """What the next record of a history may be primed with. answered: up to the answer."""

    data: bytes
    depth: int
    answered: bool = False


class RequestDelta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The record of a request. head, tail: bytes of the literal that they take, -1: the base's.
    ranges: offset and length in the base's list, and length in the literal of what follows, again
    and again. primed: see `Primed`. deflated: the literal."""

    version: int
    base: str
    head: int
    tail: int
    ranges: tuple[int, ...]
    primed: Primed
    deflated: bytes


class PackedAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The record of an answer. deflated: `head` bytes of headers, and the body."""

    version: int
    primed: Primed
    status: int
    stream: bool
    head: int
    deflated: bytes


_encode = msgspec.msgpack.Encoder().encode


def chain_of(request: Request) -> bytes:
    """16 bytes over the canonical history: equal for one conversation, however it is spelled."""
    history = request.history
    if not history.chain:
        return b""
    size, state = history.digested
    digesting = blake2b(digest_size=DIGEST_BYTES) if state is None else state.copy()
    digesting.update(memoryview(history.chain)[size:])
    history.digested = (len(history.chain), digesting)
    return digesting.digest()


def digest_of(data: bytes) -> bytes:
    """What an event says of what is kept beside it."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def span_of(request: Request, body: bytes) -> Span:
    """Where its messages are; a body without a list of them is all head."""
    at = request.listed
    if 0 <= at < len(request.laid):
        member = request.laid[at]
        start, end = member.value_start, member.value_end + request.moved - 1
        if 0 <= start < end < len(body) and body[end] == _CLOSES:
            return Span(start, end)
    return Span(len(body), len(body))


def prefixes_of(request: Request, body: bytes) -> Prefixes:
    """What has been hashed of a body, or of the one that it goes on from."""
    past = request.learned.past if request.learned is not None else None
    return past.prefixes if past is not None and past.body is body else Prefixes()


def find(
    body: bytes, span: Span, recorded: Recorded, seed: int, key: bytes, prefixes: Prefixes
) -> tuple[Overlap, Fingerprint]:
    """What of the recorded requests a body goes on from, the most of it; and its own fingerprint,
    but for the digest. key: names what is sealed with now; what was sealed otherwise is no base."""
    view = memoryview(body)
    size = span.end - span.start
    head = xxh3_64_intdigest(view[: span.start], seed)
    tail = xxh3_64_intdigest(view[span.end :], seed)
    listed, own = view[span.start : span.end], borders_of(size)
    framed_by = (head, span.start, tail, len(body) - span.end)
    bases = _bases(recorded, key)
    known = prefixes.begin(span.start, seed)
    hashes = prefixes.hash(listed, own if known else {*own, *_places(bases, size)})
    found = _most(bases, framed_by, hashes)
    if known and (left := _places(_better(bases, found[1]), size)):
        found = _most(bases, framed_by, prefixes.hash(listed, left))
    overlap, _, base = found
    borders = tuple([hashes[at] for at in own])
    prefixes.shorten(own)
    sizes = (span.start, size, len(body) - span.end)
    named = (NOTHING_KEPT, key, seed_name(seed))
    return overlap, Fingerprint(*named, *sizes, head, tail, base, borders)


_Framed = tuple[int, int, int, int]
"""Hash and size of a body's head, and of its tail."""


def _most(
    bases: Sequence[tuple[str, Fingerprint]], framed_by: _Framed, hashes: Mapping[int, int]
) -> tuple[Overlap, int, str]:
    """The base that saves most, as far as these hashes tell; so many bytes; and the same base if
    it is its history that goes on, and not another one that is only framed alike."""
    overlap, most, goes_on = Overlap(), _LEAST_SAVED_BYTES, ""
    for call_id, base in reversed(bases):
        kept = _kept(base, hashes)
        same_head, same_tail = _framed(base, framed_by)
        saved = kept + same_head * base.head_bytes + same_tail * base.tail_bytes
        if saved > most:
            overlap, most = Overlap(call_id, kept, same_head, same_tail), saved
            goes_on = call_id if 2 * kept >= base.list_bytes and (kept > 0 or same_head) else ""
    return overlap, most, goes_on


def _better(bases: Sequence[tuple[str, Fingerprint]], most: int) -> list[tuple[str, Fingerprint]]:
    """Those that may save more than so many bytes."""
    return [
        (call_id, base)
        for call_id, base in bases
        if base.list_bytes + base.head_bytes + base.tail_bytes > most
    ]


def _framed(base: Fingerprint, framed_by: _Framed) -> tuple[bool, bool]:
    """Whether a body has its head, and its tail."""
    head, head_bytes, tail, tail_bytes = framed_by
    return (
        base.head == head and base.head_bytes == head_bytes,
        base.tail == tail and base.tail_bytes == tail_bytes,
    )


def _places(bases: Sequence[tuple[str, Fingerprint]], size: int) -> list[int]:
    """Up to where a list of this size has to be hashed, to be compared with them."""
    return [at for _, base in bases for at in borders_of(base.list_bytes) if at <= size]


def bases_of(recorded: Recorded, fingerprint: Fingerprint) -> list[tuple[str, Fingerprint]]:
    """What a body of this fingerprint may have for a base, newest first."""
    return _bases(recorded, fingerprint.key)[::-1]


def framed(base: Fingerprint, fingerprint: Fingerprint) -> tuple[bool, bool]:
    """Whether two bodies have one head, and one tail."""
    head, tail = fingerprint.head, fingerprint.tail
    return _framed(base, (head, fingerprint.head_bytes, tail, fingerprint.tail_bytes))


def _bases(recorded: Recorded, key: bytes) -> list[tuple[str, Fingerprint]]:
    return [
        (call_id, fingerprint)
        for call_id, packed in recorded
        if (fingerprint := unpack(packed)) and _is_base(fingerprint, key)
    ]


def _is_base(fingerprint: Fingerprint, key: bytes) -> bool:
    """Whether it can be read back by whoever has the key that is sealed with now."""
    return fingerprint.digest != NOTHING_KEPT and fingerprint.key == key


def _kept(fingerprint: Fingerprint, hashes: Mapping[int, int]) -> int:
    """How much of its base's list a body begins with: mostly all of it, which is asked first."""
    if hashes.get(fingerprint.list_bytes) in fingerprint.borders[:1]:
        return fingerprint.list_bytes
    for at, border in zip(borders_of(fingerprint.list_bytes), fingerprint.borders, strict=False):
        if hashes.get(at) == border:
            return at
    return 0


def delta_of(
    body: bytes,
    span: Span,
    overlap: Overlap,
    window: Window | None,
    deflated: Deflated,
    ranges: tuple[int, ...] = (),
) -> tuple[RequestDelta, Window]:
    """The record of a body, and the window after it. ranges: where they were found to be others
    than its beginning (`core.ranges`)."""
    ranges = ranges or (0, overlap.kept, span.end - span.start - overlap.kept)
    literal = _literal(body, span, overlap, ranges)
    head = SAME if overlap.head else span.start
    tail = SAME if overlap.tail else len(body) - span.end
    if window is None or window.depth >= MOST_DEPTH:
        return (
            RequestDelta(
                VERSION, overlap.base, head, tail, ranges, UNPRIMED, deflated(literal, b"")
            ),
            Window(literal[-WINDOW_BYTES:], 0),
        )
    primed = BY_ANSWER if window.answered else BY_REQUEST
    return (
        RequestDelta(
            VERSION, overlap.base, head, tail, ranges, primed, deflated(literal, window.data)
        ),
        Window(grown(window.data, literal), window.depth + 1),
    )


def _literal(body: bytes, span: Span, overlap: Overlap, ranges: tuple[int, ...]) -> bytes:
    parts = [] if overlap.head else [body[: span.start]]
    at = span.start
    for n in range(0, len(ranges), 3):
        at += ranges[n + 1]
        parts.append(body[at : at + ranges[n + 2]])
        at += ranges[n + 2]
    if not overlap.tail:
        parts.append(body[span.end :])
    return b"".join(parts)


def grown(window: bytes, literal: bytes) -> bytes:
    """A window after something more was recorded."""
    if len(literal) >= WINDOW_BYTES:
        return literal[-WINDOW_BYTES:]
    return window[len(literal) - WINDOW_BYTES :] + literal


def encode(record: RequestDelta | PackedAnswer) -> bytes:
    return _encode(record)
