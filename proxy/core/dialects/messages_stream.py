"""Meters streams of `/v1/messages`: blocks by index, usage that grows, `message_stop` last."""

import msgspec
from msgspec.structs import replace

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages_answer import (
    BLOCK,
    WHOLE,
    Figures,
    failure_message,
    read_figures,
)
from proxy.core.dialects.messages_blocks import Block
from proxy.core.dialects.reported import text_or_none
from proxy.core.dialects.stream_meter import StreamMeter
from proxy.core.dialects.template_making import Delta
from proxy.core.sse import SseEvent
from proxy.core.usage import Answer, ToolCall

_ABSENT = msgspec.Raw()
_QUIET_BLOCKS = frozenset({"text", "thinking"})


class _Delta(msgspec.Struct, frozen=True):
    """`object`: a new kind of delta may hold anything under these names."""

    text: object = None
    partial_json: object = None
    thinking: object = None
    stop_reason: object = None


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    index: object = None
    delta: _Delta | None = None
    content_block: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: object = None


class _Begun(msgspec.Struct):
    """A block as far as it has come: what its start said, and its deltas."""

    block: Block = Block("text")
    written: list[str] = msgspec.field(default_factory=list)


_EVENT = msgspec.json.Decoder(_Event)


class MessagesMeter(StreamMeter):
    """Implements `Meter`. After an `error` event the provider sends nothing: it ends the stream."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._response_id: str | None = None
        self._stop_reason: str | None = None
        self._figures = Figures()
        self._blocks: dict[int, _Begun] = {}

    def answer(self) -> Answer:
        texts: list[str] = []
        calls: list[ToolCall] = []
        for _, begun in sorted(self._blocks.items()):
            written = "".join(begun.written)
            call = begun.block.tool_call(written)
            if call is not None:
                calls.append(call)
            elif begun.block.type == "text":
                texts += (begun.block.text or "", written)
        return Answer("".join(texts), tuple(calls), self._response_id, self._stop_reason)

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
        if kind == "content_block_delta" and event.delta is not None:
            self._read_delta(event.index, event.delta)
        elif kind == "error" or (not kind and event.error is not None):
            self.ended = True
            self.failed = failure_message(event.error)
        else:
            self._read_rare(kind, event)

    def _read_plain(self, name: bytes, data: bytes) -> Delta | None:
        event = _EVENT.decode(data)
        kind, delta = event.type or name.decode("utf-8", "replace"), event.delta
        if kind != "content_block_delta" or delta is None:
            return None
        begun = self._blocks.get(_index(event.index))
        told = [one for one in (delta.text, delta.partial_json, delta.thinking) if one]
        if len(told) != 1 or not isinstance(told[0], str):
            return None
        if delta.thinking:
            return Delta(told[0], None)
        return None if begun is None else Delta(told[0], begun.written)

    def _read_rare(self, kind: str, event: _Event) -> None:
        match kind:
            case "content_block_start":
                self._read_block(event)
            case "message_start":
                self._read_message(event.message)
            case "message_delta":
                self._read_end(event)
            case "message_stop":
                self.ended = True

    def _read_delta(self, index: object, delta: _Delta) -> None:
        self.committed = True
        spoken = delta.text or delta.partial_json
        made = spoken or delta.thinking
        if not isinstance(made, str):
            return  # signatures and citations: nothing that was generated token by token
        if isinstance(spoken, str):
            self._at(index).written.append(spoken)
        self._count.add(made)

    def _read_block(self, event: _Event) -> None:
        try:
            block = BLOCK.decode(event.content_block)
        except (ValueError, RecursionError):
            block = Block("unreadable")
        self._at(event.index).block = block
        self.committed |= block.type not in _QUIET_BLOCKS or bool(block.text)
        self._count.add(block.text or "")
        self._count.add_call(block.name or "")

    def _read_message(self, raw: msgspec.Raw) -> None:
        try:
            whole = WHOLE.decode(raw)
        except (ValueError, RecursionError):
            self.malformed += 1
            return
        self._response_id = text_or_none(whole.id)
        self._take_figures(read_figures(whole.usage))

    def _read_end(self, event: _Event) -> None:
        if event.delta is not None and isinstance(event.delta.stop_reason, str):
            self._stop_reason = event.delta.stop_reason
            self.finish_seen = True
        told = read_figures(event.usage)
        self._take_figures(told)
        if self.usage is not None and told.output_tokens is None:
            # The figure of the beginning is no final one: what has passed is at least as much.
            self._sum_up()
            self.usage = replace(self.usage, output_tokens=self.output_tokens_counted)

    def _take_figures(self, told: Figures) -> None:
        self._figures = self._figures.updated(told)
        self.usage = self._figures.so_far()

    def _at(self, index: object) -> _Begun:
        at = _index(index)
        begun = self._blocks.get(at)
        if begun is None:
            begun = self._blocks[at] = _Begun()
        return begun


def _index(index: object) -> int:
    return index if isinstance(index, int) else 0
