"""Cuts a byte stream into server-sent events without changing a byte of it.

Theory of operation. An event ends with a blank line: two line ends in a row, each LF, CRLF or CR.
So every border begins with LF LF, LF CR or CR CR, and takes the LF that may follow a final CR: a CR
that is the last byte so far waits until the next byte, or `close`, decides.

Nearly all events are one `data:` line after at most one `event:` line, with one kind of line end.
These are cut and read in one go, line by line; only others are searched for a blank line and then
taken apart.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-22).
"""

import re

import msgspec

_BOM = b"\xef\xbb\xbf"
_CR = ord("\r")
_BLANK_LINE = re.compile(rb"\n\n|\n\r\n?|\r\r\n?")
_OPEN_BLANK_LINES = (b"\n\r", b"\r\r")
"""An LF may follow, and would belong to them."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, comments included. The `raw` of all events joined is the stream.

    name: of its `event:` line, b"" without one. data: its `data:` lines joined with LF, b"" without
    any (a comment, a keep-alive). oversize: the first piece of an event beyond the bound; neither
    it nor the pieces after it have data.
    """

    raw: bytes
    name: bytes
    data: bytes
    oversize: bool = False


class SseSplitter:
    """Incremental: any chunking of a stream gives the same events. One stream each.

    An event of more than `limit_bytes` comes in pieces of that many bytes, so that never more than
    `limit_bytes` and one chunk are held.

    at_border: all that was fed is whole events. in_pieces: the event given out last goes on.
    idle: nothing of an unfinished event waits.
    """

    __slots__ = ("_at_start", "_held", "_limit_bytes", "at_border", "idle", "in_pieces")

    def __init__(self, limit_bytes: int) -> None:
        self.at_border = True
        self.idle = True
        self.in_pieces = False
        self._limit_bytes = limit_bytes
        self._held = bytearray()  # while in pieces, its first byte has already been given out
        self._at_start = True

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished event waits."""
        return len(self._held) - self.in_pieces

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes."""
        events: list[SseEvent] = []
        if self._held:
            chunk = self._resume(chunk, events)
        start, size, has_cr = 0, len(chunk), _CR in chunk
        while start < size:
            if size <= self._limit_bytes:
                start = _read_usual(chunk, start, has_cr, events)
                if start:
                    self._at_start = False
                if start == size:
                    break
            end = _border(chunk, start, has_cr)
            if end < 0:
                self._held += chunk[start:]
                self._give_out(events)
                break
            self._complete(chunk[start:end], events)
            start = end
        self.idle = not self._held
        self.at_border = self.idle or self._held.endswith(_OPEN_BLANK_LINES)
        return events

    def close(self) -> SseEvent | None:
        """What is left when the stream ends, read as if its blank line had come, or None."""
        raw = bytes(self._held[self.in_pieces :])
        self._held.clear()
        if not raw:
            return None
        return SseEvent(raw, b"", b"") if self.in_pieces else self._event(raw)

    def _resume(self, chunk: bytes, events: list[SseEvent]) -> bytes:
        """What waits and `chunk` in one as soon as there is a whole event in it; until then b""."""
        scan = max(0, len(self._held) - 2)
        self._held += chunk
        end = _border(self._held, scan, self._held.find(b"\r", scan) >= 0)
        if end < 0:
            self._give_out(events)
            return b""
        joined = bytes(self._held)
        self._held.clear()
        if self.in_pieces:
            self._pieces(joined[1:end], events)
            self.in_pieces = False
            return joined[end:]
        return joined

    def _complete(self, raw: bytes, events: list[SseEvent]) -> None:
        if len(raw) > self._limit_bytes:
            self._pieces(raw, events)
            self.in_pieces = False
        else:
            events.append(self._event(raw))

    def _give_out(self, events: list[SseEvent]) -> None:
        """Whole pieces of an unfinished event; at least one byte stays, and the one before it."""
        skip = int(self.in_pieces)
        size = (len(self._held) - skip - 1) // self._limit_bytes * self._limit_bytes
        if size > 0:
            self._pieces(bytes(self._held[skip : skip + size]), events)
            del self._held[: skip + size - 1]

    def _pieces(self, raw: bytes, events: list[SseEvent]) -> None:
        for at in range(0, len(raw), self._limit_bytes):
            piece = raw[at : at + self._limit_bytes]
            events.append(SseEvent(piece, b"", b"", oversize=not self.in_pieces))
            self.in_pieces = True
            self._at_start = False

    def _event(self, raw: bytes) -> SseEvent:
        if self._at_start:
            self._at_start = False
            return SseEvent(raw, *fields_of(raw.removeprefix(_BOM)))
        return SseEvent(raw, *fields_of(raw))


def _read_usual(buffer: bytes, at: int, has_cr: bool, events: list[SseEvent]) -> int:
    """Reads the events of the usual form from `at`, and returns where the first other begins.

    Looks no further than the next LF, or a chunk of other events would be searched for each.
    """
    line_end, cr = (b"\r\n", 1) if has_cr else (b"\n", 0)
    blank_line, size = line_end + line_end, len(buffer)
    while at < size:
        name, line = b"", at
        if buffer[at : at + 7] == b"event: ":
            line = buffer.find(b"\n", at) + 1
            name = buffer[at + 7 : line - 1 - cr]
        stop = buffer.find(b"\n", line) - cr
        end = stop + 2 + cr + cr
        if (
            buffer[stop:end] != blank_line
            or buffer[line : line + 6] != b"data: "
            or stop < at  # no line end, in this line or the one before it
        ):
            break
        data = buffer[line + 6 : stop]
        if cr and (_CR in data or (line > at and buffer.find(b"\r", at) != line - 2)):
            break
        events.append(SseEvent(buffer[at:end], name, data))
        at = end
    return at


def _border(buffer: bytes | bytearray, scan: int, has_cr: bool) -> int:
    """Where the event that is unfinished at `scan` ends; negative while that is not known."""
    if not has_cr:
        at = buffer.find(b"\n\n", scan)
        return at + 2 if at >= 0 else -1
    match = _BLANK_LINE.search(buffer, scan)
    if match is None or (match.end() == len(buffer) and buffer[-1] == _CR):
        return -1
    return match.end()


def fields_of(raw: bytes) -> tuple[bytes, bytes]:
    """Name and data of one event."""
    name = b""
    data: list[bytes] = []
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data)


def encode_frame(data: bytes, name: str = "") -> bytes:
    """One complete event with LF line ends."""
    head = f"event: {name}\n".encode() if name else b""
    lines = data.splitlines() or [b""]
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def with_data(event: SseEvent, data: bytes) -> bytes:
    """The raw bytes of `event` with its data replaced and every other byte kept.

    The same bytes where that cannot be done (data of several lines): nothing is better than wrong.
    """
    if b"\n" in event.data or event.raw.count(event.data) != 1:
        return event.raw
    return event.raw.replace(event.data, data)
