"""A streamed answer of chat as one of the Messages API.

The end waits for the provider's own (`[DONE]`, or that it closes after a finish reason), for the
usage comes after the finish reason, and `message_delta` tells both. Reasoning is not shown (see
`answer`); a ping is sent in its place, so that nobody takes the silence for a stall.
"""

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat_parts import Choice, Said
from proxy.core.dialects.stream_meter import DONE
from proxy.core.sse import SseEvent, SseSplitter
from proxy.core.translation.chat_via_messages.stream import LOST
from proxy.core.translation.errors import messages_error_frame
from proxy.core.translation.finishes import messages_stop
from proxy.core.translation.json_values import ABSENT, is_given
from proxy.core.translation.messages_via_chat.answer import (
    TOLD,
    Groq,
    Told,
    ended_in_error,
    message_of,
    said_text,
    word_of,
)
from proxy.core.translation.messages_via_chat.blocks import Blocks, frame
from proxy.core.translation.usages import messages_usage, no_messages_usage
from proxy.core.usage import Usage

_PING = frame("ping", {})
_ENDED_IN_ERROR = b'"The provider ended the answer with an error."'
_KEEP_ALIVE = b": keep-alive\n\n"


class _Envelope(msgspec.Struct):
    """Read even where the choices beside it cannot be."""

    usage: msgspec.Raw = ABSENT
    service_tier: object = None
    error: msgspec.Raw = ABSENT
    x_groq: Groq | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


class MessagesViaChatStream:
    """A `StreamTranslation`."""

    def __init__(self, created: int) -> None:
        self._splitter = SseSplitter(Bounds().sse_line_bytes)
        self._blocks = Blocks(created)
        self._id = ""
        self._started = False
        self._over = False
        self._closed = False
        self._finish: str | None = None
        self._usage: Usage | None = None

    def feed(self, chunk: bytes) -> bytes:
        return b"".join([self._take(event) for event in self._splitter.feed(chunk)])

    def close(self) -> bytes:
        self._closed = True
        event = self._splitter.close()
        rest = self._take(event) if event is not None else b""
        return rest + (self._end() if self._finish is not None else self._figures())

    def _take(self, sse: SseEvent) -> bytes:
        if self._over:
            return b""
        if not sse.data:
            return self._take_no_data(sse)
        if sse.data == DONE:
            return self._end()
        told = _read(sse.data)
        whole = told is not None
        told = told or _read_envelope(sse.data)
        self._usage = told.used or self._usage
        error = _error_of(told, sse)
        if error is None and not whole and self._is_in_call():
            error = LOST
        if error is None and any(ended_in_error(one) for one in told.choices or ()):
            error = _ENDED_IN_ERROR
        return self._take_choices(told) if error is None else self._fail(error)

    def _is_in_call(self) -> bool:
        """More of a call may come. What is left when the stream closes is cut, not unreadable."""
        return not self._closed and self._finish is None and self._blocks.in_call

    def _take_no_data(self, sse: SseEvent) -> bytes:
        if sse.oversize:
            return self._fail(b'"An event of the provider is too long."')
        return self._alive() if sse.raw.startswith(b":") else b""

    def _fail(self, error: bytes) -> bytes:
        figures = self._figures()
        self._over = True
        return figures + messages_error_frame(error)

    def _take_choices(self, told: Told) -> bytes:
        choices = [choice for choice in told.choices or () if not choice.index]
        if not choices:
            return b""
        begun = b""
        if not self._started:
            self._started = True
            self._id = word_of(told.id)
            begun = frame("message_start", {"message": message_of(told)})
        took = [self._take_delta(choice) for choice in choices]
        came = self._blocks.passed(self._id)
        return begun + (came if any(took) else _PING)

    def _take_delta(self, choice: Choice) -> bool:
        """Whether it had anything that is passed on, now or later."""
        said = choice.delta or Said()
        text = said_text(said)
        if text:
            self._blocks.text(text)
        for part in said.tool_calls or ():
            self._blocks.call(part)
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason
        return bool(text or said.tool_calls or choice.finish_reason)

    def _alive(self) -> bytes:
        return _PING if self._started else _KEEP_ALIVE

    def _figures(self) -> bytes:
        """What is known of the usage where there is no end that could tell it."""
        if self._over or not self._started or self._usage is None:
            return b""
        delta = {"stop_reason": None, "stop_sequence": None}
        return frame("message_delta", {"delta": delta, "usage": messages_usage(self._usage)})

    def _end(self) -> bytes:
        if self._over or not self._started:
            return b""
        self._over = True
        stop = messages_stop(self._finish, calls=self._blocks.has_calls)
        usage = self._usage
        used = messages_usage(usage) if usage is not None else no_messages_usage()
        delta = {"stop_reason": stop, "stop_sequence": None}
        rest = self._blocks.rest(self._id)
        rest += frame("message_delta", {"delta": delta, "usage": used})
        return rest + frame("message_stop", {})


def _read(data: bytes) -> Told | None:
    try:
        told = TOLD.decode(data)
        for choice in told.choices or ():
            said_text(choice.delta or Said())
    except (ValueError, RecursionError):
        return None
    return told


def _read_envelope(data: bytes) -> Told:
    """What can be read of an event whose choices cannot."""
    try:
        around = _ENVELOPE.decode(data)
    except (ValueError, RecursionError):
        return Told()
    return Told(
        usage=around.usage,
        service_tier=around.service_tier,
        error=around.error,
        x_groq=around.x_groq,
    )


def _error_of(told: Told, sse: SseEvent) -> bytes | None:
    if is_given(told.error) or sse.name == b"error":
        return sse.data
    if told.x_groq is not None and is_given(told.x_groq.error):
        return bytes(told.x_groq.error)
    return None
