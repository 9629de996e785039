"""One stream of a guarded call: read, filtered, its calls judged as they become whole."""

import asyncio

from proxy.attempting.opened import Begun
from proxy.attempting.reading import UNSTARTED_BYTES
from proxy.core.dialects.base import HoldBack, Meter
from proxy.core.tools.verdict import Judged
from proxy.core.usage import ToolCall
from proxy.errors import StoreUnavailable, UpstreamUnavailable
from proxy.failures import malformed, truncated
from proxy.guard.attempts import GuardParts
from proxy.guard.shown import Shown, ShownMeter
from proxy.guard.verdicts import KEPT_BYTES, Verdicts
from proxy.progress import Progress
from proxy.pump import Pump
from proxy.wire import Answering


class GuardedPump(Pump):
    """One attempt's stream. asks, refused: nothing more of it is shown, for a human decides on one
    of its calls, or the policy does not have one."""

    def __init__(
        self, parts: GuardParts, shown: Shown, exchange: Answering, progress: Progress,
        begun: Begun, meter: ShownMeter,
    ) -> None:  # fmt: skip
        super().__init__(exchange, progress, meter, begun)
        self._p = parts
        self._shown = shown
        self._guarded = meter
        self._raw = bytearray()
        self._held = b""
        tools = progress.call.rules.tools
        self._keeps = bool(tools.require_approval) or tools.on_duplicate == "ask"
        self.verdicts = Verdicts(parts.recall, parts.handoffs, parts.clock, progress)
        self.asks = False
        self.refused = False

    async def read(self) -> None:
        """Reads the stream to its end, or until it is refused; then, or cut short, it has metered
        all that had come. Raises UpstreamUnavailable where the provider breaks off."""
        try:
            await self._read()
        except (asyncio.CancelledError, StoreUnavailable):
            await self._count_arrived()
            raise
        if self.refused:
            await self._count_arrived()

    async def _read(self) -> None:
        meter, shown = self._meter, self._shown
        try:
            waits = not self._takes(self._begun.raw, self._begun.held)
            while waits or await self._begun.pass_on(self._take):
                waits = False
                await self._go_on()
                if meter.ended or self.refused:
                    return
        except UpstreamUnavailable:
            if not (self._exchange.started and (meter.ended or meter.failed)):
                raise
        self._pass(shown.hold.feed(meter.close()))
        self._pass(shown.hold.close())
        await self._judge()
        _check_end(meter, begun=self._progress.earlier is not None)

    async def rest(self) -> bytes:
        """What follows the provider's own end."""
        await self._trailing()
        return self._held

    def calls(self) -> list[Judged]:
        """All that the answer asked for, in its order: unguarded calls have passed unasked."""
        names = self._progress.call.rules.tools.names
        guarded = iter(self.verdicts.judged)
        judged: list[Judged] = []
        for call in self._guarded.raw.answer().tool_calls:
            verdict = next(guarded, None) if names(call.name) else None
            judged.append(verdict or Judged(call, "hand"))
        self.verdicts.judged = [*judged, *guarded]
        return self.verdicts.judged

    @property
    def kept(self) -> bytes:
        return bytes(self._raw)

    def _take(self, chunk: bytes) -> bool:
        return self._takes(chunk, self._meter.feed(chunk))

    def _takes(self, chunk: bytes, came: bytes) -> bool:
        """What came, as it is and as it goes on."""
        meter, shown = self._meter, self._shown
        if self._keeps and len(self._raw) <= KEPT_BYTES:
            self._raw += chunk
        self._pass(shown.hold.feed(came))
        if meter.failed is not None:
            self._begun.told = chunk
        counted = meter.output_tokens_counted
        self._largest = max(self._largest, counted - self._counted)
        self._counted = counted
        if meter.ended or shown.hold.complete or shown.hold.unreadable:
            return False
        if not self._exchange.started and self._may_begin():
            return False
        return shown.flush() and not self._needs_more()

    def _may_begin(self) -> bool:
        """Whether there is something to show; or so much of what is nothing that it must not be
        kept."""
        shown = self._shown
        too_much = len(shown.pending) > UNSTARTED_BYTES
        return shown.meter.committed or self._meter.failed is not None or too_much

    def _pass(self, passed: bytes) -> None:
        if not (self.asks or self.refused or self._shown.hold.unreadable):
            self._shown.show(passed)

    async def _go_on(self) -> None:
        """What `take` could not do by itself."""
        await self._judge()
        shown, meter = self._shown, self._meter
        if self.refused or meter.ended:
            return
        if self._may_begin():
            if not self._exchange.started:
                await self.begin()
            shown.flush()
            await self._drained()
        if self._needs_more():
            await self._extend_or_cut(self._p.settler)

    async def begin(self) -> None:
        await self._shown.start(self._begun)

    async def _judge(self) -> None:
        """The calls that are whole now, one after another: a verdict may let the next be seen."""
        hold = self._shown.hold
        while hold.complete and not self.refused:
            call = hold.complete[0]
            _check_held(hold, call)
            judged = await self.verdicts.judge_next(call, hands=not self.asks)
            match judged.fate:
                case "hand":
                    self._pass(hold.release(call.call_id))
                case "deny" | "reject":
                    self.refused = True
                case "ask":
                    self.asks = True
                    hold.drop(call.call_id)
                case "give" | "double":
                    self._pass(hold.drop(call.call_id))
        _check_held(hold)


def _check_held(hold: HoldBack, call: ToolCall | None = None) -> None:
    """Raises UpstreamUnavailable for what came and cannot be judged."""
    if hold.unreadable:
        raise malformed("a part of a tool call cannot be read")
    if call is not None and call.call_id in hold.too_long:
        raise malformed(f"the arguments of a call of {call.name[:64]!r} are too long")


def _check_end(meter: Meter, *, begun: bool) -> None:
    """Raises UpstreamUnavailable for a stream that stopped before it came to its end. begun: it
    only goes on with an answer."""
    if meter.ended or meter.finish_seen or meter.failed:
        return
    if not (meter.committed or begun):
        raise malformed("an unreadable stream" if meter.malformed else "an empty stream")
    raise truncated()
