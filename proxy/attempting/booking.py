"""What failed attempts come to, and what is held for the next one.

An attempt that may have been billed is booked once, at what it may have cost; what its call holds
beside that is used again. Where that is too little for the next target, the ledger holds more, or
that target is not asked.
"""

from functools import partial

from msgspec.structs import replace

from proxy import bill
from proxy.calls import LiveCall
from proxy.clock import Clock
from proxy.core.ask import Instead
from proxy.core.decision import Blocked
from proxy.core.events import AttemptFailed
from proxy.core.failures import Failure
from proxy.core.left import refuse_over, seconds_left
from proxy.failures import late
from proxy.intake import Call, Intake
from proxy.ledger import Ledger
from proxy.outbound import Base
from proxy.progress import Progress, Tried
from proxy.reservation import Admitted
from proxy.settling import Settler


class Booking:
    """Shared by all calls."""

    def __init__(self, intake: Intake, ledger: Ledger, settler: Settler, clock: Clock) -> None:
        self._intake = intake
        self._ledger = ledger
        self._settler = settler
        self._clock = clock

    def over(self, progress: Progress, failure: Failure) -> None:
        """The attempt at hand came to nothing, and another one follows."""
        call, cost = progress.call, 0
        if not progress.sent:
            progress.anew()
        else:
            came = bill.failed(failure.status)
            if failure.sent:
                came = self._settler.reckon_broken(progress, "truncated", bill.NO_ANSWER)
            cost = came.cost_micro_usd
            progress.over(came)
        tried = tried_of(progress)
        tried.failed = (
            *tried.failed,
            AttemptFailed(
                at=self._clock.now(),
                call_id=call.call_id,
                upstream=call.upstream.name,
                model=call.model,
                reason=failure.reason,
                status=failure.status,
                cost_micro_usd=cost,
            ),
        )

    async def hold(self, progress: Progress, aimed: Call, base: Base | None) -> bool:
        """Holds what the next attempt may come to; False where there is no room for it."""
        ask = aimed.ask if base is None else self._intake.ask_of(aimed, base.request)
        told = progress.admitted.admit.hold_input_tokens - progress.ask.input_tokens
        whole = replace(ask, input_tokens=ask.input_tokens + max(0, told))
        wanted = Instead(whole, progress.spare_micro_usd, progress.spare_tokens)
        more = await self._ledger.extend(aimed.call_id, wanted)
        if isinstance(more, Blocked):
            return False
        tried_of(progress).moved |= aimed is not progress.call
        progress.aim(aimed, more, ask)
        if progress.live.late_by_deadline:
            progress.live.late = partial(late, aimed, tried_of(progress).failed)
        self._ledger.calls.aim(aimed.call_id, whole, progress.held_tokens - progress.allowance)
        return True


def ends_with_session(live: LiveCall, call: Call, admitted: Admitted, now: float) -> None:
    """A call is cut where the time of its session ends."""
    rules, state = call.rules, admitted.state
    seconds = seconds_left(rules.limits, state, now)
    if seconds is not None:
        live.ends_in(seconds, partial(refuse_over, rules, state, call.ask, now + seconds))


def tried_of(progress: Progress) -> Tried:
    if progress.tried is None:
        progress.tried = Tried()
    return progress.tried


def begun_at(call: Call, admitted: Admitted, live: LiveCall, request_id: str) -> Progress:
    """A call that was admitted, at the target that it begins at."""
    progress = Progress(call, admitted, live, request_id)
    if call.why:
        tried_of(progress).fallbacks = (call.why,)
        progress.did("downgrade" if call.why == "budget_low" else "fallback")
    return progress
