"""What is kept of a call beside its events: values."""

from collections.abc import Iterator

import msgspec

from proxy.core import events as ev


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a call sent or was answered; for stores only bytes. name: once in a session."""

    name: str
    data: bytes


def request_name(call_id: str) -> str:
    """Of what a call sent."""
    return f"{call_id}.q"


def answer_name(call_id: str) -> str:
    """Of what it was answered."""
    return f"{call_id}.a"


def contents_of(event: ev.AnyEvent) -> Iterator[tuple[str, bytes]]:
    """The names of what an event says may be kept, and the fingerprint or digest of each."""
    match event:
        case ev.StepReserved():
            yield request_name(event.call_id), event.content
        case ev.StepSettled():
            yield answer_name(event.call_id), event.content
        case ev.StepInherited():
            yield request_name(event.call_id), event.content
            yield answer_name(event.call_id), event.answer
        case _:
            pass


class RecordedContent(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a request or an answer, and what its event says of that. chain: of a
    request, see `core.recording.chain_of`."""

    fingerprint: bytes = b""
    content: Content | None = None
    chain: bytes = b""


NOT_RECORDED = RecordedContent()


class RecordedAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer as its client was given it, but for our own headers and the names of the request.
    body: content-encoded as `headers` say; of a stream all its events."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stream: bool = False
