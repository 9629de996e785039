"""What earlier bodies were read as: agents send their whole history with every request.

Theory of operation. JSON is read from left to right: if a body begins like a known one, up to some
place in it, then from there on it is read as that was; and what stands there decides, not how much
came before. Three things are known by that:

- A *frame* is a body without its conversation. One that begins and ends like it, with a list of
  messages in between and nothing else, says the same around them.
- A *trail* is a conversation. A body that begins like its latest one, up to the end of some
  message, has all messages before that place in common with it.
- A *part* (the list of tools, the system's prompt) is known by a digest of its bytes, under a seed
  that no client knows.

For frames and trails bytes are compared; digests only say with which.

`parse` only looks here. What it met for the first time goes with its request (`Request.learned`)
and is kept when that has been answered. So reading stays pure and may run on a thread; and what
nobody pays for (a made-up key, a refused body) pushes nothing out. Of parts there are two
generations: what is met again moves to the young one, and when that is full the old one goes.
Frames and trails go in the order in which they were last met.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal, cast, get_args

import xxhash

from proxy.core.request import Element, Frame, Learned, Message, Past, Piece, Trail
from proxy.core.usage import ToolCall

MEMO_BYTES = 32 * 1024 * 1024
"""Some 180 conversations of 60 KB, or 25 of 400 KB; what is not known is read again."""
_SESSION_BYTES = 64 * 1024

Kind = Literal[
    "chat",
    "chat tools",
    "messages",
    "system",
    "tools",
    "input",
    "input tools",
    "instructions",
]
"""What a part is read as: the same bytes may say something else elsewhere."""

_NUMBERS: Mapping[Kind, int] = {kind: number for number, kind in enumerate(get_args(Kind))}
_OVERHEAD_BYTES = 200
"""Of a part, a message and a call each, with its digest, beside its texts."""
_TEXT_BYTES = 50
_HASHED_BYTES = 4_000
"""`Past.prefixes`."""
_BEGINNING_BYTES = 120
_SIZES = tuple(quarter << octave for octave in range(10, 22) for quarter in (4, 5, 6, 7))
"""Of the beginnings that a body is found by: so near that conversations soon part between two."""
_BEGINNINGS_KEPT = 256
_FRONT_BYTES = 10
_BACK_BYTES = 32
_FRAMES_ALIKE = 4
"""Frames kept that are looked up by the same: their fronts, and their backs if long enough."""
_Ends = tuple[str, bytes, bytes]


def memo_bytes(sessions: int) -> int:
    """How large a memo is of use where so many sessions are kept at hand."""
    return min(MEMO_BYTES, sessions * _SESSION_BYTES)


class Memo:
    """Read by every parse, written by the event loop alone. A pure cache: a body is read as the
    same whatever is in it.

    limit_bytes: what it comes to at most: a quarter is for parts, an eighth for frames, the rest
    for trails; one request adds an eighth of it at most to trails, a sixteenth to each of the
    others. seed: random, of 64 bits.
    """

    def __init__(self, limit_bytes: int, seed: int) -> None:
        self._seed = seed
        self._limit = limit_bytes
        self._young: dict[bytes, Piece] = {}
        self._old: dict[bytes, Piece] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._frames: dict[_Ends, tuple[Frame, ...]] = {}
        self._frame_bytes = 0
        self._by_beginning: dict[bytes, Trail] = {}
        self._first: dict[bytes, int] = {}
        self._trails: dict[Trail, None] = {}
        self._trail_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About what it holds."""
        return self._young_bytes + self._old_bytes + self._frame_bytes + self._trail_bytes

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

    def frame(self, kind: Kind, body: bytes, bounds: object) -> Frame | None:
        """The frame that this body has, if it is known."""
        front = body[:_FRONT_BYTES]
        found = self._frames.get((kind, front, body[-_BACK_BYTES:]))
        if found is None:
            found = self._frames.get((kind, front, b""), ())
        for frame in found:
            if fits(frame, body, bounds):
                return frame
        return None

    def trail(self, body: bytes, seed: int) -> tuple[Trail | None, int]:
        """The conversation that has begun like this body for the longest, and for how long; None of
        a body too small or too large to keep."""
        size = len(body)
        if size < _SIZES[0] or xxhash.xxh3_128_digest(body[: _SIZES[0]], seed) not in self._first:
            return None, 0
        view = memoryview(body)
        for at in range(bisect_right(_SIZES, size) - 1, -1, -1):
            beginning = xxhash.xxh3_128_digest(view[: _SIZES[at]], seed)
            if trail := self._by_beginning.get(beginning):
                return trail, _SIZES[at]
        return None, 0

    def keep(self, learned: Learned) -> None:
        """Remembers what an answered request was read as."""
        if learned.pieces:
            self._keep_pieces(learned.pieces)
        if learned.frame is not None:
            self._keep_frame(learned.frame)
        past = learned.past
        if past is not None and bytes_of(past) < self._limit // 8:
            self._keep_past(past, learned)

    def _keep_pieces(self, pieces: tuple[tuple[bytes, Piece], ...]) -> None:
        share = self._limit // 16
        for key, piece in pieces:
            size = size_of(piece)
            share -= size
            if share < 0:
                return
            if key in self._young:
                continue
            if self._young_bytes + size > self._limit // 8:
                self._old, self._old_bytes = self._young, self._young_bytes
                self._young, self._young_bytes = {}, 0
            self._young[key] = piece
            self._young_bytes += size

    def _keep_frame(self, frame: Frame) -> None:
        ends = _ends_of(frame)
        there = self._frames.get(ends, ())
        if frame not in there:
            if _frame_bytes(frame) > self._limit // 16:
                return
            others = [other for other in there if not _alike(other, frame)]
            kept = (frame, *others[: _FRAMES_ALIKE - 1])
            self._frame_bytes += sum(map(_frame_bytes, kept)) - sum(map(_frame_bytes, there))
            there = kept
        self._frames.pop(ends, None)  # met last: they go last
        self._frames[ends] = there
        while self._frame_bytes > self._limit // 8:
            oldest = self._frames.pop(next(iter(self._frames)))
            self._frame_bytes -= sum(map(_frame_bytes, oldest))

    def _keep_past(self, past: Past, learned: Learned) -> None:
        trail = learned.trail
        if trail in self._trails and len(trail.beginnings) < _BEGINNINGS_KEPT:
            self._trail_bytes -= trail.size_bytes
            del self._trails[trail]
            trail.past = past
            found_by = _longer_beginnings(past.body, learned)
        else:
            found_by = _beginnings(past.body, learned)
            trail = Trail(past, found_by[0])
            self._first[trail.first] = self._first.get(trail.first, 0) + 1
        for beginning in found_by:
            if self._by_beginning.get(beginning) is not trail:
                self._by_beginning[beginning] = trail
                trail.beginnings.append(beginning)
        trail.size_bytes = bytes_of(past) + _BEGINNING_BYTES * len(trail.beginnings)
        self._trail_bytes += trail.size_bytes
        self._trails[trail] = None
        while self._trail_bytes > self._limit * 5 // 8:
            self._forget(next(iter(self._trails)))

    def _forget(self, trail: Trail) -> None:
        del self._trails[trail]
        self._trail_bytes -= trail.size_bytes
        if self._first[trail.first] == 1:
            del self._first[trail.first]
        else:
            self._first[trail.first] -= 1
        for beginning in trail.beginnings:
            if self._by_beginning.get(beginning) is trail:
                del self._by_beginning[beginning]


