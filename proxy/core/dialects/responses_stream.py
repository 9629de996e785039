"""Meters streams of `/v1/responses`. Every event names its type; most servers say it twice."""

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.reported import BYTES_PER_TOKEN
from proxy.core.dialects.responses_answer import (
    RESPONSE,
    Response,
    answer_of,
    failure_message,
    read_usage,
    size_of,
)
from proxy.core.dialects.responses_items import ITEM, Item
from proxy.core.sse import SseEvent, SseSplitter
from proxy.core.usage import Answer, Usage

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
    """An output item as far as it has come: what `added` said of it, and its deltas."""

    item: Item = Item()
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


class ResponsesMeter:
    """Implements `Meter`. `failed` and `ended` are set by `response.failed` and by `error`, after
    which the provider sends nothing of use; a stream that ends without either was truncated."""

    def __init__(self, bounds: Bounds) -> None:
        self.committed = False
        self.ended = False
        self.finish_seen = False
        self.failed: str | None = None
        self.malformed = 0
        self.usage: Usage | None = None
        self.output_tokens_least = 0
        self.output_tokens_counted = 0
        self._splitter = SseSplitter(bounds.sse_line_bytes)
        self._response = Response()
        self._begun: dict[int, _Begun] = {}
        self._done: dict[int, Item] = {}
        self._deltas = 0
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        for event in self._splitter.feed(chunk):
            if event.data:
                self._read(event)
            elif event.oversize:
                self._read_oversize(event.raw)
        return chunk

    def close(self) -> bytes:
        event = self._splitter.close()
        if event is not None and event.data:
            malformed = self.malformed
            self._read(event)
            self.malformed = malformed  # an event that was cut is not a malformed one
        return b""

    def answer(self) -> Answer:
        items = self._response.items()
        if not items:
            parts = {index: begun.whole() for index, begun in self._begun.items()} | self._done
            items = [parts[index] for index in sorted(parts)]
        return answer_of(items, self._response)

    def _read(self, sse: SseEvent) -> None:
        if sse.data == b"[DONE]":
            return
        try:
            event = _EVENT.decode(sse.data)
        except (ValueError, RecursionError):
            self.malformed += 1
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

    def _read_delta(self, kind: str, delta: str, output_index: object) -> None:
        if not delta:
            return
        self.committed = True
        if kind in _TEXT_DELTAS or kind in _WRITTEN_DELTAS:
            self._at(output_index).texts.append(delta)
        self._deltas += 1
        self._count(len(delta) if delta.isascii() else len(delta.encode()))

    def _read_item(self, kind: str, event: _Event) -> None:
        try:
            item = ITEM.decode(event.item)
        except (ValueError, RecursionError):
            item = Item("unreadable")
        begun = self._at(event.output_index)
        self.committed |= item.type not in _QUIET_ITEMS or kind.endswith(".done")
        if kind.endswith(".done"):
            self._done[_index(event.output_index)] = item
            if not begun.texts:
                self._count(size_of(answer_of((item,), self._response)))
        else:
            begun.item = item

    def _read_response(self, state: str, raw: msgspec.Raw) -> None:
        if state not in _ENDS and self._response.id is not None:
            return  # in_progress repeats what created said, instructions and tools and all
        try:
            self._response = RESPONSE.decode(raw)
        except (ValueError, RecursionError):
            self.malformed += 1
        self.usage = read_usage(self._response.usage) or self.usage
        self._count(0)
        if state in _ENDS:
            self.ended = self.finish_seen = True
        if state == "failed":
            self.failed = self._response.failure or _UNTOLD

    def _read_oversize(self, head: bytes) -> None:
        """An event beyond the bound is passed on unread, but must not look like a missing end."""
        if any(end in head[:256] for end in (b"response.completed", b"response.incomplete")):
            self.ended = self.finish_seen = True
        else:
            self.malformed += 1

    def _at(self, output_index: object) -> _Begun:
        at = _index(output_index)
        begun = self._begun.get(at)
        if begun is None:
            begun = self._begun[at] = _Begun()
        return begun

    def _count(self, size_bytes: int) -> None:
        """A delta is at least one token; the provider's own figure counts if it is more."""
        self._size_bytes += size_bytes
        said = self.usage.output_tokens if self.usage is not None else 0
        self.output_tokens_least = least = max(self._deltas, said)
        self.output_tokens_counted = max(least, -(-self._size_bytes // BYTES_PER_TOKEN))


def _index(output_index: object) -> int:
    return output_index if isinstance(output_index, int) else 0
