"""How a body is kept as what it adds to an earlier one, and read back byte for byte.

Theory of operation. A body is recorded as ranges of its base's list and the bytes between them; its
head and tail are said to be the base's, or are given. All that is given is deflated together, with
what was recorded before it in the same history as a dictionary: the answer that the agent sends
back, the names of its tools, the frames of a stream. Such a window begins anew every so many
records, so that none takes longer than that to inflate. No record needs more to be made than the
base's mark (and, to be small, the window): who has neither records more, never wrongly.
"""

import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol

import msgspec
from xxhash import xxh3_64, xxh3_64_intdigest

from proxy.core.marks import (
    DIGEST_BYTES,
    NOTHING_KEPT,
    Mark,
    Recorded,
    borders_of,
    seed_name,
    unpack,
)
from proxy.core.request import Request

WINDOW_BYTES: Final = 16_384
"""On a real trajectory of 220 KB, against all of it compressed at once: 8 KB 1.47, 16 KB 1.29,
32 KB 1.19 of its size; 29 µs a record at level 3, and level 6 saved a tenth for a quarter more."""
MOST_DEPTH: Final = 64
LEVEL: Final = 3
LEVEL_OF_MUCH: Final = 2
_MUCH_BYTES = 16_384
"""The first 58 KB of a session take 250 µs at level 2 instead of 540, and 10 % more room."""
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


class Deflate(Protocol):
    """As of `zlib.compressobj`."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class Laid(msgspec.Struct, frozen=True, gc=False):
    """Where the list is in a body."""

    start: int
    end: int


class Basis(msgspec.Struct, frozen=True, gc=False):
    """What a body is told by. kept: bytes of the base's list that it begins with. head, tail:
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


class Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
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


class Answered(msgspec.Struct, frozen=True, array_like=True, gc=False):
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
    chain = request.history.chain
    return blake2b(chain, digest_size=DIGEST_BYTES).digest() if chain else b""


