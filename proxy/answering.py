"""What governed calls do with an answer that was read whole: pass it on, or a refusal."""

from proxy.attempting.opened import Refused, Whole
from proxy.progress import Progress
from proxy.settling import Settler
from proxy.stamps import admitted_stamps, relayed_headers
from proxy.wire import Answering
from proxy.wire.headers import Kind


async def pass_failure_on(
    exchange: Answering, progress: Progress, refused: Refused, settler: Settler
) -> None:
    """The provider's own refusal goes through as it is; it is not billed."""
    await settler.settle_error(progress, refused.status)
    await respond(exchange, progress, refused, refused.body)


async def take_down(
    progress: Progress, answer: Whole, body: bytes, dropped: int = Kind.NONE
) -> None:
    """What is about to be given, for the record. Whatever ends the call meanwhile, it is paid."""
    progress.usage = answer.read.usage
    if progress.capture is not None:
        await progress.capture.whole(answer.status, answer.headers, body, dropped)


async def respond(
    exchange: Answering,
    progress: Progress,
    answer: Refused | Whole,
    body: bytes,
    dropped: int = Kind.NONE,
) -> None:
    """A whole answer, with our headers."""
    stamps = admitted_stamps(progress.call, progress.admitted, progress.state)
    headers = relayed_headers(answer.headers, progress.request_id, stamps, dropped)
    await exchange.respond(answer.status, headers, body)
