"""A streamed answer of the Messages API as one of chat, event by event.

Each block's deltas become deltas of the one message; calls are numbered in the order they begin in.
The reason of the end comes with the last figures, so both are passed on at once, and `[DONE]` when
the provider says that it is over. Thinking is shown as `reasoning_content`, which clients of chat
know from DeepSeek and show or ignore; nothing has to come back of it.
"""

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages_answer import BLOCK, Figures, read_figures
from proxy.core.dialects.messages_blocks import Block
from proxy.core.dialects.stream_meter import DONE
from proxy.core.sse import SseEvent, SseSplitter, encode_frame
from proxy.core.translation.chat_via_messages.answer import TOLD, Told, call_of, head_of
from proxy.core.translation.errors import chat_error_frame
from proxy.core.translation.finishes import chat_finish
from proxy.core.translation.json_values import ABSENT, Json
from proxy.core.translation.usages import chat_usage

LOST = b'"A part of a tool call cannot be read."'
"""What is left of its arguments may parse, and be run. Elsewhere one line is left out."""
_KEEP_ALIVE = b": keep-alive\n\n"
_NO_INPUT = (b"", b"null", b"{}")


class _Delta(msgspec.Struct):
    """`object`: a new kind of delta may hold anything under these names."""

    text: object = None
    partial_json: object = None
    thinking: object = None
    stop_reason: object = None


class _Event(msgspec.Struct):
    type: str = ""
    index: object = None
    delta: _Delta | None = None
    content_block: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _Call(msgspec.Struct):
    """number: its place among the calls. begun: whether any of its arguments has passed."""

    number: int
    block: Block
    begun: bool = False


_EVENT = msgspec.json.Decoder(_Event)


