"""What becomes of a call whose first attempt came to nothing: the same target again, or the next.

Theory of operation. A failure that may pass is tried again at the same target, a few times in a
call and as often as the target's retry budget lets all calls together. Then the next target that
takes calls is asked, until there is none. Each attempt is booked before another is begun, so that a
call which is cut anywhere, in an attempt, between two or while it waits, is settled as it stands.
What the last target said is passed through where it was the only one; else the client is told what
each of them did.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy import bill
from proxy.attempting.asking import Asking
from proxy.attempting.booking import Booking, tried_of
from proxy.attempting.choosing import Choosing, Unwatched, reset_in
from proxy.attempting.opened import Opened
from proxy.attempting.sending import Failed
from proxy.attempting.telling import Told, own_error, own_words, why_elsewhere
from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.clock import Clock
from proxy.core.backoff import backoff_seconds
from proxy.core.decision import Refusal
from proxy.core.failures import Failure, may_fall_back, may_retry
from proxy.core.routing import Candidate
from proxy.intake import Call
from proxy.outbound import Base
from proxy.progress import Progress
from proxy.retrying import RetryBudget

_ASKED_SECONDS = 1.0
"""A target that asks for more time than this is left alone where another takes the call."""
_LEAST_SECONDS = 0.1
"""Nothing is begun that the call's deadline would end at once."""


@dataclass(frozen=True, slots=True)
class CourseParts:
    """What courses work with. chance: evenly from 0 to 1."""

    choosing: Choosing
    asking: Asking
    booking: Booking
    budget: RetryBudget
    clock: Clock
    chance: Callable[[], float]


