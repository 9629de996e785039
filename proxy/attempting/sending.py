"""One attempt: sent, read up to its commit point, and judged. Nothing is decided here on what
follows from it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from proxy.attempting.opened import Begun, Opened, Refused
from proxy.attempting.patience import Patience, Trial
from proxy.attempting.reading import Reader
from proxy.breakers.permits import Permit
from proxy.clock import Clock
from proxy.core.dialects.bound import is_bound_refusal
from proxy.core.failures import (
    Failure,
    failure_of_error,
    failure_of_event,
    failure_of_status,
)
from proxy.core.provider_errors import ending_of
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.registry import translation
from proxy.errors import UpstreamUnavailable
from proxy.failures import broken_off
from proxy.intake import Call
from proxy.outbound import Base, outgoing, timeouts, translated_outgoing
from proxy.progress import Progress
from proxy.translated import translated
from proxy.wire import Incoming, Upstreams
from proxy.wire.timing import Deadlines


class Failed(msgspec.Struct, frozen=True):
    """An attempt that came to nothing. answer: what the provider said, which its caller may be
    given where nobody else can serve it. code, status: of the error, where there is none. asked:
    False where it was not even sent, for the target has no words for it."""

    failure: Failure
    answer: Refused | None = None
    asked: bool = True
    code: str = UpstreamUnavailable.code
    status: int = UpstreamUnavailable.status


Elsewhere = Callable[[], bool] | None


class Sender:
    """Shared by all calls."""

    def __init__(self, upstreams: Upstreams, clock: Clock) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._deadlines = Deadlines(asyncio.get_running_loop())
        self.reader = Reader(clock, self._deadlines)

    async def once(
        self, progress: Progress, base: Base | None, permit: Permit, elsewhere: Elsewhere = None
    ) -> Opened | Failed:
        """Asks the target that the call is aimed at. Tells the permit what came of it, or leaves
        that to the stream it gives out. elsewhere: see `Patience`; None: nobody else is there."""
        began = self._clock.monotonic()
        if progress.forwarded_at is None:
            progress.forwarded_at = began
        patience = None if elsewhere is None else self._patience(progress.call, elsewhere)
        trial = self._trial(progress.call, permit) if permit.probe else None
        try:
            opened = await self._opened(progress, base, patience)
        except UpstreamUnavailable as error:
            return _broken(progress, error, permit)
        except Untranslatable as error:
            permit.dropped()
            return _unasked(error.why)
        except BaseException:
            if patience is not None and patience.is_over():
                return _given_up(self._clock.monotonic() - began, permit)
            _cut(progress, permit)
            raise
        finally:
            if patience is not None:
                self._deadlines.discard(patience)
            if trial is not None:
                self._deadlines.discard(trial)
        return self._judged(progress, opened, permit, began)

    async def _opened(
        self, progress: Progress, base: Base | None, patience: Patience | None
    ) -> Opened:
        call = progress.call
        if call.candidate.spoken != call.request.dialect:
            incoming = await self._send_translated(progress, base)
        else:
            request = outgoing(call, progress.admitted.admit, base)
            left = partial(self.reader.left, progress)
            incoming = await self._upstreams.send(request, timeouts(call), progress.leaves, left)
        shown_after = None if patience is None else call.policy.breakers.slow_seconds
        return await self.reader.read(progress, incoming, shown_after)

    def _judged(
        self, progress: Progress, opened: Opened, permit: Permit, began: float
    ) -> Opened | Failed:
        rules = progress.call.policy.breakers
        if isinstance(opened, Refused):
            return self._refused(opened, permit, is_other=progress.call.candidate.index > 0)
        if isinstance(opened, Begun):
            slow = self._clock.monotonic() - began > rules.slow_seconds
            return _begun(opened, permit, self._clock.now(), slow=slow)
        most = rules.answer_seconds
        permit.answered(slow=most is not None and self._clock.monotonic() - began > most)
        return opened

    def _patience(self, call: Call, elsewhere: Callable[[], bool]) -> Patience | None:
        rules = call.policy.breakers
        seconds = rules.slow_seconds if call.request.stream else rules.answer_seconds
        if seconds is None:
            return None
        patience = Patience(seconds, elsewhere)
        self._deadlines.add(patience)
        return patience

    def _trial(self, call: Call, permit: Permit) -> Trial:
        trial = Trial(call.policy.breakers.slow_seconds, permit)
        self._deadlines.add(trial)
        return trial

    async def _send_translated(self, progress: Progress, base: Base | None) -> Incoming:
        """Its answer comes in the client's dialect. Raises Untranslatable."""
        call = progress.call
        between = translation(call.request.dialect, call.candidate.spoken)
        if between is None:
            raise Untranslatable(f"nothing translates {call.request.dialect} for it")
        request = translated_outgoing(call, progress.admitted.admit, base, between)
        asked = call.body if base is None else base.body
        created = int(self._clock.now())

        async def left(incoming: Incoming) -> None:
            with suppress(UpstreamUnavailable):
                told = translated(incoming, between, asked, created)
                await self.reader.left(progress, told)

        incoming = await self._upstreams.send(request, timeouts(call), progress.leaves, left)
        return translated(incoming, between, asked, created)

    def _refused(self, refused: Refused, permit: Permit, *, is_other: bool) -> Opened | Failed:
        status, now = refused.status, self._clock.now()
        failure = failure_of_status(status, refused.headers, refused.body, now, is_other=is_other)
        if failure is None:
            permit.answered()
            return refused
        permit.failed(failure)
        return Failed(failure, refused)


def _given_up(seconds: float, permit: Permit) -> Failed:
    failure = Failure("slow", f"had not begun to answer after {seconds:.1f} s")
    permit.failed(failure)
    return Failed(failure, code="deadline_exceeded", status=504)


def _cut(progress: Progress, permit: Permit) -> None:
    """A provider that says nothing until the call's time is over is slow; of one whose client has
    left, or whose session was killed, nothing is known."""
    refusal = progress.live.refusal
    if refusal is not None and refusal.code == "deadline_exceeded":
        permit.stalled()
    else:
        permit.dropped()


def _unasked(why: str) -> Failed:
    failure = Failure("not_found", f"cannot be asked: {why}", sent=False, lasting=True)
    return Failed(failure, asked=False, code="invalid_request", status=400)


def _broken(progress: Progress, error: UpstreamUnavailable, permit: Permit) -> Failed:
    failure = failure_of_error(error)
    permit.failed(failure)
    told = broken_off(error, progress)
    return Failed(failure, code=told.code, status=told.status)


def _failed_at_once(begun: Begun, permit: Permit, now: float) -> Begun | Failed:
    """A stream that is nothing but an error: like the status that it should have had."""
    data = ending_of(begun.raw)
    failure = failure_of_event(data, now)
    if failure is not None:
        permit.failed(failure)
        begun.close()
        return Failed(failure)
    permit.answered()
    if not is_bound_refusal(400, data):
        return begun
    begun.close()
    refused = Refused(400, (("content-type", "application/json"),), data)
    said = "refused what another provider made"
    return Failed(Failure("error", said, 400, sent=False, lasting=True), refused)


def _begun(begun: Begun, permit: Permit, now: float, *, slow: bool) -> Begun | Failed:
    meter = begun.meter
    if meter.failed is not None and not meter.committed:
        return _failed_at_once(begun, permit, now)
    if slow:
        permit.answered(slow=True)
    else:
        permit.begun()
        begun.permit = permit
    return begun