def fits(frame: Frame, body: bytes, bounds: object) -> bool:
    """Whether a body has this frame, if what lies between is a list. bounds: that it is held to."""
    return (
        len(body) >= len(frame.head) + len(frame.tail)
        and body.startswith(frame.head)
        and body.endswith(frame.tail)
        and (frame.bounds is bounds or frame.bounds == bounds)
    )


def _beginnings(body: bytes, learned: Learned) -> list[bytes]:
    """Digests of all beginnings of a body that is of a trail of its own, the shortest first."""
    view, at = memoryview(body), 0
    hasher = xxhash.xxh3_128(seed=learned.seed)
    found = []
    for size in _SIZES[: bisect_right(_SIZES, len(body))]:
        hasher.update(view[at:size])
        at = size
        found.append(hasher.digest())
    return found


def _longer_beginnings(body: bytes, learned: Learned) -> list[bytes]:
    """Of those alone that it was not found by: mostly one or none, and the body need not be gone
    through again."""
    view = memoryview(body)
    longer = _SIZES[bisect_right(_SIZES, learned.since) : bisect_right(_SIZES, len(body))]
    return [xxhash.xxh3_128_digest(view[:size], learned.seed) for size in longer]


def _ends_of(frame: Frame) -> _Ends:
    """What a frame is looked up by."""
    back = frame.tail[-_BACK_BYTES:] if len(frame.tail) >= _BACK_BYTES else b""
    return (frame.kind, frame.head[:_FRONT_BYTES], back)


