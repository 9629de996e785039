"""What a translation between two dialects offers."""

from typing import Protocol


class Untranslatable(Exception):
    """The request asks for what the other dialect has no words for: nobody's fault.

    why: one sentence for a human, no secrets.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class StreamTranslation(Protocol):
    """One streamed answer on its way to the client. Cut at any byte, it becomes the same bytes.

    What ends it stays what it was: an error event becomes one of the client's dialect, with nothing
    after it; a stream that breaks off has no end here either.
    """

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they came; returns those that go to the client now, whole events only.
        Never raises on bad input."""

    def close(self) -> bytes:
        """The provider has ended: returns what was waiting for more, if that may end here."""


class Translation(Protocol):
    """Between one pair of dialects. Stateless; all that it needs is passed in.

    created: when the call was made, in seconds since 1970, for dialects whose answers tell it.
    """

    def request(self, body: bytes, *, output_bound: int) -> bytes:
        """A request in the dialect that is spoken. body: one that the client's dialect has parsed.
        output_bound: written where the target needs a bound and the client gave none.

        Raises Untranslatable."""

    def answer(self, body: bytes, *, asked: bytes, created: int) -> bytes:
        """An unstreamed 2xx answer in the client's dialect. What is none (`Unstreamed.malformed`)
        is none there either. asked: the client's request. Never raises."""

    def error(self, status: int, body: bytes) -> bytes:
        """An error answer in the client's dialect. Never quotes HTML, never raises."""

    def stream(self, body: bytes, *, created: int) -> StreamTranslation:
        """A fresh translation of one streamed answer. body: the client's request. Usage is always
        told: where the client did not ask for it, its meter takes it out."""
