"""Takes down an answer as its client is given it, while it passes.

A short one is kept as it came until its call is settled. A long one is deflated piece by piece, so
that neither its end takes long nor its bytes stay in memory. One that is larger than anybody reads
again, or for which this process has no room beside the others, is let go.
"""

import asyncio
from functools import lru_cache

import msgspec

from proxy.core.recording import (
    BY_REQUEST,
    MOST_DEPTH,
    UNPRIMED,
    VERSION,
    PackedAnswer,
    Window,
    grown,
)
from proxy.deflating import DEFLATING_BYTES, Deflate, deflating
from proxy.wire import Headers
from proxy.wire.headers import Kind, forwarded

AT_ONCE_BYTES = 65_536
"""More than this is deflated in pieces or on a thread: 3 ms hold every stream up."""
ANSWER_BYTES = 64 * 1024 * 1024
DEFLATED_BYTES = 8 * 1024 * 1024
"""Answers that are larger, or larger when deflated, are not kept. A stream has some 270 bytes for
each token, and is deflated to a tenth."""
_PRIMED_BYTES = 8_192
"""Of its window, what an answer is primed with: half of it saves a quarter of the time, 3 µs, and
costs 0 to 4 % of what is kept of real sessions."""
_ROOM_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_OF_THAT_MOMENT = (
    *("date", "age", "set-cookie", "set-cookie2", "alt-svc", "cf-ray", "cf-cache-status"),
    *("retry-after", "retry-after-ms", "x-envoy-upstream-service-time", "openai-processing-ms"),
    *("server-timing", "via"),
)
_LIMITS = ("x-ratelimit-", "anthropic-ratelimit-")
_encode_headers = msgspec.msgpack.Encoder().encode


class Room:
    """For the answers that are being taken down now, all together."""

    def __init__(self, size_bytes: int = _ROOM_BYTES) -> None:
        self.left_bytes = size_bytes

    def take(self, size_bytes: int) -> bool:
        """Whether there was room for that much more."""
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self.left_bytes += size_bytes


class AnswerCapture:
    """One answer. Its owner calls `drop` in the end, whatever became of it."""

    __slots__ = (
        *("_deflate", "_depth", "_done", "_head", "_last", "_pieces", "_room", "_size", "_taken"),
        *("_waiting", "_window", "closed", "lost", "most_bytes", "status", "stream"),
    )

    def __init__(self, room: Room, window: Window | None, most_bytes: int = ANSWER_BYTES) -> None:
        if window is not None and window.depth >= MOST_DEPTH:
            window = None
        self._room = room
        self._window = window
        self.most_bytes = most_bytes
        self.lost = False
        self.closed = False
        self._taken = 0
        self._reset()

    def _reset(self) -> None:
        self._room.give_back(self._taken)
        self._taken = self._waiting = self._size = self._head = self.status = 0
        self.stream = False
        self._pieces: list[bytes] = []
        self._done: list[bytes] = []
        self._last = b""
        self._deflate: Deflate | None = None

    def begin(
        self, status: int, headers: Headers, dropped: int = Kind.NONE, *, stream: bool
    ) -> None:
        """Another answer begins, in the place of whatever there was."""
        self._reset()
        head = _head_of(headers, dropped)
        self.status, self.stream, self._head = status, stream, len(head)
        self.add(head)

    def add(self, piece: bytes) -> None:
        """The next piece of it has passed."""
        if self.closed or self.lost:
            return
        size = len(piece)
        self._pieces.append(piece)
        self._size += size
        self._waiting += size
        if self._waiting > AT_ONCE_BYTES:
            self._deflate_some()

    async def whole(self, status: int, headers: Headers, body: bytes, dropped: int) -> None:
        """An answer that is given at once; a large one is deflated on a thread."""
        self.begin(status, headers, dropped, stream=False)
        if len(body) <= AT_ONCE_BYTES:
            self.add(body)
        elif len(body) > self.most_bytes or not self._take(DEFLATING_BYTES):
            self._lose()
        else:
            await self._deflate_whole(body)

    @property
    def is_there(self) -> bool:
        """Whether there is an answer, and all of it."""
        return self.status > 0 and not self.lost

    def end(self) -> tuple[PackedAnswer, Window]:
        """Its record, and the window after it. Nothing more is taken down."""
        self.closed = True
        deflate, window = self._deflate_all(), self._window
        data = b"".join((*self._done, deflate.flush()))
        primed = UNPRIMED if window is None else BY_REQUEST
        record = PackedAnswer(VERSION, primed, self.status, self.stream, self._head, data)
        before, depth = (b"", -1) if window is None else (window.data, window.depth)
        return record, Window(grown(before, self._last), depth + 1, answered=True)

    def drop(self) -> None:
        """Lets go of what it has."""
        self.closed = True
        self._reset()

    async def _deflate_whole(self, body: bytes) -> None:
        """Piece by piece, to be given up as soon as it is too much. Counted here and not on the
        thread, which goes on though its call is cancelled: what it took then would never be given
        back."""
        for at in range(0, len(body), _PIECE_BYTES):
            self._pieces.append(body[at : at + _PIECE_BYTES])
            await asyncio.to_thread(self._deflate_all)
            self._count(self._done[-1])
            if self.lost:
                return

    def _deflate_some(self) -> None:
        first = self._deflate is None
        if self._size > self.most_bytes or (first and not self._take(DEFLATING_BYTES)):
            self._lose()
        else:
            self._deflate_all()
            self._count(self._done[-1])

    def _count(self, deflated: bytes) -> None:
        deflated_bytes = self._taken - DEFLATING_BYTES + len(deflated)
        if deflated_bytes > DEFLATED_BYTES or not self._take(len(deflated)):
            self._lose()

    def _deflate_all(self) -> Deflate:
        pieces, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        deflate = self._deflate
        if deflate is None:
            window = b"" if self._window is None else self._window.data
            deflate = self._deflate = deflating(window[-_PRIMED_BYTES:])
        self._done.append(deflate.compress(pieces))
        self._last = grown(self._last, pieces)
        return deflate

    def _take(self, size_bytes: int) -> bool:
        if taken := self._room.take(size_bytes):
            self._taken += size_bytes
        return taken

    def _lose(self) -> None:
        self._reset()
        self.lost = True


def _head_of(headers: Headers, dropped: int) -> bytes:
    """The headers that are the answer's own, packed: neither ours, nor of its moment."""
    kept = forwarded(headers, dropped | Kind.REQUEST_ID | Kind.LENGTH | Kind.CREDENTIAL)
    return _encode_headers([header for header in kept if _stays(header[0])])


@lru_cache(1_024)
def _stays(name: str) -> bool:
    lower = name.lower()
    return lower not in _OF_THAT_MOMENT and not lower.startswith(_LIMITS)