class ChatViaMessagesStream:
    """A `StreamTranslation`.

    own: places of blocks that are no calls of the client's tools. bare: calls that ended without
    arguments: they have none, unless the answer was cut off just there. begun: no figures but those
    of the beginning have come. has_final: others have. ended: the reason of the end has passed.
    over: nothing may follow. closed: what is read now may have been cut.
    """

    def __init__(self, created: int) -> None:
        self._splitter = SseSplitter(Bounds().sse_line_bytes)
        self._created = created
        self._head: Json = {}
        self._figures = Figures()
        self._calls: dict[int, _Call] = {}
        self._own: set[int] = set()
        self._bare: list[_Call] = []
        self._numbers = 0
        self._begun = False
        self._has_final = False
        self._ended = False
        self._over = False
        self._closed = False

    def feed(self, chunk: bytes) -> bytes:
        return b"".join([self._take(event) for event in self._splitter.feed(chunk)])

    def close(self) -> bytes:
        self._closed = True
        event = self._splitter.close()
        rest = self._take(event) if event is not None else b""
        return rest + self._broken_off()

    def _take(self, sse: SseEvent) -> bytes:
        if self._over:
            return b""
        if not sse.data:
            return self._take_no_data(sse)
        try:
            event = _EVENT.decode(sse.data)
        except (ValueError, RecursionError):
            return self._fail(LOST) if self._calls and not self._closed else b""
        kind = event.type or sse.name.decode("utf-8", "replace")
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "error" or (not kind and event.error is not ABSENT):
            return self._fail(event.error)
        return self._rare(kind, event)

    def _take_no_data(self, sse: SseEvent) -> bytes:
        if sse.oversize:
            return self._fail(b'"An event of the provider is too long."')
        return _KEEP_ALIVE if sse.raw.startswith(b":") else b""

    def _fail(self, error: bytes | msgspec.Raw) -> bytes:
        usage = self._broken_off()
        self._over = True
        return usage + chat_error_frame(error)

    def _broken_off(self) -> bytes:
        """The figures that it began with, where no others have come."""
        return self._usage() if self._begun and not self._over else b""

    def _rare(self, kind: str, event: _Event) -> bytes:
        match kind:
            case "message_start":
                return self._start(event.message)
            case "content_block_start":
                return self._begin(event)
            case "content_block_stop":
                return self._written_out(_place(event.index))
            case "message_delta":
                return self._delta_of_message(event)
            case "message_stop":
                return self._stop()
            case "ping":
                return _KEEP_ALIVE
        return b""

    def _start(self, raw: msgspec.Raw) -> bytes:
        try:
            told = TOLD.decode(raw)
        except (ValueError, RecursionError):
            return b""
        self._head = head_of(told, "chat.completion.chunk", self._created)
        self._figures = self._figures.updated(read_figures(told.usage))
        self._begun = True
        return self._chunk({"role": "assistant", "content": ""})

    def _begin(self, event: _Event) -> bytes:
        try:
            block = BLOCK.decode(event.content_block)
        except (ValueError, RecursionError):
            return self._fail(LOST) if b"tool_use" in bytes(event.content_block) else b""
        place = _place(event.index)
        known = self._calls.get(place)
        if known is not None and block.id and block.id == known.block.id:
            return b""  # told twice
        before = self._written_out(place)  # some number all blocks alike, and end none
        if block.type != "tool_use":
            self._own.add(place)
            said = block.text if block.type == "text" else ""
            return before + (self._chunk({"content": said}) if said else b"")
        self._own.discard(place)
        call = self._calls[place] = _Call(self._numbers, block)
        self._numbers += 1
        told = {"index": call.number} | call_of(block, "")
        return before + self._chunk({"tool_calls": [told]})

    def _delta(self, event: _Event) -> bytes:
        delta = event.delta
        if delta is None:
            return b""
        if delta.text and isinstance(delta.text, str):
            return self._chunk({"content": delta.text})
        if delta.partial_json:
            return self._piece(_place(event.index), delta.partial_json)
        if delta.thinking and isinstance(delta.thinking, str):
            return self._chunk({"reasoning_content": delta.thinking})
        return b""

    def _piece(self, place: int, written: object) -> bytes:
        """Of the input of the client's tools or of the provider's own, which nobody is told."""
        if place in self._own:
            return b""
        call = self._calls.get(place)
        if call is None or not isinstance(written, str):
            return self._fail(LOST)
        return self._arguments(call, written)

    def _written_out(self, place: int) -> bytes:
        """A call's input may stand in its beginning, or nowhere where it has none."""
        call = self._calls.pop(place, None)
        if call is None or call.begun:
            return b""
        written = bytes(call.block.input)
        if written in _NO_INPUT:
            self._bare.append(call)
            return b""
        return self._arguments(call, written.decode())

    def _arguments(self, call: _Call, written: str) -> bytes:
        call.begun = True
        part = {"index": call.number, "function": {"arguments": written}}
        return self._chunk({"tool_calls": [part]})

    def _delta_of_message(self, event: _Event) -> bytes:
        """Figures before the reason of the end wait for it: clients add up what they are told."""
        told = read_figures(event.usage)
        self._figures = self._figures.updated(told)
        self._has_final = self._has_final or told.output_tokens is not None
        reason = event.delta.stop_reason if event.delta is not None else None
        if isinstance(reason, str) and not self._ended:
            return self._end(reason)
        return self._usage() if self._ended or not self._begun else b""

    def _stop(self) -> bytes:
        """That it is over is an end, be it told without a reason; of nothing it is none."""
        end = self._end("end_turn") if self._begun else b""
        self._over = True
        return end + encode_frame(DONE) if self._ended else b""

    def _end(self, reason: str) -> bytes:
        finish = chat_finish(reason, calls=self._numbers > 0)
        passed = b"".join([self._written_out(place) for place in list(self._calls)])
        for call in self._bare:
            if finish != "length" or call.number != self._numbers - 1:
                passed += self._arguments(call, "{}")
        passed += self._chunk({}, finish)
        self._begun, self._ended = False, True
        if not self._has_final:
            return passed  # the output that it began with is no final figure: there is none
        return passed + self._usage()

    def _usage(self) -> bytes:
        usage = self._figures.so_far()
        if usage is None:
            return b""
        return _frame(self._headed() | {"choices": [], "usage": chat_usage(usage)})

    def _chunk(self, delta: Json, finish: str | None = None) -> bytes:
        choice: Json = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _frame(self._headed() | {"choices": [choice]})

    def _headed(self) -> Json:
        self._head = self._head or head_of(Told(), "chat.completion.chunk", self._created)
        return self._head


def _place(index: object) -> int:
    return index if isinstance(index, int) else 0


def _frame(chunk: Json) -> bytes:
    return encode_frame(msgspec.json.encode(chunk))
