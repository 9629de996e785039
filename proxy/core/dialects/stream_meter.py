"""What the meters of all dialects have in common: events in, bytes out, tokens counted."""

from abc import ABC, abstractmethod

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.output_count import OutputCount
from proxy.core.sse import SseEvent, SseSplitter
from proxy.core.usage import Usage

DONE = b"[DONE]"
"""OpenAI's end of a chat stream, which imitators send in other dialects too."""


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

    def feed(self, chunk: bytes) -> bytes:
        for event in self._splitter.feed(chunk):
            self._read(event)
        self.at_border = self._splitter.at_border
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
    def _read(self, event: SseEvent) -> object:
        """Meters an event; what it returns is between a dialect and itself."""

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
        if usage is not None and usage.output_tokens > least:
            least = usage.output_tokens
        tokens = count.tokens
        self.output_tokens_least = least
        self.output_tokens_counted = tokens if tokens > least else least
