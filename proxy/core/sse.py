"""Cuts a byte stream into server-sent events without changing a byte of it.

Theory of operation. An event ends with a blank line: two line ends in a row, each LF, CRLF or CR.
So every border begins with LF LF, LF CR or CR CR, and takes the LF that may follow a final CR: a CR
that is the last byte so far waits until the next byte, or `close`, decides. Streams without a CR
(nearly all) are cut by `bytes.find` alone.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-22).
"""

import re
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_CR = 13
_BLANK_LINE = re.compile(rb"\n\n|\n\r\n?|\r\r\n?")


class SseEvent(NamedTuple):
    """One event, comments included. The `raw` of all events joined is the stream.

    name: of its `event:` line, "" without one. data: its `data:` lines joined with LF, b"" without
    any (a comment, a keep-alive). oversize: the first piece of an event beyond the bound; neither
    it nor the pieces after it have data.
    """

    raw: bytes
    name: str
    data: bytes
    oversize: bool = False


class SseSplitter:
    """Incremental: any chunking of a stream gives the same events. One stream each.

    An event of more than `limit_bytes` comes in pieces of that many bytes, so that never more than
    `limit_bytes` and one chunk are held.
    """

    __slots__ = ("_at_start", "_held", "_limit_bytes", "_oversize")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held = bytearray()  # while oversize, its first byte has already been given out
        self._oversize = False
        self._at_start = True

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished event waits."""
        return len(self._held) - self._oversize

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes."""
        if chunk[:6] == b"data: " and chunk.find(b"\n") == len(chunk) - 2 and self._is_event(chunk):
            return [SseEvent(chunk, "", chunk[6:-2])]
        buffer: bytes | bytearray = chunk
        scan = start = 0
        if self._held:
            scan = max(0, len(self._held) - 2)
            self._held += chunk
            buffer = self._held
        has_cr = buffer.find(b"\r", scan) >= 0
        events: list[SseEvent] = []
        while (end := _border(buffer, scan, has_cr)) > 0:
            self._complete(bytes(buffer[start + self._oversize : end]), events)
            start = scan = end
        if len(buffer) - start > self._limit_bytes:
            start = self._give_out(bytes(buffer[start:]), start, events)
        if buffer is chunk:
            self._held += chunk[start:]
        else:
            del self._held[:start]
        return events

    def _is_event(self, line: bytes) -> bool:
        """Most chunks are one event of one line; `line` has one LF before its last byte."""
        whole = line[-1:] == b"\n" and b"\r" not in line and len(line) <= self._limit_bytes
        if whole and not self._held:
            self._at_start = False
            return True
        return False

    def close(self) -> SseEvent | None:
        """What is left when the stream ends, read as if its blank line had come, or None."""
        raw = bytes(self._held[self._oversize :])
        self._held.clear()
        if not raw:
            return None
        return SseEvent(raw, "", b"") if self._oversize else self._event(raw)

    def _complete(self, raw: bytes, events: list[SseEvent]) -> None:
        if self._oversize or len(raw) > self._limit_bytes:
            self._pieces(raw, events)
            self._oversize = False
        else:
            events.append(self._event(raw))

    def _pieces(self, raw: bytes, events: list[SseEvent]) -> None:
        for at in range(0, len(raw), self._limit_bytes):
            piece = raw[at : at + self._limit_bytes]
            events.append(SseEvent(piece, "", b"", oversize=not self._oversize))
            self._oversize = True
            self._at_start = False

    def _give_out(self, rest: bytes, start: int, events: list[SseEvent]) -> int:
        """Whole pieces of an unfinished event; at least one byte stays, and the one before it."""
        skip = int(self._oversize)
        size = (len(rest) - skip - 1) // self._limit_bytes * self._limit_bytes
        if size <= 0:
            return start
        self._pieces(rest[skip : skip + size], events)
        return start + skip + size - 1

    def _event(self, raw: bytes) -> SseEvent:
        if self._at_start:
            self._at_start = False
            return SseEvent(raw, *_fields(raw.removeprefix(_BOM)))
        return SseEvent(raw, *_fields(raw))


def _border(buffer: bytes | bytearray, scan: int, has_cr: bool) -> int:
    """Where the event that is unfinished at `scan` ends; negative while that is not known."""
    if not has_cr:
        at = buffer.find(b"\n\n", scan)
        return at + 2 if at >= 0 else -1
    match = _BLANK_LINE.search(buffer, scan)
    if match is None or (match.end() == len(buffer) and buffer[-1] == _CR):
        return -1
    return match.end()


def _fields(raw: bytes) -> tuple[str, bytes]:
    name = ""
    data: list[bytes] = []
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
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