class Course:
    """Of one call. Ends with it."""

    def __init__(self, parts: CourseParts, progress: Progress, base: Base | None) -> None:
        self._p = parts
        self._progress = progress
        self._base = base
        self._told = Told()
        self._slow: list[Candidate] = []
        self._left: list[Candidate] = parts.choosing.others(progress.call)
        self._tell_barred()
        self._booked = False
        self._until = parts.clock.monotonic() + progress.call.policy.retries.wait_seconds

    def was_asked(self, candidate: Candidate, failure: Failure) -> None:
        """Beside the target at hand; it has failed, too."""
        if candidate in self._left:
            self._left.remove(candidate)
        self._told.failed(candidate, failure)

    async def go_on(self, came: Failed | Shut) -> Opened:
        """Raises UpstreamUnavailable where all is over."""
        while True:
            self._note(came)
            # What was not even asked leaves the one before it the last that was.
            self._booked = isinstance(came, Failed) and not came.asked
            permit = await self._next(came)
            if permit is None:
                return self._end(came)
            elsewhere = self._takes_other if self._left else None
            again = await self._p.asking.ask(self._progress, self._base, permit, elsewhere)
            if not isinstance(again, Failed):
                return again
            came = again

    def _takes_other(self) -> bool:
        return self._p.choosing.takes(self._progress.call, self._left)

    async def _next(self, came: Failed | Shut) -> Permit | None:
        """Leave for another attempt, for which all is held; None where there is none to make."""
        if isinstance(came, Failed):
            own_key = self._progress.call.credential is not None
            if not may_fall_back(came.failure, own_key):
                return None
            permit = await self._again(came)
            if permit is not None:
                return permit
        permit = await self._elsewhere(came)
        return await self._after_reset(came) if permit is None else permit

    async def _again(self, came: Failed) -> Permit | None:
        """The same target once more, after a moment."""
        p, progress, failure = self._p, self._progress, came.failure
        call, tried = progress.call, tried_of(progress)
        rules = call.policy.retries
        if not may_retry(failure) or tried.retries >= rules.max or p.choosing.shut(call):
            return None
        seconds = backoff_seconds(tried.retries, p.chance())
        seconds = max(seconds, failure.reset_seconds or 0.0)
        if seconds > min(rules.wait_seconds, self._left_seconds - _LEAST_SECONDS):
            return None
        if seconds > _ASKED_SECONDS and self._takes_other():
            return None
        if not p.budget.take(call.upstream.name, rules.ratio):
            return None
        self._book(came)
        await p.clock.sleep(seconds)
        permit = p.choosing.acquire(call)
        if isinstance(permit, Shut):
            return None
        if failure.sent and not await self._held(call, permit, ""):
            return None
        tried.retries += 1
        return permit

    async def _elsewhere(self, came: Failed | Shut) -> Permit | None:
        """The next target that takes calls; one that is only slow where no other does."""
        why = why_elsewhere(came)
        while self._left and self._left_seconds > _LEAST_SECONDS:
            found = self._found(self._left.pop(0))
            if found is not None:
                self._book(came)
                if await self._held(*found, why):
                    return found[1]
        while self._slow and self._left_seconds > _LEAST_SECONDS:
            self._book(came)
            aimed, permit = self._aimed(self._slow.pop(0)), Unwatched()
            if aimed is not None and await self._held(aimed, permit, why):
                return permit
        return None

    async def _after_reset(self, came: Failed | Shut) -> Permit | None:
        """All that is missing is a rate limit's reset, and its provider said when: then that is
        waited for. Of many that do, one tries; the others wait for what comes of it."""
        p, rules = self._p, self._progress.call.policy.retries
        while tried_of(self._progress).retries < rules.max:
            waits = self._shut_by_limits()
            seconds = reset_in([shut for _, shut in waits])
            left = min(self._until - p.clock.monotonic(), self._left_seconds - _LEAST_SECONDS)
            if seconds is None or seconds > left:
                return None
            self._book(came)
            await p.clock.sleep(after_reset(seconds, p.chance()))
            for candidate, _ in waits:
                found = self._found(candidate)
                why = "" if candidate is self._progress.call.candidate else why_elsewhere(came)
                if found is not None and await self._held(*found, why):
                    tried_of(self._progress).retries += 1
                    return found[1]
        return None

    def _shut_by_limits(self) -> list[tuple[Candidate, Shut]]:
        call, choosing = self._progress.call, self._p.choosing
        found = []
        for candidate in (call.candidate, *choosing.others(call)):
            aimed = choosing.intake.aim(call, candidate)
            shut = None if isinstance(aimed, Refusal) else choosing.shut(aimed)
            if shut is not None and reset_in([shut]) is not None:
                found.append((candidate, shut))
        return found

    def _aimed(self, candidate: Candidate) -> Call | None:
        call = self._progress.call
        if candidate is call.candidate:
            return call
        aimed = self._p.choosing.intake.aim(call, candidate)
        if isinstance(aimed, Refusal):
            self._told.not_asked(candidate, aimed.message)
            return None
        return aimed

    def _found(self, candidate: Candidate) -> tuple[Call, Permit] | None:
        """The call aimed there, and leave to ask."""
        aimed = self._aimed(candidate)
        if aimed is None:
            return None
        permit = self._p.choosing.acquire(aimed)
        if isinstance(permit, Shut):
            self._note_shut(candidate, permit)
            return None
        return aimed, permit

    async def _held(self, aimed: Call, permit: Permit, why: str) -> bool:
        """Whether there is room for an attempt there; then all is made ready for it. why: it is
        another target than the last one."""
        p, progress = self._p, self._progress
        try:
            held = await p.booking.hold(progress, aimed, self._base)
        except BaseException:
            permit.dropped()
            raise
        if not held:
            permit.dropped()
            self._told.not_asked(aimed.candidate, "too little is left for it")
            return False
        if why:
            tried_of(progress).fallbacks += (why,)
            progress.did("fallback")
            p.budget.called(aimed.upstream.name, aimed.policy.retries.ratio)
        return True

    @property
    def _left_seconds(self) -> float:
        return self._progress.live.due - asyncio.get_running_loop().time()

    def _book(self, came: Failed | Shut) -> None:
        """Once: it has failed, and something else is done."""
        if isinstance(came, Failed) and not self._booked:
            self._booked = True
            self._p.booking.over(self._progress, came.failure)

    def _tell_barred(self) -> None:
        call = self._progress.call
        for candidate in call.candidates:
            if candidate is not call.candidate and candidate not in self._left:
                why = self._p.choosing.barred(call, candidate) or "another had begun to answer"
                self._told.not_asked(candidate, why)

    def _note(self, came: Failed | Shut) -> None:
        candidate = self._progress.call.candidate
        if isinstance(came, Shut):
            self._note_shut(candidate, came)
        else:
            self._told.failed(candidate, came.failure)

    def _note_shut(self, candidate: Candidate, shut: Shut) -> None:
        self._told.shut(candidate, shut)
        if shut.why == "slow":
            self._slow.append(candidate)

    def _end(self, came: Failed | Shut) -> Opened:
        """Nothing is left to try. Raises UpstreamUnavailable, unless the provider's own words are
        the best there is to say."""
        progress = self._progress
        if isinstance(came, Shut):
            raise self._told.error()
        self._unbook()
        call, failure = progress.call, came.failure
        alone = len(call.candidates) == 1 or call.stays
        alone &= call.route.on_unavailable != "handoff"
        if alone or not may_fall_back(failure, call.credential is not None):
            own = own_words(came, retried=call.policy.retries.max > 0)
            if own is not None:
                return own
        if not self._booked and not failure.sent and progress.sent:
            progress.over(bill.failed(failure.status))
        if not alone:
            raise self._told.error()
        raise own_error(came)

    def _unbook(self) -> None:
        """What was booked as one attempt of several was the last."""
        if self._booked:
            tried = tried_of(self._progress)
            tried.failed = tried.failed[:-1]


def after_reset(seconds: float, chance: float) -> float:
    """A little later than a reset, and not all at once."""
    return seconds + 0.02 + 0.1 * chance
