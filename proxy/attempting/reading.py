"""Reads an answer up to its commit point: what is wrong with it until then costs no client a thing.

Of a stream that is its first content (or its end, or the provider's own error event): before it
nothing was shown, after it another answer would be seen as one with this. A content that keeps its
client waiting is not waited for. An unstreamed answer is read whole, and once.
"""

import asyncio

from proxy.attempting.opened import Begun, Opened, Refused, Whole
from proxy.clock import Clock
from proxy.core.dialects.base import Meter
from proxy.decoding import decoded
from proxy.errors import MalformedRequest
from proxy.failures import malformed, truncated
from proxy.intake import dialect_bounds
from proxy.outbound import asks_usage
from proxy.progress import Progress
from proxy.replies import dialect_of
from proxy.wire import Incoming
from proxy.wire.headers import get, media_type
from proxy.wire.timing import Deadlines

UNSTARTED_BYTES = 1_048_576
_UNSTARTED_EVENTS = 32
"""So much that is no content is kept. A stream that has more of it is of another kind (those
recorded have up to 17 events before their first content), and is shown as it is."""
_PATIENCE_SECONDS = 1.0
"""So long what came before the content is kept. Clients give up a stream that says nothing, and
providers that think for minutes keep them with comments and pings meanwhile."""


class Reader:
    """Belongs to one event loop."""

    def __init__(self, clock: Clock, deadlines: Deadlines) -> None:
        self._clock = clock
        self._deadlines = deadlines

    async def read(
        self, progress: Progress, incoming: Incoming, shown_after: float | None = None
    ) -> Opened:
        """Raises UpstreamUnavailable where it breaks off before, or cannot be read. Closes what it
        does not give out. shown_after: so many seconds what is no content of a stream waits for
        content; None: a moment, for nobody else could be asked."""
        progress.status = incoming.status
        opened: Opened | None = None
        try:
            if not 200 <= incoming.status < 300:
                body = await incoming.read(progress.call.policy.bounds.answer_bytes)
                return Refused(incoming.status, incoming.headers, body)
            if media_type(incoming.headers) == "text/event-stream":
                opened = await self._stream(progress, incoming, shown_after)
            else:
                whole = await _whole(progress, incoming)
                incoming.close()
                opened = whole
        finally:
            if opened is None:
                incoming.close()
        progress.first_byte_at = progress.first_byte_at or self._clock.monotonic()
        return opened

    async def left(self, progress: Progress, incoming: Incoming) -> None:
        """The call was cut before its answer's head was read: what had come of a stream by then is
        metered."""
        is_stream = media_type(incoming.headers) == "text/event-stream"
        is_wanted = is_stream and 200 <= incoming.status < 300 and _is_plain(incoming)
        if is_wanted and not progress.live.is_out_of_budget:
            progress.status = incoming.status
            await incoming.take_arrived(_metered(progress).feed)

    async def _stream(
        self, progress: Progress, incoming: Incoming, shown_after: float | None
    ) -> Begun:
        if not _is_plain(incoming):
            raise malformed("it compressed a stream that was not asked to be")
        call = progress.call
        meter = _metered(progress)
        scout = Scout(meter, incoming, _PATIENCE_SECONDS if shown_after is None else shown_after)
        self._deadlines.add(scout)
        try:
            if not await incoming.pass_on(scout.take):
                scout.end()
        except asyncio.CancelledError:
            if progress.live.is_out_of_budget:
                progress.unread_part = incoming.unread_part()
            else:
                await incoming.take_arrived(meter.feed)
            raise
        finally:
            self._deadlines.discard(scout)
        if (stall := call.policy.breakers.stall_seconds) < call.policy.timeouts.idle:
            incoming.expect_more_within(stall)
        return Begun(incoming, meter, scout.raw, scout.held)


def _is_plain(incoming: Incoming) -> bool:
    return get(incoming.headers, "content-encoding") in (None, "", "identity")


def _metered(progress: Progress) -> Meter:
    """A meter for the stream that has begun."""
    call = progress.call
    bounds = dialect_bounds(call.policy)
    meter = dialect_of(call.request.dialect).meter(strip_usage=asks_usage(call), bounds=bounds)
    progress.meter = meter
    return meter


async def _whole(progress: Progress, incoming: Incoming) -> Whole:
    limit = progress.call.policy.bounds.answer_bytes
    body = await incoming.read(limit)
    try:
        plain = decoded(body, get(incoming.headers, "content-encoding"), limit)
    except MalformedRequest as exc:
        raise malformed(f"its answer cannot be decoded: {exc.message}") from exc
    read = dialect_of(progress.call.request.dialect).read_answer(plain)
    if read.malformed is not None:
        raise malformed(read.malformed)
    return Whole(incoming.status, incoming.headers, body, plain, read)


class Scout:
    """Reads a stream until there is something to show. raw, held: as in `Begun`. due: until when
    that has to be content."""

    __slots__ = ("_events", "_incoming", "_meter", "due", "held", "raw")

    def __init__(self, meter: Meter, incoming: Incoming, seconds: float) -> None:
        self.due = asyncio.get_running_loop().time() + seconds
        self.raw = b""
        self.held = b""
        self._meter = meter
        self._incoming = incoming
        self._events = 0

    def take(self, chunk: bytes) -> bool:
        """Whether it has to read on."""
        meter = self._meter
        came = meter.feed(chunk)
        if self.raw:
            self.raw += chunk
            self.held += came
        else:
            self.raw, self.held = chunk, came
        return not (meter.committed or _has_ended(meter) or self._is_too_much(came))

    def expired(self, now: float) -> None:
        """What came is shown, if it can be."""
        self.due = now + _PATIENCE_SECONDS
        if self.held and not self._meter.malformed and self._meter.at_border:
            self._incoming.release()

    def end(self) -> None:
        """The provider has closed. Raises UpstreamUnavailable where that was too early."""
        meter = self._meter
        self.held += meter.close()
        if meter.committed or _has_ended(meter):
            return
        if meter.malformed:
            raise malformed("an unreadable stream")
        if b"data:" not in self.raw:
            raise malformed("an empty stream")
        raise truncated()

    def _is_too_much(self, came: bytes) -> bool:
        self._events += came.count(b"data:")
        return self._events > _UNSTARTED_EVENTS or len(self.held) > UNSTARTED_BYTES


def _has_ended(meter: Meter) -> bool:
    return meter.ended or meter.finish_seen or meter.failed is not None
