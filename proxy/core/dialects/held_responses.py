"""Holds guarded tools' calls back on streams of `/v1/responses`.

Theory of operation. A call is an output item, and says when it has come to its end. Every event of
an item names it by `output_index`, and all events are numbered (`sequence_number`). The last event
says the whole answer again: there, dropped calls are taken out of its output, and where the client
sees several streams as one, it has the output of all, their usage, and the first one's id, which
typed readers hold it to. What says that a later stream begins is not passed on.

Reasoning goes with what it led to: where that is dropped, it is dropped too, or the provider would
refuse the client's next request. So reasoning that has nothing to be read waits for the item that
follows it, and passes with the first one of its own.

XXX Reasoning with a summary passes as it comes, and so stays though its call is dropped: to wait
would delay what a person reads, and an SDK does not take an item that ends in nothing.
"""

from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_responses_output import (
    OutputItem,
    Outputs,
    Thoughts,
    output_of,
)
from proxy.core.dialects.held_stream import (
    OBJECT,
    HeldStream,
    Places,
    event_of,
    saying,
)
from proxy.core.dialects.stream_meter import DONE
from proxy.core.splice import splice
from proxy.core.sse import SseEvent

_ABSENT = msgspec.Raw()
_ADDED, _DONE = "response.output_item.added", "response.output_item.done"
_WRITTEN_DELTAS = frozenset(
    {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
)
_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    output_index: int | None = None
    sequence_number: int | None = None
    item: msgspec.Raw = _ABSENT
    delta: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT


_EVENT = msgspec.json.Decoder(_Event)
_TEXT = msgspec.json.Decoder(str)


class HeldResponses(HeldStream[OutputItem]):
    """Implements `HoldBack`. `turn` is the list of output items."""

    def __init__(self, guards: Callable[[str], bool], bounds: Bounds) -> None:
        super().__init__(guards, bounds)
        self._places = Places()
        self._items: list[OutputItem] = []
        self._outputs = Outputs()
        self._thoughts = Thoughts()
        self._looked = False
        self._number: int | None = None  # of the next event, once one had a number

    def turn(self) -> bytes:
        return msgspec.json.encode(self._outputs.said(self._items))

    def _take(self, event: SseEvent, out: list[bytes]) -> bool:
        read = _read(event)
        kind = "" if read is None else read.type
        if kind in _ENDS or event.data == DONE:
            if self._settle_all() or (read is not None and self._find_untold(read.response)):
                return False
            if read is not None:
                self._outputs.note(read.response, final=True)
            if not self._thoughts.led:
                self._pass_thoughts(self._thoughts, out)
            self._take_end(event, out)
        elif read is None:
            self._pass_unread(event, out)
        elif read.output_index is not None:
            self._take_part(read, read.output_index, event, out)
        else:
            if kind in _BEGINNINGS:
                self._outputs.note(read.response, final=False)
            out.append(self._numbered(event, read, None))
        return True

    def _take_part(self, read: _Event, index: int, event: SseEvent, out: list[bytes]) -> None:
        """An event of an item; one of an item that has not begun is none of ours."""
        item = next((one for one in reversed(self._items) if one.index == index), None)
        if read.type == _ADDED or (item is None and read.type == _DONE):
            item = self._begin(read, index, out)
        if item is None:
            out.append(self._numbered(event, read, None))
            return
        _note(item, read)
        self.unreadable |= item.unread
        if item.waits:
            self._hold(item, event.raw)
            if item.done and item.state == "open":
                self._make_complete(item)
        elif item.is_reasoning and not item.thoughts.passed:
            self._think(item, read, event, out)
        elif item.state == "passing":
            out.append(self._numbered(event, read, item))

    def _think(self, item: OutputItem, read: _Event, event: SseEvent, out: list[bytes]) -> None:
        """Reasoning that may have to be withheld, until there is something of it to be read."""
        if read.type in (_ADDED, _DONE):
            item.frames.append(event.raw)
            self._held_bytes += len(event.raw)
            if self._held_bytes > self._bounds.held_bytes:
                self._pass_thoughts(item.thoughts, out)
        else:
            self._pass_thoughts(item.thoughts, out)
            out.append(self._numbered(event, read, item))

    def _pass_thoughts(self, thoughts: Thoughts, out: list[bytes]) -> None:
        thoughts.passed = True
        for item in thoughts.items:
            self._held_bytes -= sum(map(len, item.frames))
            self._pass_frames(item, out)

    def _pass_frames(self, item: OutputItem, out: list[bytes]) -> None:
        if item.place is None:
            item.place = self._places.give(item.index)
        for frame in item.frames:
            event = event_of(frame)
            out.append(self._numbered(event, _read(event) or _Event(), item))
        item.frames.clear()

    def _find_untold(self, response: msgspec.Raw) -> bool:
        """Whether guarded calls stand in the last event alone: they are judged before it passes."""
        if self._looked:
            return False
        self._looked, known = True, {item.call_id for item in self._items}
        for index, raw in enumerate(output_of(response)):
            item = OutputItem(index, Thoughts())
            item.tell(raw)
            self.unreadable |= item.unread
            if item.is_call and item.call_id not in known and self._guards(item.name):
                item.done = self._places.touched = True
                self._items.append(item)
                self._wait_for(item)
                self._make_complete(item)
        return bool(self.complete)

    def _begin(self, read: _Event, index: int, out: list[bytes]) -> OutputItem:
        item = OutputItem(index, self._thoughts)
        item.tell(read.item)
        self._items.append(item)
        if item.is_reasoning:
            if self._thoughts.led or self._thoughts.passed:
                item.thoughts = self._thoughts = Thoughts()
            item.thoughts.items.append(item)
            item.state = "passing"
            return item
        item.thoughts.led = True
        if item.is_call and self._guards(item.name):
            self._places.touched = True
            self._wait_for(item)
        else:
            item.state = "passing"
            self._pass_held(item, out)
        return item

    def _pass_held(self, call: OutputItem, out: list[bytes]) -> None:
        if not call.thoughts.passed:
            self._pass_thoughts(call.thoughts, out)
        self._pass_frames(call, out)

    def _numbered(self, event: SseEvent, read: _Event, item: OutputItem | None) -> bytes:
        """The event with the numbers that the client knows it and its item by."""
        changes: dict[str, bytes | None] = {}
        if item is not None and item.place is not None and item.place != item.index:
            changes["output_index"] = b"%d" % item.place
        number = read.sequence_number
        if number is not None:
            if self._places.touched and self._number is not None and self._number != number:
                number = self._number
                changes["sequence_number"] = b"%d" % number
            self._number = number + 1
        return saying(event, splice(event.data, changes)).raw if changes else event.raw

    def _adopted(self, event: SseEvent) -> SseEvent | None:
        read = _read(event)
        return None if read is not None and read.type in _BEGINNINGS else event

    def _ending(self, event: SseEvent) -> bytes:
        read = _read(event)
        if read is None:
            return event.raw
        if self._places.touched:
            response = bytes(read.response)
            seen = self._outputs.seen(response, self._items, spliced=self._spliced)
            if seen is not response:
                event = saying(event, splice(event.data, {"response": seen}))
        return self._numbered(event, read, None)

    def _begin_anew(self) -> None:
        self._outputs.begin_anew(self._items)
        self._items.clear()
        self._thoughts = Thoughts()
        self._looked = False
        self._places.touched = True


def _note(item: OutputItem, read: _Event) -> None:
    """Takes note of what an event says of its item."""
    if read.type == _DONE:
        item.tell(read.item)
        item.done = True
    elif read.type in _WRITTEN_DELTAS:
        with suppress(ValueError, RecursionError):
            item.arguments.append(_TEXT.decode(read.delta))


def _read(event: SseEvent) -> _Event | None:
    try:
        OBJECT.decode(event.data)
        read = _EVENT.decode(event.data)
    except (ValueError, RecursionError):
        return None
    return read if read.type else replace(read, type=event.name.decode("utf-8", "replace"))
