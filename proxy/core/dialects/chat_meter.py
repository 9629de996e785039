"""Meters the answers of chat completions, legacy completions and embeddings.

Theory of operation. Chunks pass as they come and are read beside. Only where usage was asked for
on the client's behalf does the meter hold back, and never more than an unfinished event: the chunk
that has only usage (`choices: []`) is dropped, and the `"usage":null` that OpenAI then adds to all
others is cut out. A chunk with choices and usage (Mistral, DeepSeek, Groq) passes as it is.
"""

from contextlib import suppress

import msgspec

from proxy.core.dialects.base import Bounds, Unstreamed
from proxy.core.dialects.chat_answer import AnswerBuilder
from proxy.core.dialects.chat_parts import Choice
from proxy.core.dialects.chat_usage import read_usage
from proxy.core.splice import splice
from proxy.core.sse import SseEvent, SseSplitter, with_data
from proxy.core.usage import Answer, Usage

_ABSENT = msgspec.Raw(b"")
_DONE = b"[DONE]"
_NULL = b"null"
_USAGE_KEY = b'"usage"'
_USAGE_NULL = b',"usage":null'
_ERROR_LENGTH = 1000


class _Groq(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Envelope(msgspec.Struct):
    """What is around an answer: read even where the answer is not as it should be."""

    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    x_groq: _Groq | None = None


class _Chunk(_Envelope):
    """A chunk of a stream or a whole answer."""

    id: str | int | None = None
    choices: list[Choice] | None = None


class _Embeddings(_Envelope):
    data: list[msgspec.Raw] | None = None


class _Error(msgspec.Struct):
    message: str | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_CHUNK = msgspec.json.Decoder(_Chunk)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_ERROR = msgspec.json.Decoder(_Error)


class ChatMeter:
    """A `Meter` of one stream; see the protocol in `base`."""

    def __init__(self, *, strip_usage: bool, bounds: Bounds) -> None:
        self.committed = False
        self.ended = False
        self.finish_seen = False
        self.failed: str | None = None
        self.malformed = 0
        self.usage: Usage | None = None
        self.output_tokens_least = 0
        self.output_tokens_counted = 0
        self._strip_usage = strip_usage
        self._splitter = SseSplitter(bounds.sse_line_bytes)
        self._builder = AnswerBuilder()
        self._response_id: str | None = None

    def feed(self, chunk: bytes) -> bytes:
        events = self._splitter.feed(chunk)
        if not self._strip_usage:
            for event in events:
                self._read(event)
            self._sum_up()
            return chunk
        passed = b"".join([self._pass(event) for event in events])
        self._sum_up()
        return passed

    def close(self) -> bytes:
        rest = self._splitter.close()
        if rest is None:
            return b""
        malformed = self.malformed
        passed = self._pass(rest) if self._strip_usage else b""
        if not self._strip_usage:
            self._read(rest)
        self.malformed = malformed  # a line that was cut is not a malformed one
        self._sum_up()
        return passed

    def answer(self) -> Answer:
        return self._builder.answer(self._response_id)

    def _sum_up(self) -> None:
        builder = self._builder
        self.committed = builder.committed
        self.finish_seen = builder.finished
        said = 0 if self.usage is None else self.usage.output_tokens
        self.output_tokens_least = least = max(builder.pieces, said)
        self.output_tokens_counted = max(builder.tokens, least)

    def _pass(self, event: SseEvent) -> bytes:
        """What of an event is forwarded where the client did not ask for usage."""
        chunk = self._read(event)
        if chunk is None or chunk.usage is _ABSENT:
            return event.raw
        if bytes(chunk.usage) == _NULL:
            return _without_usage(event)
        return b"" if chunk.choices == [] and chunk.error is _ABSENT else event.raw

    def _read(self, event: SseEvent) -> _Chunk | None:
        data = event.data
        if not data:
            self.malformed += event.oversize
            return None
        if data == _DONE:
            self.ended = True
            return None
        chunk = self._decode(data)
        if event.name == b"error" and self.failed is None:
            self.failed = _error_message(msgspec.Raw(data))
        return chunk

    def _decode(self, data: bytes) -> _Chunk | None:
        try:
            chunk = _CHUNK.decode(data)
            for choice in chunk.choices or ():
                self._builder.take(choice, choice.delta)
        except (ValueError, RecursionError):
            self.malformed += 1
            self._salvage(data)
            return None
        if self._response_id is None and chunk.id:
            self._response_id = str(chunk.id)
        if chunk.usage is not _ABSENT or chunk.error is not _ABSENT or chunk.x_groq is not None:
            self._take_envelope(chunk)
        return chunk

    def _salvage(self, data: bytes) -> None:
        with suppress(ValueError, RecursionError):
            self._take_envelope(_ENVELOPE.decode(data))

    def _take_envelope(self, envelope: _Envelope) -> None:
        self.usage = _usage_of(envelope) or self.usage
        self.failed = self.failed or _error_of(envelope)


def read_answer(body: bytes) -> Unstreamed:
    """Meters an unstreamed answer of chat or legacy completions."""
    builder = AnswerBuilder()
    try:
        whole = _CHUNK.decode(body)
        for choice in whole.choices or ():
            builder.take(choice, choice.message)
    except (ValueError, RecursionError) as error:
        return _unreadable(body, error)
    malformed = None if whole.choices else _error_of(whole) or "it has no choices"
    answer = builder.answer(str(whole.id or "") or None)
    return Unstreamed(answer, _usage_of(whole), malformed)


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
    usage = read_usage(envelope.usage)
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
    """An event that is known to have a null `usage` at top level, without it."""
    raw = event.raw
    at = raw.find(_USAGE_KEY) - 1
    if raw.startswith(_USAGE_NULL, at) and raw.find(_USAGE_KEY, at + 2) < 0:
        return raw[:at] + raw[at + len(_USAGE_NULL) :]
    return with_data(event, splice(event.data, {"usage": None}))
