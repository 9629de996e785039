"""What earlier bodies were read as: agents send their whole history with every request.

Theory of operation. A part of a body (a message, the list of tools) is known by a digest of its
bytes, under a seed that no client knows. A whole body is known by its *trail* where it goes on from
an earlier one: it begins like that, up to the end of some message, and ends like that, from the end
of the messages on. JSON is read from left to right: if what lies between is whole messages and
nothing else, then all around them means what it meant. For that, bytes are compared; digests only
say with which.

`parse` only looks here. What it met for the first time goes with its request (`Request.learned`)
and is kept when that has been answered. So reading stays pure and may run on a thread; and what
nobody pays for (a made-up key, a refused body) pushes nothing out. Of parts there are two
generations: what is met again moves to the young one, and when that is full the old one goes.
Trails go in the order in which they were last gone on with.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Literal, get_args

import xxhash

from proxy.core.request import Learned, Past, Piece, Trail
from proxy.core.usage import ToolCall

MEMO_BYTES = 32 * 1024 * 1024
"""Some 250 conversations of 60 KB, or 40 of 400 KB; what is not known is read again."""

Kind = Literal[
    "chat",
    "chat tools",
    "messages",
    "system",
    "tools",
    "input",
    "input tools",
    "instructions",
    "together",
]
"""What a part is read as: the same bytes may say something else elsewhere."""

_NUMBERS: Mapping[Kind, int] = {kind: number for number, kind in enumerate(get_args(Kind))}
_OVERHEAD_BYTES = 120
"""Of a piece, a message and a call each, with place and digest: 105 to 115 were measured."""
_SHARE = 8
_SIZES = tuple(quarter << octave for octave in range(10, 22) for quarter in (4, 5, 6, 7))
"""Of the beginnings that a body is found by: so near that conversations soon part between two."""
_BEGINNINGS_KEPT = 256


class Memo:
    """Read by every parse, written by the event loop alone. A pure cache: a body is read as the
    same whatever is in it.

    limit_bytes: what it comes to at most, half of it for trails; one request adds an eighth at
    most. seed: random, of 64 bits.
    """

    def __init__(self, limit_bytes: int, seed: int) -> None:
        self._seed = seed
        self._half = limit_bytes // 2
        self._share = limit_bytes // _SHARE
        self._young: dict[bytes, Piece] = {}
        self._old: dict[bytes, Piece] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._by_beginning: dict[bytes, Trail] = {}
        self._trails: dict[Trail, None] = {}
        self._trail_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About what it holds."""
        return self._young_bytes + self._old_bytes + self._trail_bytes

    def seed(self, kind: Kind, depth: int) -> int:
        """The seed of the digests that such parts are known by, where JSON may nest that deep."""
        return (self._seed + _NUMBERS[kind] + (depth << 8)) % 2**64

    @property
    def young(self) -> Mapping[bytes, Piece]:
        """What has been met of late."""
        return self._young

    def older(self, key: bytes) -> Piece | None:
        """What has not been met of late: to be kept again."""
        return self._old.get(key)

    def trail(self, body: bytes, seed: int) -> tuple[Trail | None, tuple[bytes, ...]]:
        """The conversation that has begun like this body for the longest; and the beginnings that
        it was looked up by, the longest first. Nothing of a body too small or too large to keep.
        """
        if not _SIZES[0] <= len(body) <= self._share:
            return None, ()
        view = memoryview(body)
        beginnings: list[bytes] = []
        for size in reversed(_SIZES[: bisect_right(_SIZES, len(body))]):
            beginnings.append(xxhash.xxh3_128_digest(view[:size], seed))
            if trail := self._by_beginning.get(beginnings[-1]):
                return trail, tuple(beginnings)
        return None, tuple(beginnings)

    def keep(self, learned: Learned) -> None:
        """Remembers what an answered request was read as."""
        share = self._share
        for key, piece in learned.pieces:
            size = size_of(piece)
            share -= size
            if share < 0:
                return
            if key not in self._young:
                self._keep_piece(key, piece, size)
        if learned.past is not None and bytes_of(learned.past) < share:
            self._keep_past(learned.past, learned)

    def _keep_piece(self, key: bytes, piece: Piece, size: int) -> None:
        if self._young_bytes + size > self._half // 2:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = piece
        self._young_bytes += size

    def _keep_past(self, past: Past, learned: Learned) -> None:
        trail = learned.trail
        if trail in self._trails and len(trail.beginnings) < _BEGINNINGS_KEPT:
            self._trail_bytes -= trail.size_bytes
            del self._trails[trail]
            trail.past = past
        else:
            trail = Trail(past)
        for beginning in learned.beginnings:
            if self._by_beginning.get(beginning) is not trail:
                self._by_beginning[beginning] = trail
                trail.beginnings.append(beginning)
        trail.size_bytes = bytes_of(past) + _OVERHEAD_BYTES * len(trail.beginnings)
        self._trail_bytes += trail.size_bytes
        self._trails[trail] = None
        while self._trail_bytes > self._half:
            self._forget(next(iter(self._trails)))

    def _forget(self, trail: Trail) -> None:
        del self._trails[trail]
        self._trail_bytes -= trail.size_bytes
        for beginning in trail.beginnings:
            if self._by_beginning.get(beginning) is trail:
                del self._by_beginning[beginning]


def bytes_of(past: Past) -> int:
    """About the bytes that an earlier body takes in memory, beside its pieces."""
    listed = past.places[past.at]
    others = len(past.body) - (listed.value_end - listed.value_start)
    return len(past.body) + others + _OVERHEAD_BYTES * (len(past.places) + len(past.keys))


def size_of(piece: Piece) -> int:
    """About the bytes that a piece takes in memory."""
    size = _OVERHEAD_BYTES + sum(map(str.__sizeof__, piece.names))
    for message in piece.messages:
        size += _OVERHEAD_BYTES + message.text.__sizeof__() + len(message.tool_result_id or "")
        size += sum(map(_call_bytes, message.tool_calls))
    if piece.saying is not None:
        size += piece.saying.text.__sizeof__() + sum(map(len, piece.saying.attachments))
        size += _call_bytes(piece.saying.tool_call) if piece.saying.tool_call is not None else 0
    return size


def _call_bytes(call: ToolCall) -> int:
    told = (call.call_id, call.name, call.arguments)
    return _OVERHEAD_BYTES + sum(map(str.__sizeof__, told))
