"""Holds guarded tools' calls back on streams of `/v1/messages`.

Theory of operation. A call is a block, and says when it has come to its end. Blocks come one after
the other, and SDKs count on it: they append a block where it starts, look deltas up by the index,
and take the last one for what ends. So a call that is released late waits until no block is open.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_messages_usage import Figures
from proxy.core.dialects.held_stream import (
    NULL,
    OBJECT,
    HeldStream,
    Members,
    Places,
    StreamedCall,
    event_of,
    saying,
)
from proxy.core.dialects.messages_answer import BLOCK
from proxy.core.dialects.messages_turn import BlockSoFar, message
from proxy.core.dialects.stream_meter import DONE
from proxy.core.dialects.unread import may_be_a_call
from proxy.core.splice import splice
from proxy.core.sse import SseEvent
from proxy.core.usage import ToolCall

_ABSENT = msgspec.Raw()
_FOR_CALLS = msgspec.Raw(b'"tool_use"')
_ENDS = frozenset({"message_delta", "message_stop"})
_BLOCK_EVENTS = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    index: int = 0
    content_block: msgspec.Raw = _ABSENT
    delta: Members | None = None
    usage: Members | None = None


_EVENT = msgspec.json.Decoder(_Event)
_TEXT = msgspec.json.Decoder(str)


class _Block(StreamedCall):
    """Any block; only a guarded call's waits."""

    __slots__ = ("_input", "is_call", "said", "stopped", "unread")

    def __init__(self, index: int, raw: msgspec.Raw) -> None:
        super().__init__(index)
        self._input = "{}"
        self.is_call = self.stopped = False
        self.said = BlockSoFar({})
        self.unread = False
        try:
            self.said = BlockSoFar(OBJECT.decode(raw))
            call = BLOCK.decode(raw).tool_call()
            if call is not None:
                self.is_call = True
                self.call_id, self.name, self._input = call.call_id, call.name, call.arguments
        except (ValueError, RecursionError):
            self.unread = may_be_a_call(bytes(raw))

    def add(self, delta: Members) -> None:
        """Raises ValueError for texts that are none."""
        self.said.add(delta)
        if "partial_json" in delta:
            self.arguments.append(_TEXT.decode(delta["partial_json"]))

    def asked(self) -> ToolCall:
        return ToolCall(self.call_id, self.name, "".join(self.arguments) or self._input)


class HeldMessages(HeldStream[_Block]):
    """Implements `HoldBack`. `turn` is the assistant's message."""

    def __init__(self, guards: Callable[[str], bool], bounds: Bounds) -> None:
        super().__init__(guards, bounds)
        self._places = Places()
        self._all: list[_Block] = []
        self._blocks: dict[int, _Block] = {}  # the newest of each index
        self._late: list[_Block] = []
        self._calls_passed = 0
        self._figures = Figures()

    def turn(self) -> bytes:
        return message(block.said for block in self._all)

    def _take(self, event: SseEvent, out: list[bytes]) -> bool:
        read = _read(event)
        kind = "" if read is None else read.type
        if read is not None and kind in _BLOCK_EVENTS:
            self._take_block(read, event, out)
        elif kind in _ENDS or event.data == DONE:
            if self._settle_all():
                return False
            self._pass_late(out)
            if read is not None and read.usage is not None:
                self._figures.note(read.usage)
            self._take_end(event, out)
        elif read is None:
            self._pass_unread(event, out)
        else:
            if kind == "message_start":
                self._figures.note_start(event.data)
            out.append(event.raw)
        return True

    def _take_block(self, read: _Event, event: SseEvent, out: list[bytes]) -> None:
        if read.type == "content_block_start":
            self._begin(read)
        block = self._blocks.get(read.index)
        if block is None:
            out.append(event.raw)
            return
        try:
            block.add(read.delta or {})
        except (ValueError, RecursionError):
            self.unreadable |= block.is_call
        block.stopped |= read.type == "content_block_stop"
        if block.waits:
            self._hold(block, event.raw)
            if block.stopped and block.state == "open":
                self._make_complete(block)
        elif block.state == "passing":
            if block.place is None:
                block.frames.append(event.raw)  # it was released, and still waits for its turn
            else:
                out.append(_numbered(event, block))
                self._pass_late(out, only_between=True)

    def _begin(self, read: _Event) -> None:
        block = self._blocks[read.index] = _Block(read.index, read.content_block)
        self._all.append(block)
        self.unreadable |= block.unread
        if block.is_call and self._guards(block.name):
            self._places.touched = True
            self._wait_for(block)
        else:
            block.state = "passing"
            self._place(block)

    def _place(self, block: _Block) -> None:
        block.place = self._places.give(block.index)
        self._calls_passed += block.is_call

    def _pass_held(self, call: _Block, out: list[bytes]) -> None:
        self._late.append(call)
        self._pass_late(out, only_between=True)

    def _pass_late(self, out: list[bytes], *, only_between: bool = False) -> None:
        """Passes the blocks that have been released; only_between: if no other is open."""
        while self._late and not (only_between and self._is_inside()):
            call = self._late.pop(0)
            self._place(call)
            out += [_numbered(event_of(frame), call) for frame in call.frames]
            call.frames.clear()

    def _is_inside(self) -> bool:
        return any(one.place is not None and not one.stopped for one in self._all)

    def _adopted(self, event: SseEvent) -> SseEvent | None:
        read = _read(event)
        if read is None or read.type not in ("message_start", "message_delta"):
            return event
        if read.type == "message_start":
            return None
        usage = msgspec.json.encode(self._figures.together(read.usage or {}))
        return saying(event, splice(event.data, {"usage": usage}))

    def _ending(self, event: SseEvent) -> bytes:
        read = _read(event)
        delta = (read.delta if read is not None else None) or {}
        if not self.withheld or self._calls_passed or delta.get("stop_reason", NULL) != _FOR_CALLS:
            return event.raw
        stopped = msgspec.json.encode({**delta, "stop_reason": "end_turn"})
        return saying(event, splice(event.data, {"delta": stopped})).raw

    def _begin_anew(self) -> None:
        self._figures.begin_anew()
        self._all.clear()
        self._blocks.clear()
        self._places.touched = True


def _read(event: SseEvent) -> _Event | None:
    try:
        OBJECT.decode(event.data)
        read = _EVENT.decode(event.data)
    except (ValueError, RecursionError):
        return None
    return read if read.type else replace(read, type=event.name.decode("utf-8", "replace"))


def _numbered(event: SseEvent, block: _Block) -> bytes:
    """The event of a block with the number that the client knows it by."""
    if block.place is None or block.place == block.index:
        return event.raw
    return saying(event, splice(event.data, {"index": b"%d" % block.place})).raw
