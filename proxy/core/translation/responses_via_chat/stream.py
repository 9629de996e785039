"""A streamed answer of chat as the events of a response.

Theory of operation. Chat streams pieces; a response streams items that begin, grow and end, each in
its place. Reasoning and text are one item each as long as nothing else comes between. Calls stay
open to the end: a provider may go on with an earlier one. The end is told when the provider has
told it (`[DONE]`, which some never send, then when the stream is over): until then usage may come.
A call that was cut short by a bound is not told as done, for some clients run what is done.
"""

from collections.abc import Iterable, Iterator

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat_parts import Choice
from proxy.core.dialects.chat_usage import read_usage
from proxy.core.dialects.responses_render import event_frame
from proxy.core.dialects.stream_meter import DONE
from proxy.core.sse import SseEvent, SseSplitter
from proxy.core.translation.json_values import ABSENT, Json, is_given
from proxy.core.translation.responses_via_chat.answer import Head, ended
from proxy.core.translation.responses_via_chat.calls import OpenCalls
from proxy.core.translation.responses_via_chat.errors import failure_of
from proxy.core.translation.responses_via_chat.growing import Event, GrowingCall, GrowingText
from proxy.core.translation.responses_via_chat.said import (
    CHUNK,
    ENVELOPE,
    Envelope,
    Kind,
    calls_of,
    pieces_of,
)
from proxy.core.usage import Usage

_ALIVE = b": keep-alive\n\n"
_TOO_LONG = b'"An event of the provider is too long."'
_UNREADABLE = b'"A part of a tool call cannot be read."'


class ResponseStream:
    """Implements `StreamTranslation`. An event that cannot be read is left out; but while a call
    is under way it ends the stream with an error, for a piece of the arguments may have been in it,
    and what is left could be run."""

    def __init__(self, body: bytes, created: int) -> None:
        self._head = Head(body, created)
        self._splitter = SseSplitter(Bounds().sse_line_bytes)
        self._number = 0
        self._items: list[GrowingText | GrowingCall] = []
        self._text: GrowingText | None = None
        self._calls = OpenCalls(self._begin_call)
        self._index: int | None = None
        self._finish: str | None = None
        self._model: object = None
        self._usage: Usage | None = None
        self._begun = False
        self._over = False

    def feed(self, chunk: bytes) -> bytes:
        return b"".join([self._told(event) for event in self._splitter.feed(chunk)])

    def close(self) -> bytes:
        last = self._splitter.close()
        told = b"" if last is None else self._told(last, is_cut=True)
        if self._finish is not None and not self._over:
            told += self._end()
        return told

    def _told(self, event: SseEvent, *, is_cut: bool = False) -> bytes:
        if self._over:
            return b""
        if event.data == DONE:
            return self._end() if self._begun else b""
        if not event.data:
            return self._told_nothing(event)
        told: list[bytes] = []
        try:
            chunk = CHUNK.decode(event.data)
            self._take_told(chunk)
            told.append(self._begin())
            for choice in chunk.choices or ():
                told += self._take_choice(choice)
        except (ValueError, RecursionError):
            return b"".join(told) + (b"" if is_cut else self._odd(event))
        error = _error_of(chunk, event)
        return b"".join(told) if error is None else b"".join(told) + self._fail(error)

    def _told_nothing(self, event: SseEvent) -> bytes:
        if event.oversize:
            return self._begin() + self._fail(_TOO_LONG)
        return _ALIVE if event.raw.startswith(b":") else b""

    def _odd(self, event: SseEvent) -> bytes:
        """What cannot be read as a chunk."""
        error: bytes | None = None
        try:
            around = ENVELOPE.decode(event.data)
        except (ValueError, RecursionError):
            pass
        else:
            self._take_told(around)
            error = _error_of(around, event)
        if error is None and self._calls.under_way and self._finish is None:
            error = _UNREADABLE
        return b"" if error is None else self._begin() + self._fail(error)

    def _take_told(self, around: Envelope) -> None:
        self._model = self._model or around.model
        groq = around.x_groq
        usage = read_usage(around.usage, around.service_tier)
        self._usage = usage or (read_usage(groq.usage) if groq else None) or self._usage

    def _take_choice(self, choice: Choice) -> Iterator[bytes]:
        """Of several the first that came; a response has no more."""
        if self._index is None:
            self._index = choice.index or 0
        if (choice.index or 0) != self._index:
            return
        if choice.delta is not None:
            for kind, piece in pieces_of(choice.delta):
                yield from self._frames(self._say(kind, piece))
            for call in calls_of(choice.delta):
                yield from self._frames(self._end_text())
                yield from self._frames(self._calls.take(call))
        self._finish = choice.finish_reason or self._finish

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        begun: Json = {"response": self._response("in_progress")}
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._frames([(kind, begun) for kind in kinds]))

    def _say(self, kind: Kind, piece: str) -> Iterator[Event]:
        if not piece:
            return
        is_reasoning = kind == "reasoning"
        if self._text is not None and self._text.is_reasoning != is_reasoning:
            yield from self._end_text()
        if self._text is None:
            at = len(self._items)
            item_id = self._head.item_id("rs" if is_reasoning else "msg", at)
            self._text = GrowingText(item_id, at, is_reasoning=is_reasoning)
            self._items.append(self._text)
            yield from self._text.begin()
        yield from self._text.grow(kind, piece)

    def _end_text(self, status: str = "completed") -> Iterator[Event]:
        if self._text is not None:
            yield from self._text.end(status)
            self._text = None

    def _begin_call(self, call_id: str, name: str) -> GrowingCall:
        at, called = len(self._items), self._head.offer.of(name)
        item_id = self._head.item_id("ctc" if called.is_custom else "fc", at)
        call = GrowingCall(item_id, at, called, self._head.call_id(call_id, at))
        self._items.append(call)
        return call

    def _end(self) -> bytes:
        status, more = ended(self._finish)
        told = [self._begin()]
        told += self._frames(self._end_text(status if status == "incomplete" else "completed"))
        told += self._frames(self._calls.end(is_cut=status == "incomplete"))
        self._over = True
        told += self._frames([(f"response.{status}", {"response": self._response(status) | more})])
        return b"".join(told)

    def _fail(self, error: bytes) -> bytes:
        """Typed readers end on the first event, untyped ones raise on the second, which tells the
        error twice: nested, as every SDK raises it, and flat, as the API's own."""
        self._over = True
        failure = failure_of(error)
        response = self._response("failed")
        response["error"] = {"code": failure["code"], "message": failure["message"]}
        events: list[Event] = [
            ("response.failed", {"response": response}),
            ("error", failure | {"param": None, "error": failure}),
        ]
        return b"".join(self._frames(events))

    def _response(self, status: str) -> Json:
        output = [item.item() for item in self._items]
        usage = None if status == "in_progress" else self._usage
        return self._head.response(self._model, status, output, usage)

    def _frames(self, events: Iterable[Event]) -> list[bytes]:
        frames = []
        for kind, event in events:
            frames.append(event_frame(kind, self._number, event))
            self._number += 1
        return frames


def _error_of(chunk: Envelope, event: SseEvent) -> bytes | None:
    if event.name == b"error" or is_given(chunk.error):
        return event.data
    told = chunk.x_groq.error if chunk.x_groq else ABSENT
    return bytes(told) if is_given(told) else None
