"""What the meters of all dialects have in common: events in, bytes out, tokens counted."""

from abc import ABC, abstractmethod

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.output_count import OutputCount
from proxy.core.dialects.template import Template
from proxy.core.dialects.template_making import Delta, template_of
from proxy.core.sse import SseEvent, SseSplitter
from proxy.core.usage import Usage

DONE = b"[DONE]"
"""OpenAI's end of a chat stream, which imitators send in other dialects too."""

_TRIES = 4
"""So many templates are made without one event that fits them: then the stream is of another kind.
"""
_WINDOW_BYTES = 16_384
"""So much is looked at in one go: what is not as expected costs no more than this."""
_MOST_LOOSE = 32
"""So many pieces of a text are kept apart: a word of its own takes five times its letters."""


class StreamMeter(ABC):
    """Implements `Meter` but for `answer`; a dialect says what its events mean (`_read`).

    What is told is kept in plain attributes, up to date after every `feed`: they are read for every
    chunk.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.at_border = True
        self.committed = False
        self.ended = False
        self.finish_seen = False
        self.failed: str | None = None
        self.malformed = 0
        self.usage: Usage | None = None
        self.output_tokens_least = 0
        self.output_tokens_counted = 0
        self._splitter = SseSplitter(bounds.sse_line_bytes)
        self._count = OutputCount()
        self._loose = 0
        self._window_bytes = min(_WINDOW_BYTES, bounds.sse_line_bytes)
        self._template: Template | None = None
        self._tries = _TRIES

    def feed(self, chunk: bytes) -> bytes:
        template = self._template
        if template is not None and self._splitter.idle and template.read_alone(chunk):
            self._take(template)
            self._sum_up()
            return template.passed if template.changed else chunk
        return self._feed(chunk)

    def _feed(self, chunk: bytes) -> bytes:
        at, size, splitter = 0, len(chunk), self._splitter
        while at < size:
            template = self._template
            if template is not None and splitter.idle:
                end = at + self._window_bytes
                if template.read(chunk, at, size if size < end else end):
                    self._take(template)
                    self._forward(template.passed)
                    at = template.end
                    continue
            at = self._step(chunk, at)
        self.at_border = splitter.at_border
        self._sum_up()
        return chunk

    def close(self) -> bytes:
        event = self._splitter.close()
        if event is not None:
            malformed = self.malformed
            self._read(event)
            self.malformed = malformed  # an event that was cut is not a malformed one
            self._sum_up()
        return b""

    @abstractmethod
    def _read(self, event: SseEvent) -> bytes | None:
        """Meters an event, and returns what of it is forwarded; None: all."""

    @abstractmethod
    def _read_plain(self, name: bytes, data: bytes) -> Delta | None:
        """What an event brings that has come to nothing but one piece of text, or would; None for
        all others. Changes nothing. Raises ValueError and RecursionError like a decoder."""

    def _step(self, chunk: bytes, at: int) -> int:
        """Reads one event, or more, and returns where it ended. Only while a template may come of
        it are events read one by one."""
        end = _after_event(chunk, at) if self._tries else len(chunk)
        part = chunk if end - at == len(chunk) else chunk[at:end]
        for event in self._splitter.feed(part):
            template = self._template
            if template is not None and template.read_alone(event.raw):
                self._take(template)
                self._forward(template.passed if template.changed else event.raw)
            else:
                self._read_in_full(event)
        return end

    def _read_in_full(self, event: SseEvent) -> None:
        pieces = self._count.pieces
        passed = self._read(event)
        if passed is None:
            passed = event.raw
        self._forward(passed)
        if event.data:
            self._template = None
            if self._tries and self._count.pieces == pieces + 1:
                self._tries -= 1
                self._template = template_of(event, passed, self._read_plain)

    def _take(self, template: Template) -> None:
        """What was read without decoding it: an event like it was read in full, so what the first
        of its kind changes is changed."""
        self._tries = _TRIES
        if template.text:
            self._count.add_pieces(template.text, template.pieces)
            into = template.into
            if into is not None:
                into.append(template.text)
                self._loose += 1
                if self._loose == _MOST_LOOSE:
                    self._loose = 0
                    into[-_MOST_LOOSE:] = ("".join(into[-_MOST_LOOSE:]),)

    def _forward(self, passed: bytes) -> None:  # noqa: B027 - most meters forward all
        """Takes note of what `feed` returns, where that may be less than it was given."""

    def _pass_over(self, event: SseEvent) -> None:
        """An event without data: a comment, or one beyond the bound, known by its beginning."""
        self.malformed += event.oversize

    def _read_odd(self, event: SseEvent) -> None:
        """Data that is not JSON as the dialect has it."""
        self.malformed += event.data != DONE

    def _sum_up(self) -> None:
        """The provider's own figure counts if it is more than what was counted."""
        count, usage = self._count, self.usage
        least = count.pieces
        pieces = least + count.heads
        if usage is not None and usage.output_tokens > least:
            least = usage.output_tokens
        tokens = count.tokens
        if pieces > tokens:
            tokens = pieces
        self.output_tokens_least = least
        self.output_tokens_counted = tokens if tokens > least else least


def _after_event(chunk: bytes, at: int) -> int:
    """Where the event that begins at `at` may end. A border that is found is one; where none is
    near, it is no event but a part of one that is read."""
    end = min(len(chunk), at + _WINDOW_BYTES)
    border = chunk.find(b"\n\n", at, end)
    if border >= 0:
        return border + 2
    border = chunk.find(b"\n\r\n", at, end)
    return border + 3 if border >= 0 else end
