"""What becomes of a call whose first attempt came to nothing: the same target again, or the next.

Theory of operation. A failure that may pass is tried again at the same target, a few times in a
call and as often as the target's retry budget lets all calls together. Then the next target that
takes calls is asked, until there is none. Each attempt is booked before another is begun, so that a
call which is cut anywhere, in an attempt, between two or while it waits, is settled as it stands.
What the last target said is passed through where it was the only one; else the client is told what
each of them did.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from proxy import bill
from proxy.attempting.asking import Asking
from proxy.attempting.booking import Booking, tried_of
from proxy.attempting.choosing import Choosing, Unwatched, name_of, shut_in_words
from proxy.attempting.opened import Opened, Refused
from proxy.attempting.sending import Failed
from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.clock import Clock
from proxy.core.backoff import backoff_seconds
from proxy.core.decision import Refusal
from proxy.core.failures import Failure, may_fall_back, may_retry
from proxy.core.provider_errors import read_error
from proxy.core.routing import Candidate
from proxy.errors import UpstreamUnavailable
from proxy.outbound import Base
from proxy.progress import Progress
from proxy.retrying import RetryBudget

_LEAST_SECONDS = 0.1
"""Nothing is begun that the call's deadline would end at once."""
_RETRIED = (408, 409, 429)
"""Statuses that SDKs send again, beside those from 500 on."""
_OF_A_GATEWAY = (502, 503, 504)
_SHORT_SECONDS = 60.0
"""SDKs wait as long as they are told; for longer than this nobody wants them to."""


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
        self._told: list[str] = []
        self._seconds = math.inf
        self._slow: list[Candidate] = []
        self._left: list[Candidate] = parts.choosing.others(progress.call)
        self._tell_barred()
        self._booked = False

    async def go_on(self, came: Failed | Shut) -> Opened:
        """Raises UpstreamUnavailable where all is over."""
        while True:
            self._note(came)
            # What was not even asked leaves the one before it the last that was.
            self._booked = isinstance(came, Failed) and not came.asked
            permit = await self._next(came)
            if permit is None:
                return self._end(came)
            again = await self._p.asking.ask(self._progress, self._base, permit)
            if not isinstance(again, Failed):
                return again
            came = again

    async def _next(self, came: Failed | Shut) -> Permit | None:
        """Leave for another attempt, for which all is held; None where there is none to make."""
        if isinstance(came, Failed):
            own_key = self._progress.call.credential is not None
            if not may_fall_back(came.failure, own_key):
                return None
            permit = await self._again(came)
            if permit is not None:
                return permit
        return await self._elsewhere(came)

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
        if not p.budget.take(call.upstream.name, rules.ratio):
            return None
        self._book(came)
        await p.clock.sleep(seconds)
        permit = p.choosing.acquire(call)
        if isinstance(permit, Shut):
            return None
        if failure.sent and not await self._held(permit, call.candidate, ""):
            return None
        tried.retries += 1
        return permit

    async def _elsewhere(self, came: Failed | Shut) -> Permit | None:
        """The next target that takes calls; one that is only slow where no other does."""
        why = _why(came)
        while self._left and self._left_seconds > _LEAST_SECONDS:
            candidate = self._left.pop(0)
            permit = self._permit(candidate)
            if permit is not None:
                self._book(came)
                if await self._held(permit, candidate, why):
                    return permit
        while self._slow and self._left_seconds > _LEAST_SECONDS:
            self._book(came)
            permit = Unwatched()
            if await self._held(permit, self._slow.pop(0), why):
                return permit
        return None

    def _permit(self, candidate: Candidate) -> Permit | None:
        choosing = self._p.choosing
        aimed = choosing.intake.aim(self._progress.call, candidate)
        if isinstance(aimed, Refusal):
            self._told.append(f"{name_of(candidate)}: {aimed.message}")
            return None
        permit = choosing.acquire(aimed)
        if isinstance(permit, Shut):
            self._note_shut(candidate, permit)
            return None
        return permit

    async def _held(self, permit: Permit, candidate: Candidate, why: str) -> bool:
        """Whether there is room for an attempt there; then all is made ready for it. why: it is
        another target than the last one."""
        p, progress = self._p, self._progress
        try:
            call = progress.call
            aimed = call if candidate is call.candidate else p.choosing.intake.aim(call, candidate)
            assert not isinstance(aimed, Refusal)
            held = await p.booking.hold(progress, aimed, self._base)
        except BaseException:
            permit.dropped()
            raise
        if not held:
            permit.dropped()
            self._told.append(f"{name_of(candidate)}: too little is left for it")
            return False
        if why:
            tried_of(progress).fallbacks += (why,)
            progress.did("fallback")
            p.budget.called(aimed.upstream.name, call.policy.retries.ratio)
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
                why = self._p.choosing.barred(call, candidate)
                self._told.append(f"{name_of(candidate)}: {why}")

    def _note(self, came: Failed | Shut) -> None:
        candidate = self._progress.call.candidate
        if isinstance(came, Shut):
            self._note_shut(candidate, came)
        else:
            self._told.append(f"{name_of(candidate)} {_in_words(came.failure)}")

    def _note_shut(self, candidate: Candidate, shut: Shut) -> None:
        self._seconds = min(self._seconds, shut.seconds)
        self._told.append(f"{name_of(candidate)} {shut_in_words(shut)}")
        if shut.why == "slow":
            self._slow.append(candidate)

    def _end(self, came: Failed | Shut) -> Opened:
        """Nothing is left to try. Raises UpstreamUnavailable, unless the provider's own words are
        the best there is to say."""
        progress = self._progress
        if isinstance(came, Shut):
            raise self._all_failed()
        self._unbook()
        call, failure = progress.call, came.failure
        alone = len(call.candidates) == 1
        if alone or not may_fall_back(failure, call.credential is not None):
            own = self._own_words(came)
            if own is not None:
                return own
        if not self._booked and not failure.sent and progress.sent:
            progress.over(bill.failed(failure.status))
        if not alone:
            raise self._all_failed()
        status = failure.status or came.status
        if status >= 500 and status not in _OF_A_GATEWAY:
            status = 502  # else it would be a fault of ours
        raise UpstreamUnavailable(failure.message, failure.reason, failure.sent, came.code, status)

    def _unbook(self) -> None:
        """What was booked as one attempt of several was the last."""
        if self._booked:
            tried = tried_of(self._progress)
            tried.failed = tried.failed[:-1]

    def _own_words(self, came: Failed) -> Refused | None:
        """The provider's error, if its client can read it: no page of a server in between."""
        answer = came.answer
        if answer is None or not _is_readable(answer.body):
            return None
        if self._progress.call.policy.retries.max:
            answer.headers = _not_again(answer, came.failure)
        return answer

    def _all_failed(self) -> UpstreamUnavailable:
        when = "" if math.isinf(self._seconds) else f" The next try is in {self._seconds:.0f} s."
        said = f"No upstream could serve this call: {'; '.join(self._told)}.{when}"
        seconds = None if math.isinf(self._seconds) else round(self._seconds, 3)
        return UpstreamUnavailable(said, "error", next_try_seconds=seconds)


def _in_words(failure: Failure) -> str:
    said = failure.message.rstrip(".")
    return said if failure.status else f"failed: {said}"


_WHY = {"slow": "slow_first_token", "timeout": "timeout", "rate_limited": "rate_limited"}


def _why(came: Failed | Shut) -> str:
    """Why another target is asked, as metrics count it."""
    if isinstance(came, Shut):
        return "breaker_open"
    return _WHY.get(came.failure.reason, "error")


def _is_readable(body: bytes) -> bool:
    return read_error(body).is_json or not (body.isspace() or body.lstrip()[:1] in (b"", b"<"))


def _not_again(refused: Refused, failure: Failure) -> tuple[tuple[str, str], ...]:
    """We have tried again already: its client need not, unless it is told when."""
    if refused.status not in _RETRIED and refused.status < 500:
        return refused.headers
    reset = failure.reset_seconds
    told = any(name.lower() in ("retry-after", "retry-after-ms") for name, _ in refused.headers)
    own = any(name.lower() == "x-should-retry" for name, _ in refused.headers)
    if own or (told and reset is not None and reset <= _SHORT_SECONDS):
        return refused.headers
    return (*refused.headers, ("x-should-retry", "false"))
