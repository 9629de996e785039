"""Meters the answers of chat completions, legacy completions and embeddings.

Theory of operation. Chunks pass as they come and are read beside. Only where usage was asked for
on the client's behalf does the meter hold back, and never more than an unfinished event: the chunk
that has only usage (`choices: []`) is dropped, and the `"usage":null` that OpenAI then adds to all
others is cut out. A chunk with choices and usage (Mistral, DeepSeek, Groq) passes as it is.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from proxy.core.dialects.base import Bounds, Meter, Unstreamed
from proxy.core.dialects.chat_answer import AnswerBuilder, plain_text
from proxy.core.dialects.chat_parts import Choice
from proxy.core.dialects.chat_usage import read_usage
from proxy.core.dialects.output_count import OutputCount
from proxy.core.dialects.stream_meter import DONE, StreamMeter
from proxy.core.dialects.template_making import Delta
from proxy.core.splice import splice
from proxy.core.sse import SseEvent, with_data
from proxy.core.usage import Answer, Usage

_ABSENT = msgspec.Raw(b"")
_NULL = msgspec.Raw(b"null")
_USAGE_NULL = b',"usage":null'
_ERROR_LENGTH = 1000


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Envelope(msgspec.Struct, gc=False):
    """What is around an answer: read even where the answer is not as it should be."""

    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    x_groq: _Groq | None = None
    service_tier: object = None


class _Chunk(_Envelope, gc=False):
    """A chunk of a stream or a whole answer."""

    id: str | int | None = None
    choices: list[Choice] | None = None


class _Embeddings(_Envelope, gc=False):
    data: list[msgspec.Raw] | None = None


class _Error(msgspec.Struct, gc=False):
    message: str | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_CHUNK = msgspec.json.Decoder(_Chunk)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_ERROR = msgspec.json.Decoder(_Error)


class ChatMeter(StreamMeter):
    """A `Meter` of one stream; see the protocol in `base`."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._builder = AnswerBuilder(self._count)
        self._response_id: str | None = None

    def answer(self) -> Answer:
        return self._builder.answer(self._response_id)

    def _read(self, event: SseEvent) -> bytes:
        """Meters an event, and returns what of it is forwarded."""
        builder, passed = self._builder, event.raw
        if not event.data:
            self._pass_over(event)
            return passed
        try:
            chunk = _CHUNK.decode(event.data)
            for choice in chunk.choices or ():
                builder.take(choice, choice.delta)
        except (ValueError, RecursionError):
            self._read_odd(event)
        else:
            if self._response_id is None and chunk.id:
                self._response_id = str(chunk.id)
            if chunk.usage is not _ABSENT or chunk.error is not _ABSENT or chunk.x_groq is not None:
                passed = self._take_envelope(event, chunk)
        self.committed = builder.committed
        self.finish_seen = builder.finished
        if event.name == b"error" and self.failed is None:
            self.failed = _error_message(msgspec.Raw(event.data))
        return passed

    def _read_plain(self, name: bytes, data: bytes) -> Delta | None:
        chunk = _CHUNK.decode(data)
        told = chunk.usage is not _ABSENT and chunk.usage != _NULL
        if told or chunk.error is not _ABSENT or chunk.x_groq is not None or name == b"error":
            return None
        if chunk.choices is None or len(chunk.choices) != 1:
            return None
        return self._builder.delta_of(chunk.choices[0])

    def _read_odd(self, event: SseEvent) -> None:
        super()._read_odd(event)
        if event.data == DONE:
            self.ended = True
            return
        with suppress(ValueError, RecursionError):  # usage and error beside what is no choice
            self._take_told(_ENVELOPE.decode(event.data))

    def _take_envelope(self, event: SseEvent, chunk: _Chunk) -> bytes:
        self._take_told(chunk)
        return event.raw

    def _take_told(self, envelope: _Envelope) -> None:
        if envelope.usage == _NULL and envelope.error is _ABSENT and envelope.x_groq is None:
            return  # every chunk of OpenAI's
        self.usage = _usage_of(envelope) or self.usage
        self.failed = self.failed or _error_of(envelope)


