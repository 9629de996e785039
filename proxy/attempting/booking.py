"""What failed attempts come to, and what is held for the next one.

An attempt that may have been billed is booked once, at what it may have cost; what its call holds
beside that is used again. Where that is too little for the next target, the ledger holds more, or
that target is not asked.
"""

from functools import partial

from msgspec.structs import replace

from proxy import bill
from proxy.attempting.opened import Opened, Whole
from proxy.attempting.sending import Failed
from proxy.clock import Clock
from proxy.core.ask import Ask, Instead
from proxy.core.decision import Blocked
from proxy.core.events import AttemptFailed
from proxy.core.failures import Failure
from proxy.failures import late
from proxy.intake import Call, Intake
from proxy.ledger import Ledger
from proxy.outbound import Base
from proxy.progress import Progress, Tried, held_for
from proxy.reservation import Settlement, most_output
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
        came = self._came_to(progress, failure)
        self._note(progress, progress.call, failure, came)
        if came is None:
            progress.anew()
        else:
            progress.over(came)

    def lost(
        self, progress: Progress, other: Progress, failure: Failure, came: Opened | Failed | None
    ) -> None:
        """An attempt that was made beside the one at hand came to nothing, or came too late."""
        if isinstance(came, Whole):
            booked: Settlement | None = self._settler.reckon(other, came.read.usage, bill.NO_ANSWER)
        else:
            booked = self._came_to(other, failure)
        self._note(progress, other.call, failure, booked)
        if booked is not None:
            earlier = progress.earlier
            progress.earlier = booked if earlier is None else bill.together(earlier, booked)

    def _came_to(self, progress: Progress, failure: Failure) -> Settlement | None:
        """What such an attempt may have been billed; None where it was not even sent."""
        if not progress.sent:
            return None
        if not failure.sent:
            return bill.failed(failure.status)
        return self._settler.reckon_broken(progress, "truncated", bill.NO_ANSWER)

    def _note(
        self, progress: Progress, call: Call, failure: Failure, came: Settlement | None
    ) -> None:
        tried = tried_of(progress)
        failed = AttemptFailed(
            at=self._clock.now(),
            call_id=call.call_id,
            upstream=call.upstream.name,
            model=call.model,
            reason=failure.reason,
            status=failure.status,
            cost_micro_usd=0 if came is None else came.cost_micro_usd,
        )
        tried.failed = (*tried.failed, failed)

    async def beside(self, progress: Progress, aimed: Call, base: Base | None) -> Progress | None:
        """Another attempt beside the one at hand, for which the call holds more; None where there
        is no room for both."""
        ask, whole = self._asks(progress, aimed, base)
        more = await self._ledger.extend(aimed.call_id, whole)
        if isinstance(more, Blocked):
            return None
        assert more.admit is not None
        progress.held_cost_micro_usd += more.cost_micro_usd
        progress.held_tokens += more.output_tokens
        admit = held_for(progress.admitted.admit, more.admit)
        admitted = replace(progress.admitted, admit=admit, most=most_output(ask, admit))
        other = Progress(aimed, admitted, progress.live, progress.request_id)
        other.ask, other.forwarded_at = ask, self._clock.monotonic()
        return other

    def adopt(self, progress: Progress, other: Progress) -> None:
        """The attempt that was made beside is the one at hand."""
        tried = tried_of(progress)
        tried.moved, tried.fallbacks = True, (*tried.fallbacks, "hedge")
        progress.take(other)
        progress.did("fallback")
        admit = progress.admitted.admit
        whole = replace(other.ask, input_tokens=admit.hold_input_tokens)
        others = progress.held_tokens - progress.allowance
        self._ledger.calls.aim(other.call.call_id, whole, others)

    def _asks(self, progress: Progress, aimed: Call, base: Base | None) -> tuple[Ask, Ask]:
        """What it asks there, and the same with all that it carries to the model beside."""
        ask = aimed.ask if base is None else self._intake.ask_of(aimed, base.request)
        told = progress.admitted.admit.hold_input_tokens - progress.ask.input_tokens
        return ask, replace(ask, input_tokens=ask.input_tokens + max(0, told))

    async def hold(self, progress: Progress, aimed: Call, base: Base | None) -> bool:
        """Holds what the next attempt may come to; False where there is no room for it."""
        ask, whole = self._asks(progress, aimed, base)
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


def tried_of(progress: Progress) -> Tried:
    if progress.tried is None:
        progress.tried = Tried()
    return progress.tried
