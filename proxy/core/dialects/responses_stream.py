"""Meters streams of `/v1/responses`. Every event names its type; most servers say it twice."""

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses_answer import (
    RESPONSE,
    Response,
    answer_of,
    failure_message,
)
from proxy.core.dialects.responses_items import ITEM, Item
from proxy.core.dialects.stream_meter import StreamMeter
from proxy.core.dialects.template_making import Delta
from proxy.core.sse import SseEvent
from proxy.core.usage import Answer

_ABSENT = msgspec.Raw()
_TEXT_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_WRITTEN_DELTAS = frozenset(
    {"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"}
)
_ENDS = frozenset({"completed", "incomplete", "failed", "cancelled"})
_QUIET_ITEMS = frozenset({"message", "reasoning"})


class _Event(msgspec.Struct, frozen=True):
    """`object` where a server's own event may hold anything under that name."""

    type: str = ""
    delta: object = None
    output_index: object = None
    item: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT
    error: object = None
    message: object = None


class _Begun(msgspec.Struct):
    """An output item as far as it has come: what `added` said of it, and its deltas. is_named: the
    tool that it calls is counted."""

    item: Item = Item()
    is_named: bool = False
    texts: list[str] = msgspec.field(default_factory=list)

    def whole(self) -> Item:
        """The item as it would stand in the output now."""
        text = msgspec.Raw(msgspec.json.encode("".join(self.texts)))
        if self.item.type == "custom_tool_call":
            return msgspec.structs.replace(self.item, input=text)
        if self.item.type is None or self.item.is_message:
            return msgspec.structs.replace(self.item, type="message", content=text)
        return msgspec.structs.replace(self.item, arguments=text) if self.texts else self.item


_EVENT = msgspec.json.Decoder(_Event)
_UNTOLD = "the provider reported an error"


class ResponsesMeter(StreamMeter):
    """Implements `Meter`. `failed` and `ended` are set by `response.failed` and by `error`, after
    which the provider sends nothing of use; a stream that ends without either was truncated."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._response = Response()
        self._begun: dict[int, _Begun] = {}
        self._done: dict[int, Item] = {}

    def answer(self) -> Answer:
        items = self._response.items()
        if not items:
            parts = {index: begun.whole() for index, begun in self._begun.items()} | self._done
            items = [parts[index] for index in sorted(parts)]
        return answer_of(items, self._response)

    def _read(self, sse: SseEvent) -> None:
        if not sse.data:
            self._pass_over(sse)
            return
        try:
            event = _EVENT.decode(sse.data)
        except (ValueError, RecursionError):
            self._read_odd(sse)
            return
        kind = event.type or sse.name.decode("utf-8", "replace")
        if isinstance(event.delta, str):
            self._read_delta(kind, event.delta, event.output_index)
        elif kind.startswith("response.output_item."):
            self._read_item(kind, event)
        elif kind == "error" or (not kind and event.error is not None):
            self.ended = True
            self.failed = failure_message(event.message) or failure_message(event.error) or _UNTOLD
        elif event.response is not _ABSENT:
            self._read_response(kind.removeprefix("response."), event.response)
        elif kind.endswith(".partial_image"):
            self.committed = True

    def _read_plain(self, name: bytes, data: bytes) -> Delta | None:
        event = _EVENT.decode(data)
        kind = event.type or name.decode("utf-8", "replace")
        if not isinstance(event.delta, str) or not event.delta:
            return None
        begun = self._begun.get(_index(event.output_index))
        if kind in _TEXT_DELTAS or kind in _WRITTEN_DELTAS:
            return None if begun is None else Delta(event.delta, begun.texts)
        return Delta(event.delta, None)

    def _read_delta(self, kind: str, delta: str, output_index: object) -> None:
        if not delta:
            return
        self.committed = True
        if kind in _TEXT_DELTAS or kind in _WRITTEN_DELTAS:
            self._at(output_index).texts.append(delta)
        self._count.add(delta)

    def _read_item(self, kind: str, event: _Event) -> None:
        try:
            item = ITEM.decode(event.item)
        except (ValueError, RecursionError):
            item = Item("unreadable")
        begun = self._at(event.output_index)
        self.committed |= item.type not in _QUIET_ITEMS or kind.endswith(".done")
        if kind.endswith(".done"):
            self._done[_index(event.output_index)] = item
            if not begun.is_named:
                self._count.add_call(item.named)
            if not begun.texts:
                self._count_whole(answer_of((item,), self._response))
        else:
            begun.item = item
            begun.is_named = bool(item.named)
            self._count.add_call(item.named)

    def _read_response(self, state: str, raw: msgspec.Raw) -> None:
        if state not in _ENDS and self._response.id is not None:
            return  # in_progress repeats what created said, instructions and tools and all
        try:
            self._response = RESPONSE.decode(raw)
        except (ValueError, RecursionError):
            self.malformed += 1
        self.usage = self._response.used or self.usage
        if state in _ENDS:
            self.ended = self.finish_seen = True
        if state == "failed":
            self.failed = self._response.failure or _UNTOLD

    def _pass_over(self, event: SseEvent) -> None:
        """A last event beyond the bound is passed on unread, but must not look like a missing end:
        an image may be in it."""
        head = event.raw[:256]
        if event.oversize and (b"response.completed" in head or b"response.incomplete" in head):
            self.ended = self.finish_seen = True
        else:
            super()._pass_over(event)

    def _at(self, output_index: object) -> _Begun:
        at = _index(output_index)
        begun = self._begun.get(at)
        if begun is None:
            begun = self._begun[at] = _Begun()
        return begun

    def _count_whole(self, answer: Answer) -> None:
        self._count.add(answer.text)
        for call in answer.tool_calls:
            self._count.add(call.arguments)


def _index(output_index: object) -> int:
    return output_index if isinstance(output_index, int) else 0
