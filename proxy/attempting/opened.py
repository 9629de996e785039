"""An answer as far as it was read before anything of it is given: values between the rooms."""

from collections.abc import Callable
from typing import TypeAlias

from proxy.breakers.permits import Permit
from proxy.core.dialects.base import Meter, Unstreamed
from proxy.core.failures import Failure, failure_of_error, failure_of_event
from proxy.core.provider_errors import ending_of
from proxy.errors import UpstreamUnavailable
from proxy.wire import Headers, Incoming

PATIENT_SECONDS = 5.0
"""For so long providers wait for who reads slowly; later they may hang up on that alone."""


class Refused:
    """The provider's own refusal, read whole."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def close(self) -> None:
        """Nothing is left to end."""


class Whole:
    """An unstreamed answer. body: as it came; plain: without its encoding; read: what it says."""

    __slots__ = ("body", "headers", "plain", "read", "status")

    def __init__(
        self, status: int, headers: Headers, body: bytes, plain: bytes, read: Unstreamed
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.plain = plain
        self.read = read

    def close(self) -> None:
        """Nothing is left to end."""


class Begun:
    """A stream that has come to its first content, or to its end.

    meter: has read what came so far. raw: that; held: what of it goes on to the client. The rest is
    still to come, and the holder closes it. permit: is told how it ends; None where nobody is.
    told: what came with the provider's own error. waited: seconds for which it has waited for its
    client, who may be why the provider hung up.
    """

    __slots__ = (
        *("_incoming", "_over", "headers", "held", "meter", "permit", "raw", "status", "told"),
        "waited",
    )

    def __init__(self, incoming: Incoming, meter: Meter, raw: bytes, held: bytes) -> None:
        self.status = incoming.status
        self.headers = incoming.headers
        self.meter = meter
        self.raw = raw
        self.held = held
        self.permit: Permit | None = None
        self.told = b""
        self.waited = 0.0
        self._incoming = incoming
        self._over = False

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """See `Incoming.pass_on`: what follows."""
        try:
            more = await self._incoming.pass_on(take)
        except UpstreamUnavailable as error:
            self._broke(error)
            raise
        self._over = not more
        return more

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        """See `Incoming.take_arrived`."""
        if not self._over:
            await self._incoming.take_arrived(take)

    def unread_part(self) -> float:
        """See `Incoming.unread_part`."""
        return self._incoming.unread_part()

    def close(self) -> None:
        """Ends it now; the provider is not asked for what has not come."""
        self._incoming.close()
        permit, self.permit = self.permit, None
        if permit is None:
            return
        meter = self.meter
        if meter.failed is not None and not self._is_own_fault():
            permit.failed(Failure("error", "told an error in its stream"))
        elif meter.failed is not None or meter.ended or meter.finish_seen:
            permit.answered()
        elif self._over and self.waited < PATIENT_SECONDS:
            permit.failed(Failure("truncated", "broke off in the middle of its answer"))
        else:
            permit.dropped()

    def _is_own_fault(self) -> bool:
        """Whether the provider's error is the caller's own fault."""
        data = ending_of(self.told or self.raw)
        return data != b"" and failure_of_event(data, 0.0) is None

    def _broke(self, error: UpstreamUnavailable) -> None:
        permit, meter = self.permit, self.meter
        if permit is None or meter.ended or meter.failed is not None:
            return  # it had come to its end, and only closed badly
        self.permit = None
        if self.waited >= PATIENT_SECONDS:
            permit.dropped()
        elif error.kind == "timeout":
            permit.stalled()
        else:
            permit.failed(failure_of_error(error))


Opened: TypeAlias = Refused | Whole | Begun