def _alike(one: Frame, other: Frame) -> bool:
    return (one.head, one.tail, one.bounds) == (other.head, other.tail, other.bounds)


def _frame_bytes(frame: Frame) -> int:
    """About what it takes in memory: its members are there twice, and what was read of them."""
    members = len(frame.head) + len(frame.tail)
    return 4 * members + _OVERHEAD_BYTES * (len(frame.request.laid) + len(frame.before) + 8)


def bytes_of(past: Past) -> int:
    """About the bytes that an earlier body and its conversation take in memory."""
    return len(past.body) + past.size_bytes + _OVERHEAD_BYTES + _HASHED_BYTES


def told_bytes(elements: Sequence[Element]) -> int:
    """About the bytes that elements of a conversation take in memory."""
    pieces: Sequence[Piece] = ()
    if Piece in map(type, elements):
        pieces = [one for one in elements if isinstance(one, Piece)]
        elements = [one for one in elements if isinstance(one, Message)]
    messages = cast(Sequence[Message], elements)
    return sum(map(size_of, pieces)) + _messages_bytes(messages)


def size_of(piece: Piece) -> int:
    """About the bytes that a piece takes in memory."""
    size = _OVERHEAD_BYTES + _text_bytes(piece.names) + _messages_bytes(piece.messages)
    if piece.saying is not None:
        size += _text_bytes((piece.saying.text,)) + sum(map(len, piece.saying.attachments))
        size += _calls_bytes((piece.saying.tool_call,) if piece.saying.tool_call else ())
    return size


def _messages_bytes(messages: Sequence[Message]) -> int:
    calls = [call for one in messages if one.tool_calls for call in one.tool_calls]
    texts = [one.text for one in messages]
    texts += [one.tool_result_id for one in messages if one.tool_result_id]
    size = _OVERHEAD_BYTES * len(messages) + _text_bytes(texts)
    return size + _calls_bytes(calls) if calls else size


def _calls_bytes(calls: Sequence[ToolCall]) -> int:
    texts = [call.arguments for call in calls]
    texts += [call.name for call in calls]
    texts += [call.call_id for call in calls]
    return _OVERHEAD_BYTES * len(calls) + _text_bytes(texts)


def _text_bytes(texts: Sequence[str]) -> int:
    """A character takes four bytes at most; to ask each text for its size takes longer than to
    read it."""
    size = _TEXT_BYTES * len(texts) + sum(map(len, texts))
    if all(map(str.isascii, texts)):
        return size
    return size + sum([3 * len(text) for text in texts if not text.isascii()])
