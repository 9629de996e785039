"""One attempt: sent, read up to its commit point, and judged. Nothing is decided here on what
follows from it."""

import msgspec

from proxy.attempting.opened import Begun, Opened, Refused
from proxy.attempting.reading import Reader
from proxy.breakers.permits import Permit
from proxy.clock import Clock
from proxy.core.failures import Failure, failure_of_error, failure_of_status
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.registry import translation
from proxy.errors import UpstreamUnavailable
from proxy.failures import broken_off
from proxy.outbound import Base, outgoing, timeouts, translated_outgoing
from proxy.progress import Progress
from proxy.translated import translated
from proxy.wire import Incoming, Upstreams


class Failed(msgspec.Struct, frozen=True):
    """An attempt that came to nothing. answer: what the provider said, which its caller may be
    given where nobody else can serve it. code, status: of the error, where there is none. asked:
    False where it was not even sent, for the target has no words for it."""

    failure: Failure
    answer: Refused | None = None
    asked: bool = True
    code: str = UpstreamUnavailable.code
    status: int = UpstreamUnavailable.status


class Sender:
    """Shared by all calls."""

    def __init__(self, upstreams: Upstreams, clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self.reader = Reader(clock)

    async def once(self, progress: Progress, base: Base | None, permit: Permit) -> Opened | Failed:
        """Asks the target that the call is aimed at. Tells the permit what came of it, or leaves
        that to the stream it gives out."""
        call, clock = progress.call, self._clock
        began = clock.monotonic()
        if progress.forwarded_at is None:
            progress.forwarded_at = began
        try:
            if call.candidate.spoken != call.request.dialect:
                incoming = await self._send_translated(progress, base)
            else:
                request = outgoing(call, progress.admitted.admit, base)
                incoming = await self._upstreams.send(request, timeouts(call), progress.leaves)
            opened = await self.reader.read(progress, incoming)
        except UpstreamUnavailable as error:
            return _broken(progress, error, permit)
        except Untranslatable as error:
            permit.dropped()
            return _unasked(error.why)
        except BaseException:
            permit.dropped()
            raise
        breakers = call.policy.breakers
        if isinstance(opened, Refused):
            return self._refused(opened, permit, is_other=call.candidate.index > 0)
        if isinstance(opened, Begun):
            slow = clock.monotonic() - began > breakers.slow_seconds
            return _begun(opened, permit, slow=slow)
        most = breakers.answer_seconds
        permit.answered(slow=most is not None and clock.monotonic() - began > most)
        return opened

    async def _send_translated(self, progress: Progress, base: Base | None) -> Incoming:
        """Its answer comes in the client's dialect. Raises Untranslatable."""
        call = progress.call
        between = translation(call.request.dialect, call.candidate.spoken)
        if between is None:
            raise Untranslatable(f"nothing translates {call.request.dialect} for it")
        request = translated_outgoing(call, progress.admitted.admit, base, between)
        incoming = await self._upstreams.send(request, timeouts(call), progress.leaves)
        asked = call.body if base is None else base.body
        return translated(incoming, between, asked, int(self._clock.now()))

    def _refused(self, refused: Refused, permit: Permit, *, is_other: bool) -> Opened | Failed:
        status, now = refused.status, self._clock.now()
        failure = failure_of_status(status, refused.headers, refused.body, now, is_other=is_other)
        if failure is None:
            permit.answered()
            return refused
        permit.failed(failure)
        return Failed(failure, refused)


def _unasked(why: str) -> Failed:
    failure = Failure("not_found", f"cannot be asked: {why}", sent=False, lasting=True)
    return Failed(failure, asked=False, code="invalid_request", status=400)


def _broken(progress: Progress, error: UpstreamUnavailable, permit: Permit) -> Failed:
    failure = failure_of_error(error)
    permit.failed(failure)
    told = broken_off(error, progress)
    return Failed(failure, code=told.code, status=told.status)


def _begun(begun: Begun, permit: Permit, *, slow: bool) -> Begun | Failed:
    """Whether a probe has come through is known by its content: others wait for that."""
    meter = begun.meter
    if meter.failed is not None and not meter.committed:
        failure = Failure("error", f"told an error in its stream: {meter.failed[:200]}")
        permit.failed(failure)
        begun.close()
        return Failed(failure)
    if slow or permit.probe:
        permit.answered(slow=slow)
    else:
        begun.permit = permit
    return begun