class StrippingMeter(ChatMeter):
    """Also takes out what is only sent because we asked for usage."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._passed: list[bytes] = []

    def _feed(self, chunk: bytes) -> bytes:
        super()._feed(chunk)
        self.at_border = not self._splitter.in_pieces
        parts, self._passed = self._passed, []
        passed = parts[0] if len(parts) == 1 else b"".join(parts)
        return chunk if passed == chunk else passed

    def close(self) -> bytes:
        event = self._splitter.close()
        if event is None:
            return b""
        malformed = self.malformed
        passed = self._read(event)
        self.malformed = malformed  # a line that was cut is not a malformed one
        self._sum_up()
        return passed

    def _forward(self, passed: bytes) -> None:
        self._passed.append(passed)

    def _take_envelope(self, event: SseEvent, chunk: _Chunk) -> bytes:
        self._take_told(chunk)
        if chunk.usage is _ABSENT:
            return event.raw
        if chunk.usage == _NULL:
            return _without_usage(event)
        return b"" if chunk.choices == [] and chunk.error is _ABSENT else event.raw


def meter_of(*, strip_usage: bool, bounds: Bounds) -> Meter:
    """A fresh meter for one stream of the chat family."""
    return StrippingMeter(bounds) if strip_usage else ChatMeter(bounds)


def read_answer(body: bytes) -> Unstreamed:
    """Meters an unstreamed answer of chat or legacy completions."""
    try:
        whole = _CHUNK.decode(body)
        answer = _answer_of(whole.choices or [], str(whole.id or "") or None)
    except (ValueError, RecursionError) as error:
        return _unreadable(body, error)
    malformed = None if whole.choices else _error_of(whole) or "it has no choices"
    return Unstreamed(answer, _usage_of(whole), malformed)


def _answer_of(choices: Sequence[Choice], response_id: str | None) -> Answer:
    """Raises msgspec.DecodeError for content parts that are none."""
    if len(choices) == 1 and (text := plain_text(choices[0])) is not None:
        return Answer(text, (), response_id, choices[0].finish_reason)
    builder = AnswerBuilder(OutputCount())
    for choice in choices:
        builder.take(choice, choice.message)
    return builder.answer(response_id)


def read_embeddings(body: bytes) -> Unstreamed:
    """Meters an answer of the embeddings endpoint: only input is billed."""
    try:
        whole = _EMBEDDINGS.decode(body)
    except (ValueError, RecursionError) as error:
        return _unreadable(body, error)
    malformed = None if whole.data is not None else _error_of(whole) or "it has no data"
    return Unstreamed(Answer(), _usage_of(whole), malformed)


def _unreadable(body: bytes, error: Exception) -> Unstreamed:
    reason = f"it cannot be read: {error}" if body.strip() else "it is empty"
    return Unstreamed(Answer(), None, reason)


def _usage_of(envelope: _Envelope) -> Usage | None:
    usage = read_usage(envelope.usage, envelope.service_tier)
    return read_usage(envelope.x_groq.usage) if usage is None and envelope.x_groq else usage


def _error_of(envelope: _Envelope) -> str | None:
    message = _error_message(envelope.error)
    return _error_message(envelope.x_groq.error) if message is None and envelope.x_groq else message


def _error_message(raw: msgspec.Raw) -> str | None:
    """What an error object, or whatever a provider sends in its place, says; None for null."""
    text = bytes(raw).decode("utf-8", "replace")
    if text in ("", "null"):
        return None
    try:
        return (_ERROR.decode(raw).message or text)[:_ERROR_LENGTH]
    except (ValueError, RecursionError):
        return text[:_ERROR_LENGTH]


def _without_usage(event: SseEvent) -> bytes:
    """An event that is known to have a null `usage` at top level, without it.

    A key in these bytes is a key of some object, for inside of a text its quotes would have
    backslashes; and where only one bracket closes after it, that object is the outermost.
    """
    head, found, tail = event.raw.rpartition(_USAGE_NULL)
    if found and tail.count(b"}") == 1:
        return head + tail
    return with_data(event, splice(event.data, {"usage": None}))
