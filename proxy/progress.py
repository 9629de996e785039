"""How far a call has come, and its settlement: exactly once, whatever cancels it."""

from dataclasses import dataclass

from msgspec.structs import replace

from proxy import bill
from proxy.calls import LiveCall
from proxy.core.ask import Ask
from proxy.core.decision import DecisionName, Granted, Refusal, Wanted
from proxy.core.dialects.base import Meter
from proxy.core.events import AnyEvent, Outcome
from proxy.core.limits.rooms import Place
from proxy.core.session import EMPTY, SessionState
from proxy.core.usage import Answer, Usage
from proxy.identity import SessionIndex
from proxy.intake import Call
from proxy.ledger import Ledger
from proxy.prices.book import PriceBook
from proxy.reservation import Admitted, Settlement, most_output, place_of
from proxy.usual import UsualOutput

_COUNT_TOLERANCE = 3.0
_COUNT_SLACK = 16
"""How far the estimate may be above a bound that is kept: a common word is a token of 12 bytes."""
_ROOM_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Progress:
    """A call under way.

    sent: bytes may have reached the provider. outcome: how it broke off, None while it has not.
    shown: has read what the client is given of a stream, over all attempts.
    at_border: what the client has got so far ends with a whole event. end_forwarded: it has got the
    provider's own end. allowance: output tokens that are held for it. most: that its bound lets
    it produce. settled: what was booked. Times are monotonic.
    Where the provider is asked more than once: earlier: what the attempts before this one came to;
    all but `held_cost_micro_usd` and the times is of this one. facts: what is written with the
    settlement. unpaid: this attempt is an answer that was kept. replays: how often the model was
    told results in the place of the agent's. usage: what the provider says of an answer that was
    read whole, and on whose calls it is still decided.
    """

    call: Call
    admitted: Admitted
    live: LiveCall
    request_id: str
    sent: bool = False
    status: int = 0
    outcome: Outcome | None = None
    meter: Meter | None = None
    shown: Meter | None = None
    at_border: bool = True
    end_forwarded: bool = False
    allowance: int = 0
    most: int = 0
    held_cost_micro_usd: int = 0
    settled: Settlement | None = None
    refusal: Refusal | None = None
    forwarded_at: float | None = None
    first_byte_at: float | None = None
    state: SessionState = EMPTY
    earlier: Settlement | None = None
    facts: tuple[AnyEvent, ...] = ()
    unpaid: bool = False
    replays: int = 0
    usage: Usage | None = None

    def __post_init__(self) -> None:
        self.state = self.admitted.state
        self.most = self.admitted.most
        self.allowance = self.admitted.admit.output_allowance
        self.held_cost_micro_usd = self.admitted.admit.hold_cost_micro_usd

    def leaves(self) -> None:
        """The first byte of the request is about to leave."""
        self.sent = True

    def again(self, came_to: Settlement, granted: Granted, ask: Ask) -> None:
        """This attempt came to that; another one begins, for which so much more is held."""
        admit, before = granted.admit, self.admitted
        assert admit is not None
        names = before.admit.names
        admit = replace(admit, step=before.admit.step, names=names, warnings=before.admit.warnings)
        self.admitted = replace(before, admit=admit, most=most_output(ask, admit))
        self.earlier = came_to if self.earlier is None else bill.together(self.earlier, came_to)
        self.most, self.allowance = self.admitted.most, admit.output_allowance
        self.held_cost_micro_usd += granted.cost_micro_usd
        self.sent, self.unpaid, self.status, self.meter = False, False, 0, None
        self.usage = None
        self.replays += 1

    def did(self, name: DecisionName) -> None:
        """What was decided on its way, for headers, log and metrics."""
        admit = self.admitted.admit
        if name not in admit.names:
            self.admitted = replace(self.admitted, admit=replace(admit, names=(*admit.names, name)))

    def broke(self, outcome: Outcome) -> None:
        """The call ended before its answer did."""
        self.outcome = outcome

    @property
    def may_keep_its_bound(self) -> bool:
        """Whether the provider was given a bound that what was counted leaves possible."""
        admit = self.admitted.admit
        bounds = (self.call.request.output_bound, admit.output_bound)
        if self.meter is None or bounds == (None, None):
            return False
        most = self.most * _COUNT_TOLERANCE + _COUNT_SLACK
        return self.meter.output_tokens_counted <= most

    @property
    def output_tokens_passed(self) -> int:
        """What a stream has come to: the estimate, but of one that may keep its bound not more than
        that, unless more has passed for certain. It keeps it by its own exact count, and must
        neither be cut for ours nor be booked past it."""
        if self.meter is None:
            return 0
        counted = self.meter.output_tokens_counted
        if not self.may_keep_its_bound:
            return counted
        return max(self.meter.output_tokens_least, min(counted, self.most))

    @property
    def overspend_micro_usd(self) -> int:
        """What was billed past the hold."""
        if self.settled is None:
            return 0
        return max(0, self.settled.cost_micro_usd - self.held_cost_micro_usd)


