"""The one loop of a call's attempts: each is sent, read to its commit point and judged."""

from proxy.attempting.opened import Opened
from proxy.attempting.reading import Reader
from proxy.clock import Clock
from proxy.outbound import timeouts
from proxy.progress import Progress
from proxy.wire import Outgoing, Upstreams


class Attempting:
    """Shared by all calls."""

    def __init__(self, upstreams: Upstreams, clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self.reader = Reader(clock)

    async def open(self, progress: Progress, request: Outgoing) -> Opened:
        """The answer to a call. Raises UpstreamUnavailable where there is none."""
        if progress.forwarded_at is None:
            progress.forwarded_at = self._clock.monotonic()
        limits = timeouts(progress.call.policy)
        incoming = await self._upstreams.send(request, limits, progress.leaves)
        return await self.reader.read(progress, incoming)
