"""Books calls: each exactly once, whatever cancels it."""

from msgspec.structs import replace

from proxy import bill
from proxy.core.contents import RecordedContent
from proxy.core.decision import Granted, Wanted
from proxy.core.dialects.base import Meter
from proxy.core.events import Outcome
from proxy.core.limits.rooms import Place
from proxy.core.usage import Answer, Usage
from proxy.identity import SessionIndex
from proxy.intake import Call
from proxy.ledger import Ledger
from proxy.prices.book import PriceBook
from proxy.progress import Progress
from proxy.recording import AnswerRecord, Recorder
from proxy.reservation import Settlement, place_of
from proxy.usual import UsualOutput

_ROOM_SECONDS = 1.0


class Settler:
    """Books calls. Writes finish even when the call's own task is cancelled meanwhile."""

    def __init__(
        self,
        ledger: Ledger,
        index: SessionIndex,
        prices: PriceBook,
        usual: UsualOutput,
        recorder: Recorder,
    ) -> None:
        self.recorder = recorder
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
        if not progress.replays:  # else its input was another than this request's
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
        call = progress.call
        self._index.remember_failure(
            call.key.tenant, call.identified, call.request, client_gone=outcome == "client_left"
        )
        if progress.unpaid or (progress.earlier is not None and not progress.sent):
            await self.settle(progress, replace(bill.failed(progress.status), outcome=outcome))
        elif not progress.sent:
            await self._release(progress)
        else:
            await self.settle(progress, self.reckon_broken(progress, outcome))

    def reckon_broken(
        self, progress: Progress, outcome: Outcome, answer: Answer | None = None
    ) -> Settlement:
        """What an attempt may have been billed that was sent and broke off. answer: what its client
        was given of it, where that is not all that came."""
        call, admit = progress.call, progress.admitted.admit
        if progress.usage is not None:
            return bill.counted(call, admit, outcome, progress.usage, 0, bill.NO_ANSWER)
        if progress.meter is not None:
            return self._counted(progress, progress.meter, outcome, answer)
        if call.request.stream and progress.status == 0:
            return bill.counted(call, admit, outcome, None, 0, Answer())
        return bill.whole_hold(admit, outcome, progress.status)

    async def settle(self, progress: Progress, what: Settlement) -> None:
        """Books `what`, once; later calls change nothing."""
        if progress.settled is not None:
            return
        if progress.earlier is not None:
            what = bill.together(progress.earlier, what)
        if progress.facts or progress.tried is not None:
            what = _with_facts(progress, what)
        progress.settled = what
        call, capture = progress.call, progress.capture
        taken: AnswerRecord | None = None
        if capture is not None:
            if what.outcome == "answered" and capture.is_there:
                taken = self.recorder.answer(call.call_id, capture, call.policy.checkpoints)
                what = replace(what, kept=RecordedContent(taken.digest, taken.content))
            capture.drop()
        progress.state = await self._ledger.settle(call.key, call.call_id, what)
        if taken is not None:
            self.recorder.windows.answered(call.call_id, taken.after)

    async def _release(self, progress: Progress) -> None:
        progress.settled = bill.failed(0)
        if progress.capture is not None:
            progress.capture.drop()
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
                    progress.held_tokens += more.output_tokens
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

    def _counted(
        self, progress: Progress, meter: Meter, outcome: Outcome, answer: Answer | None = None
    ) -> Settlement:
        answer = meter.answer() if answer is None else answer
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


def _with_facts(progress: Progress, what: Settlement) -> Settlement:
    """With what is written beside it."""
    tried, call = progress.tried, progress.call
    if tried is None:
        return replace(what, facts=progress.facts)
    moved = (call.upstream.name, call.model) if tried.moved else ("", "")
    facts = (*tried.failed, *progress.facts)
    return replace(what, facts=facts, upstream=moved[0], model=moved[1])