def digest_of(data: bytes) -> bytes:
    """What an event says of what is kept beside it."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def laid_of(request: Request, body: bytes) -> Laid:
    """Where its messages are; a body without a list of them is all head."""
    at = request.listed
    if 0 <= at < len(request.laid):
        member = request.laid[at]
        start, end = member.value_start, member.value_end + request.moved - 1
        if 0 <= start < end < len(body) and body[end] == _CLOSES:
            return Laid(start, end)
    return Laid(len(body), len(body))


def find(body: bytes, laid: Laid, recorded: Recorded, seed: int, key: bytes) -> tuple[Basis, Mark]:
    """What of the recorded requests a body goes on from, the most of it; and its own mark, but for
    digest and depth. key: names what is sealed with now; what was sealed otherwise is no base."""
    view = memoryview(body)
    size = laid.end - laid.start
    head = xxh3_64_intdigest(view[: laid.start], seed)
    tail = xxh3_64_intdigest(view[laid.end :], seed)
    own = tuple(borders_of(size))
    marks = _bases(recorded, key)
    places = set(own)
    for _, mark in marks:
        places.update([at for at in borders_of(mark.list_bytes) if at <= size])
    hashes = _hashed(view[laid.start : laid.end], sorted(places), seed)
    basis, most, goes_on = Basis(), _LEAST_SAVED_BYTES, False
    for call_id, mark in reversed(marks):
        kept = _kept(mark, hashes)
        same_head = mark.head == head and mark.head_bytes == laid.start
        same_tail = mark.tail == tail and mark.tail_bytes == len(body) - laid.end
        saved = kept + same_head * mark.head_bytes + same_tail * mark.tail_bytes
        if saved > most:
            basis, most = Basis(call_id, kept, same_head, same_tail), saved
            goes_on = 2 * kept >= mark.list_bytes and (kept > 0 or same_head)
    borders = tuple([hashes[at] for at in own])
    before = basis.base if goes_on else ""  # not of another history that is only framed alike
    sizes = (laid.start, size, len(body) - laid.end)
    return basis, Mark(NOTHING_KEPT, key, seed_name(seed), *sizes, head, tail, before, borders)


def bases_of(recorded: Recorded, mark: Mark) -> list[tuple[str, Mark]]:
    """What a body of this mark may be told by, newest first."""
    return _bases(recorded, mark.key)[::-1]


def framed(base: Mark, mark: Mark) -> tuple[bool, bool]:
    """Whether two bodies have one head, and one tail."""
    return (
        (base.head, base.head_bytes) == (mark.head, mark.head_bytes),
        (base.tail, base.tail_bytes) == (mark.tail, mark.tail_bytes),
    )


def _bases(recorded: Recorded, key: bytes) -> list[tuple[str, Mark]]:
    return [
        (call_id, mark)
        for call_id, packed in recorded
        if (mark := unpack(packed)) and _is_base(mark, key)
    ]


def _is_base(mark: Mark, key: bytes) -> bool:
    """Whether it can be read back by whoever has the key that is sealed with now."""
    return mark.digest != NOTHING_KEPT and mark.key == key


def _hashed(view: memoryview, places: Sequence[int], seed: int) -> Mapping[int, int]:
    """The hash of what comes before each of them."""
    hashing, hashes, at = xxh3_64(seed=seed), dict[int, int](), 0
    for place in places:
        hashing.update(view[at:place])
        hashes[place] = hashing.intdigest()
        at = place
    return hashes


def _kept(mark: Mark, hashes: Mapping[int, int]) -> int:
    for at, border in zip(borders_of(mark.list_bytes), mark.borders, strict=False):
        if hashes.get(at) == border:
            return at
    return 0


def told_by(
    body: bytes, laid: Laid, basis: Basis, window: Window | None, ranges: tuple[int, ...] = ()
) -> tuple[Told, Window]:
    """The record of a body, and the window after it. ranges: where they were found to be others
    than its beginning (`core.ranges`)."""
    ranges = ranges or (0, basis.kept, laid.end - laid.start - basis.kept)
    literal = _literal(body, laid, basis, ranges)
    head = SAME if basis.head else laid.start
    tail = SAME if basis.tail else len(body) - laid.end
    if window is None or window.depth >= MOST_DEPTH:
        return (
            Told(VERSION, basis.base, head, tail, ranges, UNPRIMED, deflated(literal)),
            Window(literal[-WINDOW_BYTES:], 0),
        )
    primed = BY_ANSWER if window.answered else BY_REQUEST
    return (
        Told(VERSION, basis.base, head, tail, ranges, primed, deflated(literal, window.data)),
        Window(grown(window.data, literal), window.depth + 1),
    )


def _literal(body: bytes, laid: Laid, basis: Basis, ranges: tuple[int, ...]) -> bytes:
    parts = [] if basis.head else [body[: laid.start]]
    at = laid.start
    for n in range(0, len(ranges), 3):
        at += ranges[n + 1]
        parts.append(body[at : at + ranges[n + 2]])
        at += ranges[n + 2]
    if not basis.tail:
        parts.append(body[laid.end :])
    return b"".join(parts)


def grown(window: bytes, literal: bytes) -> bytes:
    """A window after something more was recorded."""
    if len(literal) >= WINDOW_BYTES:
        return literal[-WINDOW_BYTES:]
    return window[len(literal) - WINDOW_BYTES :] + literal


def deflated(literal: bytes, window: bytes = b"") -> bytes:
    deflate = deflating(window, LEVEL if len(literal) < _MUCH_BYTES else LEVEL_OF_MUCH)
    return deflate.compress(literal) + deflate.flush()


def deflating(window: bytes, level: int = LEVEL) -> Deflate:
    """For what comes in pieces."""
    if window:
        return zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, window)
    return zlib.compressobj(level, zlib.DEFLATED, -15)


def encode(record: Told | Answered) -> bytes:
    return _encode(record)
