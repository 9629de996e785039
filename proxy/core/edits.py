"""Edits inside a body's original bytes: where the parts of a list are, and what goes between them.

Theory of operation. `core.splice` sets whole members; here a list may be most of the body (a
conversation of 400 KB), and what is new goes to its end. That end is known (the member's last byte
is its bracket), so nothing of the list is read. Its last part is found by trying the brackets
before the end: what follows one is one JSON object up to the end of the list only if that bracket
opens the last part. Were it in a string, an odd number of quotes would follow; were it inside of a
part, what closes that part would be left over. Where that does not find it, the list is read.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from proxy.core.splice import Member, members, raw_value, splice

_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SPACE = re.compile(rb"[ \t\n\r]*")
_OPENING = b'{"'
_CLOSED = ord("}")
_TRIED = 16
"""Brackets: the last message of an agent has a few objects in it, or hundreds."""


class Edit(NamedTuple):
    """Instead of body[start:end] stands `new`."""

    start: int
    end: int
    new: bytes


class Span(NamedTuple):
    """Where a JSON value is in the body."""

    start: int
    end: int


class Draft:
    """A body with what is to change in it, for one rewrite.

    edits: inside values of top-level members; of those at one place the first comes first. members:
    top-level members that are set, None: removed. One key is in one of the two only.
    """

    __slots__ = ("_body", "_places", "edits", "members")

    def __init__(self, body: bytes, places: Sequence[Member]) -> None:
        self._body = body
        self._places = places
        self.edits: list[Edit] = []
        self.members: dict[str, bytes | None] = {}

    @property
    def body(self) -> bytes:
        return self._body

    def value(self, key: str) -> bytes | None:
        """The JSON of a top-level member as the client sent it, None where absent or null."""
        return raw_value(self._body, self._places, key)

    def span(self, key: str) -> Span | None:
        """Where the member's value is, None where it is absent or null. Of several the last."""
        for place in reversed(self._places):
            if place.key == key:
                start, end = place.value_start, place.value_end
                return None if self._body.startswith(b"null", start) else Span(start, end)
        return None

    def put(self, at: int, new: bytes) -> None:
        self.edits.append(Edit(at, at, new))

    def append(self, span: Span, part: bytes) -> None:
        """Puts a part at the end of the list that is there."""
        at = span.end - 1
        self.put(at, part if is_empty(self._body, span) else b"," + part)

    def applied(self) -> "Draft":
        """A draft of the body as the edits so far make it; its members are still to be set."""
        if not self.edits:
            return self
        edits = sorted(self.edits, key=lambda edit: edit.start)
        draft = Draft(edited(self._body, edits), moved(self._places, edits))
        draft.members = self.members
        return draft

    def written(self) -> bytes:
        """The body with all of it; the same object when nothing changes."""
        if self.edits:
            return self.applied().written()
        return splice(self._body, self.members, self._places) if self.members else self._body


def edited(body: bytes, edits: Iterable[Edit]) -> bytes:
    """The body with these edits, which come in order and do not overlap."""
    view = memoryview(body)  # most of a large body is between two edits: it is copied once
    pieces: list[bytes | memoryview] = []
    at = 0
    for start, end, new in edits:
        pieces += (view[at:start], new)
        at = end
    return b"".join((*pieces, view[at:]))


def moved(places: Sequence[Member], edits: Sequence[Edit]) -> tuple[Member, ...]:
    """Where members are after edits inside their values, which come in order."""

    ends = [edit.end for edit in edits]
    grown = [0, *accumulate([len(new) - (end - start) for start, end, new in edits])]

    def after(at: int) -> int:
        return at + grown[bisect_left(ends, at)]

    return tuple(
        [
            Member(one.key, after(one.key_start), after(one.value_start), after(one.value_end))
            for one in places
        ]
    )


def is_empty(body: bytes, span: Span) -> bool:
    """Whether the list (or object) that is there has nothing in it."""
    return _after_space(body, span.start + 1) == span.end - 1


def parts_of(body: bytes, span: Span) -> list[Span]:
    """Where the parts of the list are. Raises ValueError or RecursionError."""
    found = []
    at = span.start + 1
    for raw in _PARTS.decode(memoryview(body)[span.start : span.end]):
        at = _after_space(body, at)
        end = at + len(memoryview(raw))
        found.append(Span(at, end))
        at = _after_space(body, end) + 1
    return found


def fields_of(body: bytes, span: Span) -> dict[str, Span]:
    """Where the values of the object that is there are; of a key given twice the last. Raises as
    `parts_of`."""
    at = span.start
    return {
        one.key: Span(at + one.value_start, at + one.value_end)
        for one in members(body[at : span.end])
    }


def without(parts: Sequence[Span], dropped: Collection[int]) -> list[Edit]:
    """Takes parts out of their list by their places in it, each with one of the commas beside."""
    edits = []
    kept: Span | None = None
    gone = frozenset(dropped)
    for at, part in enumerate(parts):
        if at not in gone:
            kept = part
        elif kept is not None:
            edits.append(Edit(parts[at - 1].end, part.end, b""))
        else:
            last = at + 1 == len(parts)
            edits.append(Edit(part.start, part.end if last else parts[at + 1].start, b""))
    return edits


def last_of(body: bytes, span: Span) -> Span | None:
    """Where the last part of the list is, None where it is empty. Raises as `parts_of`."""
    view, end, at = memoryview(body), span.end - 1, span.end
    if body[end - 1] == _CLOSED:
        for _ in range(_TRIED):
            at = body.rfind(_OPENING, span.start, at)
            if at < 0:
                break
            if _is_object(view[at:end]):
                return Span(at, end)
    parts = parts_of(body, span)
    return parts[-1] if parts else None


def _is_object(written: memoryview) -> bool:
    try:
        _OBJECT.decode(written)
    except (ValueError, RecursionError):
        return False
    return True


def _after_space(body: bytes, at: int) -> int:
    match = _SPACE.match(body, at)
    return match.end() if match else at