class Settler:
    """Books calls. Writes finish even when the call's own task is cancelled meanwhile."""

    def __init__(
        self, ledger: Ledger, index: SessionIndex, prices: PriceBook, usual: UsualOutput
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._prices = prices
        self._usual = usual

    async def settle_answer(
        self,
        progress: Progress,
        usage: Usage | None,
        answer: Answer,
        outcome: Outcome = "answered",
    ) -> None:
        """Books a whole answer: by the provider's figures, else the whole hold."""
        what = self.reckon(progress, usage, answer)
        await self.settle(
            progress, what if outcome == "answered" else replace(what, outcome=outcome)
        )

    def reckon(self, progress: Progress, usage: Usage | None, answer: Answer) -> Settlement:
        """What a whole answer came to; learns from it."""
        call = progress.call
        links = self._links(call, answer)
        if progress.unpaid:
            return bill.unpaid(answer, links, bill.asked(call, "answered", answer))
        if usage is None:
            admit = progress.admitted.admit
            asked = bill.asked(call, "answered", answer)
            return bill.whole_hold(admit, "answered", progress.status, answer, links, asked)
        tenant, model = call.key.tenant, call.model
        if progress.earlier is None:  # else its input was another than this request's
            self._prices.observe(model, call.request, usage, tenant)
        output = -(-usage.output_tokens // call.ask.choices)
        self._usual.observe(tenant, model, call.caller.agent, output)
        return bill.complete(call, usage, answer, progress.status, links)

    async def settle_stream(
        self, progress: Progress, meter: Meter, outcome: Outcome = "answered"
    ) -> None:
        """Books a stream that came to its end: by the provider's figures, else by count."""
        if progress.unpaid or meter.usage is not None:
            await self.settle_answer(progress, meter.usage, meter.answer(), outcome)
        else:
            await self.settle(progress, self._counted(progress, meter, outcome))

    def reckon_stream(self, progress: Progress, meter: Meter) -> Settlement:
        """What a stream came to of which the caller is handed nothing."""
        if progress.unpaid or meter.usage is not None:
            return self.reckon(progress, meter.usage, bill.NO_ANSWER)
        return self._counted(progress, meter, "answered")

    async def settle_error(self, progress: Progress, status: int) -> None:
        """The provider refused: nothing is billed, and the client may send the same again."""
        call = progress.call
        self._index.remember_failure(
            call.key.tenant, call.identified, call.request, client_gone=False
        )
        await self.settle(progress, bill.failed(status))

    async def settle_broken(self, progress: Progress) -> None:
        """Books a call that broke off, or gives its hold back if nothing was sent."""
        if progress.settled is not None:
            return
        outcome = progress.outcome or "truncated"
        admit = progress.admitted.admit
        call = progress.call
        self._index.remember_failure(
            call.key.tenant, call.identified, call.request, client_gone=outcome == "client_left"
        )
        if progress.unpaid or (progress.earlier is not None and not progress.sent):
            await self.settle(progress, replace(bill.failed(progress.status), outcome=outcome))
        elif not progress.sent:
            await self._release(progress)
        elif progress.usage is not None:
            await self.settle(
                progress, bill.counted(call, admit, outcome, progress.usage, 0, bill.NO_ANSWER)
            )
        elif progress.meter is not None:
            await self.settle(progress, self._counted(progress, progress.meter, outcome))
        elif progress.call.request.stream and progress.status == 0:
            await self.settle(
                progress, bill.counted(progress.call, admit, outcome, None, 0, Answer())
            )
        else:
            await self.settle(progress, bill.whole_hold(admit, outcome, progress.status))

    async def settle(self, progress: Progress, what: Settlement) -> None:
        """Books `what`, once; later calls change nothing."""
        if progress.settled is not None:
            return
        if progress.earlier is not None:
            what = bill.together(progress.earlier, what)
        if progress.facts:
            what = replace(what, facts=progress.facts)
        progress.settled = what
        call = progress.call
        progress.state = await self._ledger.settle(call.key, call.call_id, what)

    async def _release(self, progress: Progress) -> None:
        progress.settled = bill.failed(0)
        call = progress.call
        reason = progress.outcome or "unsent"
        progress.state = await self._ledger.release(call.key, call.call_id, reason)

    async def extend(self, progress: Progress, wanted: Wanted) -> bool:
        """Holds more output tokens for a stream, as `wanted`; False where there is no room.

        Where others hold what is missing, the newest of them that may be cut is cut, this one if it
        is the newest: most answers end whole.
        """
        call_id, lines = progress.call.call_id, self._ledger.lines
        waiter = None
        try:
            while True:
                more = await self._ledger.extend(call_id, wanted)
                if isinstance(more, Granted):
                    progress.allowance += more.output_tokens
                    progress.held_cost_micro_usd += more.cost_micro_usd
                    return True
                if more.place is None or not self._make_room(call_id, more.place):
                    return False
                place = place_of(progress.call.key, more.place)
                waiter = waiter or lines.press(place)
                await lines.turn(waiter, _ROOM_SECONDS)
        finally:
            if waiter is not None:
                lines.leave(waiter)

    def _make_room(self, call_id: str, place: Place) -> bool:
        newest = self._ledger.calls.newest_at(call_id, place)
        if newest.cut is None or newest.want.call_id == call_id:
            return False
        newest.cut()
        return True

    def _counted(self, progress: Progress, meter: Meter, outcome: Outcome) -> Settlement:
        answer = meter.answer()
        is_final = meter.finish_seen and meter.usage is not None
        return bill.counted(
            progress.call,
            progress.admitted.admit,
            outcome,
            meter.usage,
            0 if is_final else progress.output_tokens_passed,
            answer,
            self._links(progress.call, answer),
        )

    def _links(self, call: Call, answer: Answer) -> tuple[bytes, ...]:
        if answer is bill.NO_ANSWER:
            return ()
        return self._index.remember_answer(call.key.tenant, call.identified, call.request, answer)
