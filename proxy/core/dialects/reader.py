"""Reads a body: what earlier bodies had from memory (`core.memo`), what is new all at once where it
is as most are, else part by part."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec
import xxhash
from msgspec.structs import force_setattr, replace

from proxy.core.canonical import digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import (
    Body,
    Members,
    body_digest,
    bounded_tools,
    read_body,
    refuse_deep,
    refuse_many_values,
)
from proxy.core.dialects.continued import BORDERS, between, borders_of, parts_of
from proxy.core.dialects.conversations import conversation_of, gone_on, history_after
from proxy.core.dialects.exposing import NOTHING, sum_of
from proxy.core.dialects.framing import BRACKETS, around, place_of
from proxy.core.exposure import Exposure
from proxy.core.memo import Kind, Memo, fits, told_bytes
from proxy.core.prefixes import Prefixes
from proxy.core.request import (
    Apart,
    Conversation,
    Element,
    Frame,
    History,
    Learned,
    Past,
    Piece,
    Request,
    Trail,
    history_of,
)

Written = msgspec.Raw | bytes | memoryview
Read = Callable[[msgspec.Raw, int], Element]
"""What reads a part at a place in its list. Raises MalformedRequest."""

_SAME = 0.75
"""Of a history that goes on: what has less of it in common is another that began alike."""
_LEAST_TRAIL_BYTES = 4096
_CLOSED = ord("}")
_COMMA = ord(",")

_part_key = xxhash.xxh3_128_digest


@dataclass(frozen=True, slots=True)
class Style:
    """How the bodies of a dialect are read.

    kind: of its conversation, which is the member `listed`. governed, apart: as in `read_body`.
    depth: that a body can have at most whose list was read all at once.
    frame: reads all but the conversation, its own exposure and kind left out. sent: the parts of
    the conversation, or the one message that it is. Both raise MalformedRequest. told: reads the
    list at once, None where it cannot. read: reads one part. exposure: of a frame, with what all of
    the body has beside text. joins: as in `conversation_of`.
    """

    kind: Kind
    listed: str
    governed: Collection[str]
    apart: Collection[str]
    depth: int
    frame: Callable[["Reader", Body], Frame]
    sent: Callable[[Members, Bounds], list[msgspec.Raw] | Element]
    told: Callable[[Written, Frame], Sequence[Element] | None]
    read: Read
    exposure: Callable[[Frame, Apart], Exposure]
    joins: bool = False


def unread_bytes(style: Style, body: bytes, bounds: Bounds, memo: Memo) -> int:
    """About how much of a body `parse` would read."""
    trail, _ = memo.trail(body, memo.seed(style.kind, bounds.json_depth))
    if trail is None:
        return len(body)
    frame = _frame_of(style, body, bounds, memo, trail)
    known = None if frame is None else between(body, trail.past, frame)
    if frame is None or known is None:
        return len(body)
    return len(body) - len(frame.tail) - known[1]


def parse(style: Style, body: bytes, bounds: Bounds, memo: Memo | None) -> Request:
    """Raises MalformedRequest, whatever the body is."""
    reader = Reader(style, bounds, memo)
    return reader.known(body) or reader.whole(body)


class Reader:
    """For one body."""

    def __init__(self, style: Style, bounds: Bounds, memo: Memo | None) -> None:
        self._style = style
        self.bounds = bounds
        self._memo = memo
        self._met: list[tuple[bytes, Piece]] = []
        self._trail: Trail | None = None
        self._since = 0
        self._seed = memo.seed(style.kind, bounds.json_depth) if memo is not None else 0

    def known(self, body: bytes) -> Request | None:
        """The body, where its frame is known and its messages are of the usual shapes; else it has
        to be read whole."""
        memo = self._memo
        if memo is None:
            return None
        trail, self._since = memo.trail(body, self._seed)
        frame = _frame_of(self._style, body, self.bounds, memo, trail)
        if frame is None:
            return None
        refuse_many_values(body, self.bounds.values)
        if trail is not None and (request := self._gone_on(body, frame, trail)):
            return request
        start, end = len(frame.head) - 1, len(body) - len(frame.tail)
        elements = self._told(memoryview(body)[start : end + 1], frame)
        if elements is None:
            return None
        return self._begun(body, frame, elements, end - start + 1)

    def whole(self, body: bytes) -> Request:
        """The body, of which nothing need be known. Raises MalformedRequest."""
        style = self._style
        taken = read_body(body, self.bounds, style.governed, (style.listed, *style.apart))
        place = place_of(taken, style.listed)
        frame = self._around(taken, place)
        listed = taken.members.get(style.listed)
        elements = None if listed is None else self._told(listed, frame)
        if elements is None:
            elements = self._one_by_one(taken)
        size = 0 if place < 0 else len(body) - len(frame.head) - len(frame.tail) + 2
        return self._begun(body, frame, elements, size)

    def part(self, kind: Kind, part: msgspec.Raw, read: Callable[[msgspec.Raw], Piece]) -> Piece:
        """What a member of the body says. Raises what `read` does, and MalformedRequest for one
        that nests too deeply."""
        memo = self._memo
        if memo is None:
            refuse_deep((part,), self.bounds, 1)
            return read(part)
        key = _part_key(part, memo.seed(kind, self.bounds.json_depth))
        piece = young = memo.young.get(key)
        if piece is None and (piece := memo.older(key)) is None:
            refuse_deep((part,), self.bounds, 1)
            piece = read(part)
        if young is None:
            self._met.append((key, piece))
        return piece

    def _around(self, taken: Body, place: int) -> Frame:
        """What is said around the list at this place."""
        style = self._style
        frame = style.frame(self, taken)
        exposure = style.exposure(frame, frame.apart or NOTHING)
        request = replace(frame.request, exposure=exposure)
        frame = replace(frame, request=request, kind=style.kind)
        return around(taken, place, frame, keep=self._memo is not None)

    def _told(self, written: Written, frame: Frame) -> Sequence[Element] | None:
        """The list read at once; None where it is odd, or not within bounds."""
        if self.bounds.json_depth < self._style.depth:
            return None
        told = self._style.told(written, frame)
        return told if told and len(told) <= self.bounds.messages else None

    def _one_by_one(self, taken: Body) -> Sequence[Element]:
        sent = self._style.sent(taken.members, self.bounds)
        return self._each(sent, 0) if isinstance(sent, list) else (sent,)

    def _each(self, parts: Sequence[msgspec.Raw], first: int) -> list[Element]:
        elements = []
        for at, part in enumerate(parts):
            refuse_deep((part,), self.bounds, 2)
            elements.append(self._style.read(part, first + at))
        return elements

    def _begun(
        self, body: bytes, frame: Frame, elements: Sequence[Element], list_bytes: int
    ) -> Request:
        """A conversation that is not known to go on from another."""
        joins = self._style.joins
        conversation = conversation_of(elements, joins=joins)
        history = history_of(conversation.messages, answers_in_items=joins)
        past = None
        if self._memo is not None and frame.tail and len(body) >= _LEAST_TRAIL_BYTES:
            end = len(body) - len(frame.tail)
            if body[end - 1] == _CLOSED:
                size = told_bytes(elements)
                borders = ((len(elements), end),)
                past = Past(body, frame, conversation, history, borders, size, Prefixes())
        return self._request(body, frame, conversation, history, list_bytes, past)

    def _gone_on(self, body: bytes, frame: Frame, trail: Trail) -> Request | None:
        """What goes on from this trail's latest body; None where that is not so, or it is not
        well-formed. Raises MalformedRequest for what is new in it."""
        past = trail.past
        found = between(body, past, frame)
        if found is None:
            return None
        known, border = found
        end = len(body) - len(frame.tail)
        middle = body[border:end]
        parts = parts_of(middle)
        if parts is None or known + len(parts) > self.bounds.messages:
            return None
        new: Sequence[Element] = ()
        if parts:
            told = self._told(b"[%b]" % middle[1:], frame) if middle[0] == _COMMA else None
            new = told or self._each(parts, known)
        joins = self._style.joins
        conversation, common = gone_on(past.conversation, known, new, joins=joins)
        history = history_after(past.history, past.conversation, conversation, common)
        if known >= _SAME * len(past.conversation.elements):
            self._trail = trail
        carried = ((known, border), *[one for one in past.borders if one[0] < known])
        borders = borders_of(body, end, parts, known + len(parts)) if parts else ()
        size = past.size_bytes + told_bytes(new) - told_bytes(past.conversation.elements[known:])
        latest, prefixes = (*borders, *carried)[:BORDERS], past.prefixes.of_next(border)
        now = Past(body, frame, conversation, history, latest, size, prefixes)
        return self._request(body, frame, conversation, history, end + 2 - len(frame.head), now)

    def _request(
        self,
        body: bytes,
        frame: Frame,
        conversation: Conversation,
        history: History,
        list_bytes: int,
        past: Past | None,
    ) -> Request:
        memo, known = self._memo, frame.request
        learned = None
        if memo is not None:
            kept = frame if frame.tail else None
            learned = Learned(tuple(self._met), kept, past, self._trail, self._seed, self._since)
        moved = max(0, list_bytes - BRACKETS)
        request = replace(
            known,
            messages=(*frame.before, *conversation.messages),
            text_bytes=known.text_bytes + list_bytes,
            body_digest=digest(body) if frame.steady else b"",
            moved=moved,
            learned=learned,
            history=history,
        )
        if not frame.steady:
            force_setattr(request, "body_digest", body_digest(body, request.places))
        if conversation.apart is None and not conversation.names and frame.apart is None:
            return request
        return self._with_more(request, frame, conversation)

    def _with_more(self, request: Request, frame: Frame, conversation: Conversation) -> Request:
        """And what is not text, or is told by the messages though it is not theirs."""
        found = [one for one in (frame.apart, conversation.apart) if one is not None]
        apart = sum_of(found) or NOTHING
        offered = request.offered_tools
        if conversation.names:
            offered = bounded_tools((*offered, *conversation.names), self.bounds)
        return replace(
            request,
            text_bytes=request.text_bytes - apart.hidden_bytes,
            image_count=apart.images,
            file_count=apart.files,
            offered_tools=offered,
            tools_disabled=frame.tools_disabled or not offered,
            exposure=self._style.exposure(frame, apart),
        )


def _frame_of(
    style: Style, body: bytes, bounds: Bounds, memo: Memo, trail: Trail | None
) -> Frame | None:
    if trail is not None and fits(trail.past.frame, body, bounds):
        return trail.past.frame
    return memo.frame(style.kind, body, bounds)
