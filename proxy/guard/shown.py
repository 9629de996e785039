"""What the client sees of a guarded call's stream, over all attempts of it."""

import asyncio

from proxy.attempting.opened import Begun
from proxy.clock import Clock
from proxy.core.dialects.base import HoldBack, Meter
from proxy.core.usage import Answer, Usage
from proxy.intake import dialect_bounds
from proxy.progress import Progress
from proxy.pump import start
from proxy.replies import dialect_of
from proxy.wire import Answering
from proxy.wire.headers import Kind

HEARTBEAT_SECONDS = 10.0
"""Clients give a stream up that says nothing for 30 s to 5 minutes."""
_HEARTBEAT = b": held\n\n"


class ShownMeter:
    """Meters what the provider sends; the answer it tells is the one that the client was shown.

    Implements `Meter`. shown: fed with what passes to the client, over all attempts."""

    def __init__(self, raw: Meter, shown: Meter) -> None:
        self.raw = raw
        self._shown = shown
        self.usage: Usage | None = None
        self.failed: str | None = None
        self._tell()

    def feed(self, chunk: bytes) -> bytes:
        came = self.raw.feed(chunk)
        self._tell()
        return came

    def close(self) -> bytes:
        came = self.raw.close()
        self._tell()
        return came

    def answer(self) -> Answer:
        return self._shown.answer()

    def _tell(self) -> None:
        raw = self.raw
        self.at_border = True  # only whole events pass
        self.committed, self.ended, self.finish_seen = raw.committed, raw.ended, raw.finish_seen
        self.failed, self.malformed, self.usage = raw.failed, raw.malformed, raw.usage
        self.output_tokens_least = raw.output_tokens_least
        self.output_tokens_counted = raw.output_tokens_counted


class Shown:
    """What the client sees of one call, over all its attempts."""

    def __init__(self, exchange: Answering, progress: Progress) -> None:
        call, bounds = progress.call, dialect_bounds(progress.call.policy)
        self._dialect = dialect_of(call.request.dialect)
        self._exchange = exchange
        self._progress = progress
        self._lock = asyncio.Lock()
        self._begun: Begun | None = None
        self.hold: HoldBack = self._dialect.hold_back(call.rules.tools.names, bounds)
        self.meter = progress.shown = self._dialect.meter(strip_usage=False, bounds=bounds)
        self.pending = b""
        self.quiet = False

    def another(self, raw: Meter) -> ShownMeter:
        """The meter of the next attempt, which `raw` has read the beginning of."""
        meter = ShownMeter(raw, self.meter)
        self._progress.meter = meter
        return meter

    def show(self, passed: bytes) -> None:
        """Goes to the client, now or once the answer has started."""
        if passed:
            self.meter.feed(passed)
            if self._progress.capture is not None:
                self._progress.capture.add(passed)
            self.pending += passed
            self.quiet = False

    async def start(self, begun: Begun) -> None:
        """Sends the head, and what waited for it."""
        self._begun = begun
        async with self._lock:
            if not self._exchange.started:
                await start(self._exchange, self._progress, begun)
                self._flush()

    def flush(self) -> bool:
        """Sends what is pending, if the head is out; True if more may follow at once."""
        return not self._exchange.started or self._flush()

    def _flush(self) -> bool:
        pending, self.pending = self.pending, b""
        return not pending or self._exchange.send(pending)

    async def beat(self, clock: Clock) -> None:
        """Keeps the connection alive while the client is shown nothing."""
        while True:
            await clock.sleep(HEARTBEAT_SECONDS)
            if not (self.quiet or self.hold.waits) or self._begun is None:
                continue
            await self.start(self._begun)
            await self._exchange.write(_HEARTBEAT)

    def hears(self, begun: Begun) -> None:
        """Whose head the answer may be started with."""
        if self._begun is None:
            self._begun = begun
            if self._progress.capture is not None:
                self._progress.capture.begin(begun.status, begun.headers, Kind.LENGTH, stream=True)
