"""A streamed answer on its way: chunk by chunk to the client, metered, bounded, settled.

The 200 is held until the provider's first event has been read: an empty or unreadable stream is a
502, not an empty answer. The chunk with the provider's terminal event is held until the settlement
is committed, so that whoever has seen the end finds it in the ledger. The beginning of an event
waits for its end: were it followed by an error frame, a client would read both as one, and neither.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from proxy.clock import Clock
from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.base import Meter
from proxy.errors import UpstreamUnavailable
from proxy.progress import Progress, Settler
from proxy.stamps import admitted_stamps, relayed_headers
from proxy.wire import Exchange, Incoming
from proxy.wire.headers import without

_TRAILING_SECONDS = 1.0
_TRAILING_BYTES = 64
_EXTENSION_TOKENS = 1_024
_UNSTARTED_BYTES = 1_048_576
_UNFINISHED_BYTES = 65_536
_BORDERS = (b"\n\n", b"\n\r\n", b"\r\r")
"""What an event ends with: LF or CRLF, with or without the other, or CR."""


async def pump(
    exchange: Exchange, progress: Progress, incoming: Incoming, settler: Settler, clock: Clock
) -> None:
    """Relays the stream to its end. Raises UpstreamUnavailable where the provider breaks off."""
    meter = progress.meter
    assert meter is not None
    held = b""
    chunks = incoming.chunks()
    try:
        async for chunk in chunks:
            held += meter.feed(chunk)
            if not exchange.started:
                if not _has_begun(meter, held):
                    continue
                progress.first_byte_at = clock.monotonic()
                await _start(exchange, progress, incoming)
            held = await _forward(exchange, progress, held, settler)
            if meter.ended:
                held += await _trailing(chunks, meter)
                break
    except UpstreamUnavailable:
        if not (exchange.started and (meter.ended or meter.failed)):
            raise  # else the provider had come to its end, and only closed badly
    await _finish(exchange, progress, held, settler)


async def _forward(exchange: Exchange, progress: Progress, came: bytes, settler: Settler) -> bytes:
    """Sends on what is whole, and returns the rest."""
    meter = progress.meter
    assert meter is not None
    if meter.ended:
        await _settle(progress, meter, settler)
    size = _size_of_whole(came) if progress.at_border else len(came)
    if size:
        progress.at_border = size < len(came) or came.endswith(_BORDERS)
        await exchange.write(came[:size])
    progress.end_forwarded = meter.ended and size == len(came)
    if progress.settled is None and progress.output_tokens_passed > progress.allowance:
        await _extend_or_cut(progress, settler)
    return came[size:]


async def _trailing(chunks: AsyncIterator[bytes], meter: Meter) -> bytes:
    """What follows the provider's own end: a `[DONE]` at most. More is not the answer any more, and
    a line that is kept open must not keep the client."""
    rest = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(_TRAILING_SECONDS):
            async for chunk in chunks:
                rest += chunk
                if len(rest) > _TRAILING_BYTES:
                    return b""
    return meter.feed(rest) if rest else b""


async def _start(exchange: Exchange, progress: Progress, incoming: Incoming) -> None:
    stamps = admitted_stamps(progress.call, progress.admitted, progress.state)
    headers = relayed_headers(incoming.headers, progress.request_id, stamps)
    headers = without(headers, "content-length")  # an error frame may follow what was announced
    if not any(name.lower() == "x-accel-buffering" for name, _ in headers):
        headers = (*headers, ("x-accel-buffering", "no"))
    await exchange.start(incoming.status, headers)


async def _finish(exchange: Exchange, progress: Progress, held: bytes, settler: Settler) -> None:
    """The provider has closed: cleanly only if it had come to its own end."""
    meter = progress.meter
    assert meter is not None
    rest = held + meter.close()
    if not exchange.started:
        what = "unreadable" if meter.malformed else "empty"
        raise UpstreamUnavailable(
            f"The provider answered with an {what} stream.",
            kind="malformed",
            code="upstream_malformed",
            status=502,
        )
    if not (meter.ended or meter.finish_seen or meter.failed):
        raise UpstreamUnavailable(
            "The provider broke off in the middle of its answer.",
            kind="truncated",
            code="upstream_truncated",
            status=502,
        )
    await _settle(progress, meter, settler)
    if rest:
        await exchange.write(rest)
    await exchange.finish()


async def _settle(progress: Progress, meter: Meter, settler: Settler) -> None:
    """Books the stream at its end; the provider's own error event is an end, but no answer."""
    if progress.settled is not None:
        return
    if meter.failed:
        progress.broke("truncated")
        await settler.settle_broken(progress)
    else:
        await settler.settle_stream(progress, meter)


def _has_begun(meter: Meter, pending: bytes) -> bool:
    """Whether what came is a stream of events: one whole event that could be read, or content."""
    if meter.committed or meter.ended or meter.finish_seen or meter.failed:
        return True
    whole = any(border in pending for border in _BORDERS)
    return (whole and not meter.malformed) or len(pending) > _UNSTARTED_BYTES


def _size_of_whole(came: bytes) -> int:
    """How much of it is whole events; all of it where an event is too long to be waited for."""
    if came.endswith(_BORDERS) or len(came) > _UNFINISHED_BYTES:
        return len(came)
    ends = (came.rfind(border) + len(border) for border in _BORDERS if border in came)
    return max(ends, default=0)


async def _extend_or_cut(progress: Progress, settler: Settler) -> None:
    """More output than is held: hold more, or cut the stream here."""
    passed = progress.output_tokens_passed
    missing = passed - progress.allowance
    if missing < _EXTENSION_TOKENS and await settler.extend(progress, _EXTENSION_TOKENS):
        return
    if not await settler.extend(progress, missing):
        progress.live.cut(_spent(progress, passed))


def _spent(progress: Progress, counted: int) -> Refusal:
    session = progress.call.key.session
    message = (
        f"Session {session} has too little left: this answer was cut after about {counted} tokens. "
        f"To go on: holdfast sessions extend {session} --cost-usd 1."
    )
    facts = LimitFacts(
        session=session, limit="cost_usd", checkpoint=f"{session}@{progress.admitted.admit.step}"
    )
    status = progress.call.rules.refusal_status
    return Refusal(status, "budget_exceeded", "session_limit", message, facts)
