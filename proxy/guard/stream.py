"""A guarded call's streamed answer: text and other calls flow, guarded calls wait for a verdict.

Theory of operation. What the provider sends is metered as it comes and then goes through a filter
(`HoldBack`) that lets everything pass but guarded calls. A call that is whole is judged between two
pieces: released, or dropped. At the provider's end the answer ends too, if anything is left for the
agent to do; else the model is told what its calls came to, and its next stream goes on where this
one stopped: the client sees one answer. While nothing passes, comments keep the connection alive.

The 200 waits for the first content that the client may see. So an answer that is nothing but a call
it may not have is refused by status; after that only by an error frame.
"""

import asyncio
from typing import Literal, assert_never

from proxy.answering import pass_failure_on
from proxy.attempting.opened import Begun, Refused, Whole
from proxy.bill import NO_ANSWER
from proxy.core import events as ev
from proxy.core.decision import Refusal
from proxy.core.tools.verdict import outcome
from proxy.errors import UpstreamUnavailable
from proxy.failures import malformed
from proxy.guard.attempts import Attempts, GuardParts
from proxy.guard.pump import GuardedPump
from proxy.guard.shown import Shown, ShownMeter
from proxy.handoff import awaiting
from proxy.progress import Progress
from proxy.pump import settle
from proxy.reservation import Settlement
from proxy.wire import Answering

Came = Refusal | Literal["done", "again"]


class GuardedStream:
    """All attempts of one call."""

    def __init__(
        self, parts: GuardParts, exchange: Answering, progress: Progress, attempts: Attempts
    ) -> None:
        self._p = parts
        self._exchange = exchange
        self._progress = progress
        self._attempts = attempts
        self._shown = Shown(exchange, progress)
        self._meter: ShownMeter
        self._first_id: str | None = None
        self._beating: asyncio.Task[None] | None = None

    async def carry(self, begun: Begun) -> Refusal | None:
        """To the end of the last attempt. Raises UpstreamUnavailable."""
        loop = asyncio.get_running_loop()
        self._beating = loop.create_task(self._shown.beat(self._p.clock))
        self._p.calls.streams += 1
        try:
            while True:
                self._shown.hears(begun)
                came = await self._one(begun)
                begun.close()
                if came == "again":
                    opened = await self._attempts.next()
                    if isinstance(opened, Begun):
                        begun = opened
                        continue
                    came = await self._ended(opened)
                return None if came == "done" else came
        finally:
            self._p.calls.streams -= 1
            begun.close()
            await self._quiet()

    async def _quiet(self) -> None:
        """From now on nothing is said but what the answer says."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def _ended(self, opened: Refused | Whole) -> Literal["done"]:
        """Another attempt has no stream for an answer."""
        progress = self._progress
        await self._quiet()  # or the answer is begun while the refusal is told
        match opened:
            case Whole():  # nobody has judged it, and it may be billed
                await self._p.settler.settle_answer(progress, None, NO_ANSWER, "truncated")
                raise malformed("an answer that is no stream")
            case Refused():
                if not self._exchange.started:
                    await pass_failure_on(self._exchange, progress, opened, self._p.settler)
                    return "done"
            case _:
                assert_never(opened)
        await self._p.settler.settle_error(progress, opened.status)
        said = f"The provider answered {opened.status} when it was to go on with its answer."
        raise UpstreamUnavailable(said, kind="truncated", code="upstream_truncated", status=502)

    async def _one(self, begun: Begun) -> Came:
        self._meter = self._shown.another(begun.meter)
        p, progress, meter = self._p, self._progress, self._meter
        pump = GuardedPump(p, self._shown, self._exchange, progress, begun, meter)
        await pump.read()
        if pump.refused:
            progress.broke("cut")
            await p.settler.settle_broken(progress)
            return pump.verdicts.refusal()
        if meter.failed:
            return await self._finish(pump)
        match outcome(pump.calls()):
            case "ask":
                progress.facts = pump.verdicts.held(pump.kept, stream=True)
                await p.settler.settle_stream(progress, meter, "held")
                return awaiting(progress.call, progress.state)
            case "follow":
                return await self._follow(pump)
            case "withhold":
                progress.did("dedupe")
        progress.facts = (*pump.verdicts.withheld(), *self._renamed())
        return await self._finish(pump)

    async def _finish(self, pump: GuardedPump) -> Came:
        """The end is shown once the call is settled."""
        exchange, shown, meter = self._exchange, self._shown, self._meter
        shown.show(shown.hold.end())
        await settle(self._progress, meter, self._p.settler)
        if not exchange.started:
            await pump.begin()
        shown.flush()
        self._progress.end_forwarded = meter.ended
        await exchange.drained()
        if meter.ended and (rest := await pump.rest()):
            await exchange.write(rest)
        await exchange.finish()
        return "done"

    async def _follow(self, pump: GuardedPump) -> Came:
        """Nothing is left for the agent to do: the model is told, and goes on."""
        progress, shown = self._progress, self._shown
        came_to = self._p.settler.reckon_stream(progress, self._meter)
        if progress.replays >= progress.call.rules.tools.max_replays:
            await self._settle_without(came_to)
            return pump.verdicts.too_many()
        self._first_id = self._first_id or self._id
        given = await pump.verdicts.given()
        refusal = await self._attempts.follow(shown.hold.turn(), given, came_to, self._id)
        if refusal is not None:
            await self._settle_without(came_to)
            return refusal
        shown.hold.splice()
        shown.quiet = True
        if shown.meter.committed:  # what was said so far need not wait for what follows
            progress.stays()
            await pump.begin()
            shown.flush()
        return "again"

    async def _settle_without(self, came_to: Settlement) -> None:
        """Booked, for the provider has answered; what was given of it so far is no answer, and must
        not be given again as one."""
        progress = self._progress
        if progress.capture is not None:
            progress.capture.drop()
        await self._p.settler.settle(progress, came_to)

    @property
    def _id(self) -> str | None:
        """The provider's, of the attempt at hand."""
        return self._meter.raw.answer().response_id

    def _renamed(self) -> tuple[ev.AnyEvent, ...]:
        """The agent may go on from the response that it saw the beginning of."""
        first, last = self._first_id, self._id
        if first is None or last is None or first == last:
            return ()
        if self._progress.call.request.dialect != "responses":
            return ()
        return (ev.ResponseRenamed(at=self._p.clock.now(), given=first, kept=last),)


async def carry_stream(
    parts: GuardParts,
    exchange: Answering,
    progress: Progress,
    attempts: Attempts,
    begun: Begun,
) -> Refusal | None:
    """One call whose answer streams, to its settlement. Raises UpstreamUnavailable."""
    return await GuardedStream(parts, exchange, progress, attempts).carry(begun)
