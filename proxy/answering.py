"""What governed calls do with an answer: read it whole, pass it on, pass a refusal on."""

from proxy.clock import Clock
from proxy.core.dialects.base import Unstreamed
from proxy.errors import MalformedRequest
from proxy.failures import malformed
from proxy.intake import decoded
from proxy.progress import Progress, Settler
from proxy.replies import dialect_of
from proxy.stamps import admitted_stamps, relayed_headers
from proxy.wire import Answering, Incoming
from proxy.wire.headers import Kind, get


def is_event_stream(incoming: Incoming) -> bool:
    kind = get(incoming.headers, "content-type") or ""
    return kind.split(";", 1)[0].strip().lower() == "text/event-stream"


def check_plain(incoming: Incoming) -> None:
    """Raises UpstreamUnavailable for a stream that cannot be read: it was not asked to be so."""
    if get(incoming.headers, "content-encoding") not in (None, "", "identity"):
        raise malformed("it compressed a stream that was not asked to be")


async def read_whole(
    progress: Progress, incoming: Incoming, clock: Clock
) -> tuple[bytes, bytes, Unstreamed]:
    """An unstreamed answer: as it came, without its encoding, and read. Raises
    UpstreamUnavailable."""
    limit = progress.call.policy.bounds.answer_bytes
    body = await incoming.read(limit)
    progress.first_byte_at = progress.first_byte_at or clock.monotonic()
    try:
        plain = decoded(body, get(incoming.headers, "content-encoding"), limit)
    except MalformedRequest as exc:
        raise malformed(f"its answer cannot be decoded: {exc.message}") from exc
    read = dialect_of(progress.call.request.dialect).read_answer(plain)
    if read.malformed is not None:
        raise malformed(read.malformed)
    return body, plain, read


async def pass_failure_on(
    exchange: Answering, progress: Progress, incoming: Incoming, settler: Settler
) -> None:
    """The provider's own refusal goes through as it is; it is not billed."""
    body = await incoming.read(progress.call.policy.bounds.answer_bytes)
    await settler.settle_error(progress, incoming.status)
    await respond(exchange, progress, incoming, body)


async def respond(
    exchange: Answering,
    progress: Progress,
    incoming: Incoming,
    body: bytes,
    dropped: int = Kind.NONE,
) -> None:
    """A whole answer, with our headers."""
    stamps = admitted_stamps(progress.call, progress.admitted, progress.state)
    headers = relayed_headers(incoming.headers, progress.request_id, stamps, dropped)
    await exchange.respond(incoming.status, headers, body)
