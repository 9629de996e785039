"""What becomes of the calls of a guarded call's answers: judged, written down, told."""

from collections.abc import Sequence

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.changes import Given
from proxy.core.decision import LimitFacts, Refusal
from proxy.core.session import SessionState
from proxy.core.tools import wording
from proxy.core.tools.facts import SHOWN_CHARACTERS, Handed, HeldTool, Withheld, effect_of
from proxy.core.tools.verdict import Bench, Judged, Outcome, of_fate, outcome
from proxy.core.usage import ToolCall
from proxy.guard.recall import Recall
from proxy.guard.requests import refuse_denied
from proxy.handoff import Handoffs
from proxy.progress import Progress

KEPT_BYTES = 262_144
"""An answer that waits for a human is kept up to this size; a larger one is asked for again."""


class Verdicts:
    """Those on one answer."""

    def __init__(self, recall: Recall, handoffs: Handoffs, clock: Clock, progress: Progress):
        self._recall = recall
        self._handoffs = handoffs
        self._clock = clock
        self._progress = progress
        self._call = progress.call
        self._bench: Bench | None = None
        self.judged: list[Judged] = []

    async def judge(self, calls: Sequence[ToolCall]) -> Outcome:
        """All calls of an answer, on what is known now. Those that pass by a human's word are
        written down as handed out, where the answer is given: of several that come to it at once,
        here and in other processes, one has it."""
        while True:
            self.judged = []
            bench = await self._on_what_is_known()
            self.judged = [bench.judge(call) for call in calls]
            came = outcome(self.judged)
            if came not in ("pass", "withhold") or await self._take(_approved(self.judged)):
                return came
            self._bench = None

    async def judge_next(self, call: ToolCall, *, hands: bool) -> Judged:
        """The next call of a stream. hands: the agent is given it if it may have it; that is
        written down before it is: it may act at once, and nothing may be forgotten of that."""
        while True:
            bench = await self._on_what_is_known()
            judged = bench.judge(call)
            if judged.fate != "hand" or not hands or await self._hand(judged):
                self.judged.append(judged)
                return judged
            bench.anew(judged)

    async def given(self) -> list[Given]:
        """What the model is told of calls that all are not handed out."""
        known = await self._recall.known(self._call, self._progress.admitted)
        return [await self._recall.given(known, one.call, one) for one in self.judged]

    def handed(self) -> tuple[ev.AnyEvent, ...]:
        """The facts of an answer that is given whole."""
        new = [one for one in of_fate(self.judged, "hand") if one.digest and not one.approved]
        calls = tuple([_handed(one) for one in new])
        handed = ev.CallsHanded(at=self._clock.now(), calls=calls)
        return (handed, *self.withheld()) if calls else self.withheld()

    def withheld(self) -> tuple[ev.AnyEvent, ...]:
        """What the model is told of later, beside the results of the calls that were handed."""
        calls = self._withheld()
        if not (calls and calls[0].beside):
            return ()
        return (ev.CallsWithheld(at=self._clock.now(), calls=calls),)

    def held(self, body: bytes, *, stream: bool) -> tuple[ev.AnyEvent, ...]:
        """The facts of an answer that waits for a human."""
        waiting = of_fate(self.judged, "ask")
        facts: list[ev.AnyEvent] = [self._put_before_a_human(one) for one in waiting]
        if len(body) <= KEPT_BYTES:
            kept = ev.AnswerKept(
                at=self._clock.now(),
                body_digest=self._call.request.body_digest,
                stream=stream,
                body=body,
                waits_for=tuple([one.digest for one in waiting]),
            )
            facts.append(kept)
        return tuple(facts)

    def refusal(self) -> Refusal:
        """Of an answer that asks for what it may not."""
        for denied in of_fate(self.judged, "deny"):
            return refuse_denied(denied.call.name)
        (rejected, *_) = of_fate(self.judged, "reject")
        return self._duplicate(wording.duplicate(rejected.call.name, self._call.key.session))

    def too_many(self) -> Refusal:
        """The model does not take the results that it is given."""
        most, session = self._call.rules.tools.max_replays, self._call.key.session
        tool = self.judged[0].call.name
        return self._duplicate(wording.too_many_replays(tool, session, most))

    def one_id(self) -> Refusal | None:
        """Where a call can't be withheld: one that is handed out has the same id."""
        ids = {one.call.call_id for one in of_fate(self.judged, "hand")}
        for one in of_fate(self.judged, "give", "double"):
            if one.call.call_id in ids:
                tool, session = one.call.name, self._call.key.session
                return self._duplicate(wording.duplicate(tool, session))
        return None

    async def _on_what_is_known(self) -> Bench:
        known = await self._recall.known(self._call, self._progress.admitted)
        if self._bench is None:
            self._bench = Bench(self._call.rules.tools, known.own, known.effects)
        self._bench.know(known.own, known.effects)
        return self._bench

    async def _hand(self, judged: Judged) -> bool:
        """False where the human's word that it passes by was used meanwhile."""
        if judged.approved:
            return await self._take((judged,))
        fact = ev.CallsHanded(at=self._clock.now(), calls=(_handed(judged),))
        await self._recall.record(self._call.key, fact)
        return True

    async def _take(self, approved: Sequence[Judged]) -> bool:
        """Uses a human's word for each of these calls, or for none of them: False where one is
        used already."""
        calls, taken = tuple([_handed(one) for one in approved]), True

        def decide(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
            nonlocal taken
            taken = all(state.tools.approved.get(one.digest) for one in calls)
            return (ev.CallsHanded(at=now, calls=calls),) if taken and calls else ()

        if calls:
            await self._recall.attempt(self._call.key, decide)
        return taken

    def _duplicate(self, message: str) -> Refusal:
        facts = LimitFacts(session=self._call.key.session, limit="tools.side_effects")
        status = self._call.rules.refusal_status
        return Refusal(status, "duplicate_side_effect", "session_limit", message, facts)

    def _withheld(self) -> tuple[Withheld, ...]:
        handed = of_fate(self.judged, "hand")
        if not handed:
            return ()
        last = handed[-1].call
        beside, made = last.call_id, effect_of(last.name, last.arguments)
        calls = [(one.call, one.digest) for one in of_fate(self.judged, "give", "double")]
        return tuple(
            [
                Withheld(call.call_id, call.name, call.arguments, digest, beside, made)
                for call, digest in calls
            ]
        )

    def _put_before_a_human(self, one: Judged) -> ev.HandedOff:
        call = one.call
        shown = call.arguments[:SHOWN_CHARACTERS]
        held = HeldTool(call.call_id, wording.shown(call.name), one.digest, shown)
        why = wording.needs_approval(call.name, again=one.seq > 0)
        code = "duplicate_side_effect" if one.seq else "approval_required"
        return self._handoffs.hold(self._call, held, code, why)


def _approved(judged: Sequence[Judged]) -> Sequence[Judged]:
    return [one for one in judged if one.approved]


def _handed(one: Judged) -> Handed:
    return Handed(one.call.call_id, one.call.name, one.digest)
