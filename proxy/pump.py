"""A streamed answer on its way: chunk by chunk to the client, metered, bounded, settled.

It begins with what was read up to its first content (`proxy/attempting/`). The chunk with the
provider's terminal event is held until the settlement is committed, so that whoever has seen the
end finds it in the ledger. The beginning of an event waits for its end: were it followed by an
error frame, a client would read both as one, and neither.
"""

import asyncio
from contextlib import suppress

from proxy.attempting.opened import Begun
from proxy.core.decision import LimitFacts, Refusal, Wanted
from proxy.core.dialects.base import Meter
from proxy.errors import StoreUnavailable, UpstreamUnavailable
from proxy.failures import truncated
from proxy.progress import Progress
from proxy.settling import Settler
from proxy.stamps import admitted_stamps, relayed_headers
from proxy.wire import Answering
from proxy.wire.headers import Kind, kind_of

_TRAILING_SECONDS = 1.0
_TRAILING_BYTES = 64
_EXTENSION_TOKENS = 1_024
_UNFINISHED_BYTES = 65_536
_BORDERS = (b"\n\n", b"\n\r\n", b"\r\r")
"""What an event ends with: LF or CRLF, with or without the other, or CR."""


class Pump:
    """One stream. `take` runs in the callback that read a piece, and says whether the next may be
    taken at once; what has to wait for something is done between two `pass_on`."""

    def __init__(self, exchange: Answering, progress: Progress, meter: Meter, begun: Begun) -> None:
        self._exchange = exchange
        self._progress = progress
        self._meter = meter
        self._begun = begun
        self._held = begun.held
        self._counted = self._largest = meter.output_tokens_counted
        self._capture = progress.capture

    async def run(self, settler: Settler) -> None:
        """Relays the stream to its end. Raises UpstreamUnavailable where the provider breaks
        off. Cut short, it has metered all that had come by then."""
        try:
            await self._relay(settler)
        except (asyncio.CancelledError, StoreUnavailable):
            await self._count_arrived()
            raise

    async def _count_arrived(self) -> None:
        """Meters what has come by now and nobody will be given: the provider bills it. For what
        came of a stream that its budget cut there is no room in that: it is estimated, and counted
        as overspend. To read it took time, in which the provider went on: six streams that were cut
        of a provider that sends all at once were billed 0.143 USD so, where they are 0.060."""
        if self._meter.ended:
            return
        if self._progress.live.is_out_of_budget:
            self._progress.unread_part = self._begun.unread_part()
        else:
            await self._begun.take_arrived(self._meter.feed)

    async def _relay(self, settler: Settler) -> None:
        meter, begun = self._meter, self._begun
        if self._capture is not None:
            self._capture.begin(begun.status, begun.headers, Kind.LENGTH, stream=True)
        await start(self._exchange, self._progress, begun)
        try:
            await self._catch_up(settler)
            while not meter.ended and await begun.pass_on(self._take):
                await self._catch_up(settler)
            if meter.ended:
                await self._trailing()
        except UpstreamUnavailable:
            if not (meter.ended or meter.failed):
                raise  # else the provider had come to its end, and only closed badly
        await self._finish(settler)

    def _take(self, chunk: bytes) -> bool:
        meter, progress = self._meter, self._progress
        came = meter.feed(chunk)
        if meter.failed is not None:
            self._begun.told = chunk
        if meter.ended:
            self._held += came
            return False
        counted = meter.output_tokens_counted
        new = counted - self._counted
        self._counted = counted
        if new > self._largest:
            self._largest = new
        if self._held or not meter.at_border:
            came = self._whole(came)
        else:
            progress.at_border = True
        if came and not self._send(came):
            return False
        return counted + self._largest <= progress.allowance or not self._needs_more()

    def _send(self, came: bytes) -> bool:
        if self._capture is not None:
            self._capture.add(came)
        return self._exchange.send(came)

    def _needs_more(self) -> bool:
        """Whether one more piece like the largest could be more than is held. A stream for which
        all is held that its bound allows is left to keep it."""
        progress = self._progress
        if self._counted + self._largest <= progress.allowance or progress.settled is not None:
            return False
        if progress.allowance < progress.most:
            return True
        return progress.output_tokens_passed > progress.allowance

    def _whole(self, came: bytes) -> bytes:
        """What can be sent on, for it ends with an event or is too long to be waited for; the rest
        is held."""
        progress = self._progress
        came = self._held + came
        size = _size_of_whole(came) if progress.at_border else len(came)
        if size:
            progress.at_border = size < len(came) or came.endswith(_BORDERS)
        self._held = came[size:]
        return came[:size]

    async def _catch_up(self, settler: Settler) -> None:
        """What `take` could not do by itself."""
        progress, meter = self._progress, self._meter
        if meter.ended:
            await self._settle(self._held, settler)
        if came := self._whole(b""):
            self._send(came)
        progress.end_forwarded = meter.ended and not self._held
        await self._drained()
        if self._needs_more():
            await self._extend_or_cut(settler)

    async def _drained(self) -> None:
        """The client has taken what it was sent."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._exchange.drained()
        self._begun.waited += loop.time() - began

    async def _extend_or_cut(self, settler: Settler) -> None:
        """More output than is held may come: hold more, or cut the stream here."""
        progress = self._progress
        least = max(1, self._counted + self._largest - progress.allowance)
        if progress.allowance < progress.most:
            left = progress.most - progress.allowance
            wanted = Wanted(min(least, left), min(max(least, _EXTENSION_TOKENS), left))
        else:  # it does not keep its bound
            least = max(1, progress.output_tokens_passed - progress.allowance)
            wanted = Wanted(least, max(least, _EXTENSION_TOKENS))
        if not await settler.extend(progress, wanted):
            progress.live.cut(spent(progress))
            # What came meanwhile is not passed on: the cut is heard here, before the next piece.
            await asyncio.get_running_loop().create_future()

    async def _trailing(self) -> None:
        """What follows the provider's own end: a `[DONE]` at most. More is not the answer any more,
        and a line that is kept open must not keep the client."""
        rest = b""

        def take(chunk: bytes) -> bool:
            nonlocal rest
            rest += chunk
            return len(rest) <= _TRAILING_BYTES

        with suppress(TimeoutError):
            async with asyncio.timeout(_TRAILING_SECONDS):
                await self._begun.pass_on(take)
        if rest and len(rest) <= _TRAILING_BYTES:
            self._held += self._meter.feed(rest)

    async def _finish(self, settler: Settler) -> None:
        """The provider has closed: cleanly only if it had come to its own end."""
        exchange, meter = self._exchange, self._meter
        rest = self._held + meter.close()
        if not (meter.ended or meter.finish_seen or meter.failed):
            raise truncated()
        await self._settle(rest, settler)
        if rest:
            await exchange.write(rest)
        await exchange.finish()

    async def _settle(self, rest: bytes, settler: Settler) -> None:
        """rest: what is left to be given."""
        if self._capture is not None:
            self._capture.add(rest)
        await settle(self._progress, self._meter, settler)


async def start(exchange: Answering, progress: Progress, begun: Begun) -> None:
    stamps = admitted_stamps(progress.call, progress.admitted, progress.state)
    # An error frame may follow what a length announced.
    headers = relayed_headers(begun.headers, progress.request_id, stamps, Kind.LENGTH)
    if not any(kind_of(name) & Kind.BUFFERING for name, _ in headers):
        headers = (*headers, ("x-accel-buffering", "no"))
    await exchange.start(begun.status, headers)


async def settle(progress: Progress, meter: Meter, settler: Settler) -> None:
    """Books the stream at its end; the provider's own error event is an end, but no answer."""
    if progress.settled is not None:
        return
    if meter.failed:
        progress.broke("truncated")
        await settler.settle_broken(progress)
    else:
        await settler.settle_stream(progress, meter)


def spent(progress: Progress) -> Refusal:
    """Why a stream is cut that nothing more can be held for."""
    session = progress.call.key.session
    message = (
        f"Session {session} has too little left: this answer was cut after about "
        f"{progress.output_tokens_passed} tokens. "
        f"To go on: holdfast sessions extend {session} --cost-usd 1."
    )
    facts = LimitFacts(
        session=session, limit="cost_usd", checkpoint=f"{session}@{progress.admitted.admit.step}"
    )
    status = progress.call.rules.refusal_status
    return Refusal(status, "budget_exceeded", "session_limit", message, facts)


def _size_of_whole(came: bytes) -> int:
    """How much of it is whole events; all of it where an event is too long to be waited for."""
    if came.endswith(_BORDERS) or len(came) > _UNFINISHED_BYTES:
        return len(came)
    ends = (came.rfind(border) + len(border) for border in _BORDERS if border in came)
    return max(ends, default=0)
