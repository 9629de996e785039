"""Governed calls whose tools are guarded: what an answer asks for is judged before the agent sees
it, and where it is of no use to the agent the provider is asked again, in the same step.

Theory of operation. Each attempt has an answer: of the provider, or one that was kept for a human.
Its calls are judged. The answer passes, passes without some of its calls, is refused, is kept for a
human, or goes back to the model with the results of its calls: another attempt of the same call,
for which the ledger holds more before it is sent. All attempts together are settled once, and what
became of the calls is written with that settlement.
"""

from typing import Literal, assert_never

from proxy.answering import pass_failure_on, respond, take_down
from proxy.attempting.opened import Begun, Opened, Refused, Whole
from proxy.bill import NO_ANSWER
from proxy.core.decision import Refusal
from proxy.core.tools.verdict import of_fate
from proxy.guard.attempts import Attempts, GuardParts
from proxy.guard.stream import carry_stream
from proxy.guard.verdicts import Verdicts
from proxy.handoff import awaiting
from proxy.progress import Progress
from proxy.replies import dialect_of
from proxy.wire import Answering
from proxy.wire.headers import Kind

Came = Refusal | Literal["done", "again"]


class Guarded:
    """Carries such calls out. Shared by all."""

    def __init__(self, parts: GuardParts) -> None:
        self._p = parts

    async def carry(self, exchange: Answering, progress: Progress) -> Refusal | None:
        """One call, to its settlement. What is refused is for the caller to tell."""
        await self._p.recall.share(progress.call, progress.admitted)
        attempts = Attempts(self._p, progress)
        opened = await attempts.first()
        while True:
            try:
                came = await self._take(exchange, progress, attempts, opened)
            finally:
                opened.close()
            if came != "again":
                return None if came == "done" else came
            opened = await attempts.next()

    async def _take(
        self, exchange: Answering, progress: Progress, attempts: Attempts, opened: Opened
    ) -> Came:
        match opened:
            case Refused():
                await pass_failure_on(exchange, progress, opened, self._p.settler)
                return "done"
            case Begun():
                refusal = await carry_stream(self._p, exchange, progress, attempts, opened)
                return "done" if refusal is None else refusal
            case Whole():
                return await self._whole(exchange, progress, attempts, opened)
            case _:
                assert_never(opened)

    async def _whole(
        self, exchange: Answering, progress: Progress, attempts: Attempts, whole: Whole
    ) -> Came:
        read = whole.read
        progress.usage = read.usage  # it is to be paid for, whatever ends the call from here on
        verdicts = Verdicts(self._p.recall, self._p.handoffs, self._p.clock, progress)
        calls = read.answer.tool_calls
        match await verdicts.judge(calls) if calls else "pass":
            case "pass":
                progress.facts = verdicts.handed()
                await take_down(progress, whole, whole.body)
                await self._p.settler.settle_answer(progress, read.usage, read.answer)
                await respond(exchange, progress, whole, whole.body)
                return "done"
            case "withhold":
                return await self._without(exchange, progress, verdicts, whole)
            case "follow":
                return await self._follow(progress, attempts, verdicts, whole)
            case refused:
                return await self._not_given(progress, verdicts, refused, whole)

    async def _not_given(
        self,
        progress: Progress,
        verdicts: Verdicts,
        why: Literal["ask", "deny", "reject"],
        whole: Whole,
    ) -> Refusal:
        if why != "ask":
            return await self._refuse(progress, verdicts.refusal(), whole)
        progress.facts = verdicts.held(whole.plain, stream=False)
        await self._p.settler.settle_answer(progress, whole.read.usage, NO_ANSWER, "held")
        return awaiting(progress.call, progress.state)

    async def _without(
        self,
        exchange: Answering,
        progress: Progress,
        verdicts: Verdicts,
        whole: Whole,
    ) -> Came:
        """Some calls are handed out, and the others not; the model hears of them later."""
        if (refusal := verdicts.one_id()) is not None:
            return await self._refuse(progress, refusal, whole)
        dialect = dialect_of(progress.call.request.dialect)
        ids = {one.call.call_id for one in of_fate(verdicts.judged, "give", "double")}
        body = dialect.without_calls(whole.plain, ids)
        progress.did("dedupe")
        progress.facts = verdicts.handed()
        answer = dialect.read_answer(body).answer
        await take_down(progress, whole, body, Kind.CONTENT_ENCODING | Kind.LENGTH)
        await self._p.settler.settle_answer(progress, whole.read.usage, answer)
        await respond(exchange, progress, whole, body, Kind.CONTENT_ENCODING | Kind.LENGTH)
        return "done"

    async def _follow(
        self, progress: Progress, attempts: Attempts, verdicts: Verdicts, whole: Whole
    ) -> Came:
        """No call is handed out: the model is told what they came to, and goes on."""
        if progress.replays >= progress.call.rules.tools.max_replays:
            return await self._refuse(progress, verdicts.too_many(), whole)
        read = whole.read
        turn = dialect_of(progress.call.request.dialect).answer_turn(whole.plain)
        came_to = self._p.settler.reckon(progress, read.usage, NO_ANSWER)
        given, response_id = await verdicts.given(), read.answer.response_id
        refusal = await attempts.follow(turn, given, came_to, response_id)
        if refusal is None:
            return "again"
        await self._p.settler.settle(progress, came_to)
        return refusal

    async def _refuse(self, progress: Progress, refusal: Refusal, whole: Whole) -> Refusal:
        """Booked, for the provider has answered; but the agent gets nothing of it."""
        await self._p.settler.settle_answer(progress, whole.read.usage, NO_ANSWER)
        return refusal
