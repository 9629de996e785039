"""Where the attempts of a call begin: at which target, and hedged or not."""

from functools import partial

from proxy.attempting.booking import tried_of
from proxy.attempting.choosing import refuse_closed_to
from proxy.attempting.course import Course, CourseParts, after_reset
from proxy.attempting.hedging import Hedging
from proxy.attempting.opened import Opened
from proxy.attempting.reading import Reader
from proxy.attempting.sending import Failed
from proxy.breakers.permits import Permit
from proxy.calls import LiveCall
from proxy.core.closed import refuse_closed
from proxy.core.decision import Refusal
from proxy.core.left import refuse_over, seconds_left
from proxy.core.session import SessionState
from proxy.intake import Call
from proxy.ledger import Ledger
from proxy.outbound import Base
from proxy.progress import Progress
from proxy.reservation import Admitted


class Attempting:
    """Shared by all calls."""

    def __init__(self, parts: CourseParts, hedging: Hedging, ledger: Ledger) -> None:
        self._p = parts
        self._hedging = hedging
        self._ledger = ledger
        self._choosing = parts.choosing
        self._asking = parts.asking
        self._budget = parts.budget

    @property
    def reader(self) -> Reader:
        return self._asking.sender.reader

    def is_open(self, call: Call) -> bool:
        """Whether the call may begin as it is; else `begin` has to look."""
        return self._choosing.is_open(call)

    async def begin(self, call: Call) -> Call | Refusal:
        """The call aimed at the target that it begins at; a Refusal where nobody takes it now."""
        state = await self._ledger.state(call.key)
        closed = refuse_closed(call.rules.refusal_status, state, call.key.session)
        if closed is not None:
            return closed
        if _may_be_kept(call, state):
            return call
        until = self._p.clock.monotonic() + call.policy.retries.wait_seconds
        while True:
            begins = self._choosing.begin(call, state)
            if isinstance(begins, Call):
                return begins
            seconds = begins.reset_seconds
            if seconds is None or self._p.clock.monotonic() + seconds > until:
                return refuse_closed_to(call, begins)
            await self._p.clock.sleep(after_reset(seconds, self._p.chance()))

    def _takes_other(self, call: Call) -> bool:
        return self._choosing.takes(call, self._choosing.others(call))

    async def open(self, progress: Progress, base: Base | None = None) -> Opened:
        """The answer to a call, from whoever gives one. base: what is asked; None: what the client
        asked. Raises UpstreamUnavailable where there is none."""
        call = progress.call
        self._budget.called(call.upstream.name, call.policy.retries.ratio)
        permit = self._choosing.acquire(call)
        if isinstance(permit, Permit):
            if call.route.hedge is not None and len(call.candidates) > 1:
                return await self._hedged(progress, base, permit, call.route.hedge.after_seconds)
            elsewhere = None if len(call.candidates) == 1 else partial(self._takes_other, call)
            came = await self._asking.ask(progress, base, permit, elsewhere)
            if not isinstance(came, Failed):
                return came
            return await Course(self._p, progress, base).go_on(came)
        return await Course(self._p, progress, base).go_on(permit)

    async def _hedged(
        self, progress: Progress, base: Base | None, permit: Permit, seconds: float
    ) -> Opened:
        came, beside, failure = await self._hedging.ask(progress, base, permit, seconds)
        if not isinstance(came, Failed):
            return came
        course = Course(self._p, progress, base)
        if beside is not None and failure is not None:
            course.was_asked(beside, failure)
        return await course.go_on(came)


def begun_at(call: Call, admitted: Admitted, live: LiveCall, request_id: str) -> Progress:
    """A call that was admitted, at the target that it begins at."""
    progress = Progress(call, admitted, live, request_id)
    if call.why:
        tried_of(progress).fallbacks = (call.why,)
        progress.did("downgrade" if call.why == "budget_low" else "fallback")
    return progress


def ends_with_session(live: LiveCall, call: Call, admitted: Admitted, now: float) -> None:
    """A call is cut where the time of its session ends."""
    rules, state = call.rules, admitted.state
    seconds = seconds_left(rules.limits, state, now)
    if seconds is not None:
        live.ends_in(seconds, partial(refuse_over, rules, state, call.ask, now + seconds))


def _may_be_kept(call: Call, state: SessionState) -> bool:
    """Whether its answer may have waited for a human: then it asks nobody."""
    request = call.request
    return any(
        kept.body_digest == request.body_digest and kept.stream == request.stream
        for kept in state.tools.kept
    )
