"""What the laws of held streams are stated with: a shell that gives each verdict at once."""

from collections.abc import Callable, Iterable

from proxy.core.dialects.base import Bounds, Dialect, HoldBack, Meter
from proxy.core.usage import Answer, ToolCall

Keeps = Callable[[ToolCall], bool]


def everything(_: object) -> bool:
    return True


def nothing(_: object) -> bool:
    return False


def judged(hold: HoldBack, keeps: Keeps) -> bytes:
    """What passes once a verdict has been given on all that waits for one."""
    out = b""
    while hold.complete:
        call = hold.complete[0]
        out += hold.release(call.call_id) if keeps(call) else hold.drop(call.call_id)
    return out


def streamed(hold: HoldBack, chunks: Iterable[bytes], keeps: Keeps = everything) -> bytes:
    """One stream up to its end, which may be held."""
    out = b""
    for chunk in chunks:
        out += hold.feed(chunk)
        out += judged(hold, keeps)
    out += hold.close()
    return out + judged(hold, keeps)


def filtered(hold: HoldBack, chunks: Iterable[bytes], keeps: Keeps = everything) -> bytes:
    """A whole stream as the client sees it."""
    return streamed(hold, chunks, keeps) + hold.end()


def metered(dialect: Dialect, stream: bytes) -> Meter:
    """A meter that has read the stream, usage and all."""
    meter = dialect.meter(strip_usage=False, bounds=Bounds())
    meter.feed(stream)
    meter.close()
    return meter


def read(dialect: Dialect, stream: bytes) -> Answer:
    return metered(dialect, stream).answer()
