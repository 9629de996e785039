"""What a resumed call is due: a recorded answer, or the provider's, and then why.

A recorded answer that asks for a guarded tool call (policy: `tools`) which was carried out is not
given again, or it would be carried out twice; unless its executor asks before it acts. The answer
to what came next is given in its place: it was made in the knowledge of the call's result.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from proxy.contents import Contents, Line
from proxy.core.contents import RecordedAnswer
from proxy.core.equivalence import asks_otherwise, differs
from proxy.core.fingerprints import is_kept
from proxy.core.globs import matches
from proxy.core.histories import beginnings
from proxy.core.recording import chain_of
from proxy.core.replaying import MOST_REPLAYS, Pick, Record, pick
from proxy.core.request import CONVERSATIONS, Request
from proxy.core.steps import RecordedStep
from proxy.core.tools.facts import effect_of
from proxy.core.tools.policy import Tools
from proxy.core.usage import ToolCall
from proxy.errors import ContentMissing
from proxy.guard.recall import Recall
from proxy.intake import Call
from proxy.replaying.reading import HistoryReading, calls_of, in_form, parsed
from proxy.replaying.sessions import ResumedSession
from proxy.tapes import Tape

How = Literal["exact", "messages"]

_MOST_COMPARED = 16
"""So many recorded calls of one history are compared with one that has it, too."""
_READ_AT_ONCE = 64
_OF_STEPS = 512
"""A session of more steps than that may be given its record as often as one of so many."""


class Asked(msgspec.Struct, frozen=True):
    """How a call came. begins: it is the first of another run, whatever it is. same_process: by a
    connection that this run has used. alone: all of those are closed."""

    begins: bool
    same_process: bool
    alone: bool

    @property
    def is_new(self) -> bool:
        """Whether who sends it may have been given nothing of the record."""
        return self.begins or not self.same_process


class Verdict(msgspec.Struct, frozen=True):
    """given: the answer of `step`, found by what `how` says; None: the call goes on, live.

    begins: it is the first of another run. skipped: steps whose answers are left out before it.
    tape: that `step` is in flight yet, for a client that has gone: its answer is given as it comes.
    why: it is live; diverged: for it is not what was recorded as that step."""

    begins: bool = False
    given: RecordedAnswer | None = None
    tape: Tape | None = None
    step: RecordedStep | None = None
    how: How = "exact"
    skipped: tuple[RecordedStep, ...] = ()
    why: str = ""
    diverged: int = 0


class _Live(Exception):
    """The call goes on, as the verdict says."""

    def __init__(self, why: str = "", diverged: int = 0) -> None:
        super().__init__(why)
        self.why, self.diverged = why, diverged


class Judge:
    """Shared by all calls."""

    def __init__(self, contents: Contents, recall: Recall) -> None:
        self._contents = contents
        self._recall = recall

    async def judge(self, call: Call, known: ResumedSession, asked: Asked) -> Verdict:
        """On what is known now. Writes nothing."""
        record, begins = known.record, asked.begins
        if record.is_empty:
            return Verdict()
        most = MOST_REPLAYS * (1 + len(record) // _OF_STEPS)
        if record.since_live >= most:
            return Verdict(why=f"its record was used {most} times without a new call")
        try:
            if not asked.is_new and _has_diverged(call.request, record):
                raise _Live("its history has diverged")
            due, how = await self._due(call, known, asked)
            begins = due.begins
            verdict = Verdict(begins=begins, step=due.step, how=how)
            return await self._answered(call, known, verdict)
        except ContentMissing as missing:
            return Verdict(begins=begins, why=str(missing))
        except _Live as live:
            begins = begins or bool(live.diverged and asked.is_new)
            return Verdict(begins=begins, why=live.why, diverged=live.diverged)

    async def _due(self, call: Call, known: ResumedSession, asked: Asked) -> tuple[Pick, How]:
        """The step whose answer is due. Raises _Live."""
        request, record = call.request, known.record
        dialect, digest = request.dialect, request.body_digest
        found = [step for step in record.answered_as(digest) if step.dialect == dialect]
        same: Sequence[RecordedStep]
        same = [step for step in found if step.body_digest == digest]
        how: How = "exact"
        if not same and dialect in CONVERSATIONS:
            how, same = "messages", await self._alike(call, known, asked)
        fitting = _as_asked(same, request)
        due = pick(record, fitting, begins=asked.begins, same_process=asked.same_process)
        if due is None:
            raise _Live
        return due, how

    async def _alike(
        self, call: Call, known: ResumedSession, asked: Asked
    ) -> Sequence[RecordedStep]:
        """Steps that asked for the same in other bytes. Raises _Live."""
        own, record, dialect = chain_of(call.request), known.record, call.request.dialect
        found = record.answered_as(own) if own else ()
        same = [step for step in found if step.dialect == dialect and step.chain == own]
        if same:
            due = [one for one in same if asked.is_new or one.call_id not in record.given] or same
            why = await self._compared(call, known, due)
            if alike := [step for step in due if why.get(step.call_id) == ""]:
                return alike
            if due is not same or asked.is_new:
                raise _Live(why[due[0].call_id], due[0].step)
            raise _Live
        said = record.answered if asked.is_new else record.left()
        left = [step for step in said if step.dialect == dialect]
        if not left:
            raise _Live  # all of the record was given: this is new
        await self._read_histories(call, known)
        own = known.steady.chain(call.request)
        if found := await self._steady(call, known, left, own):
            return found
        raise await self._elsewhere(call, known, left, asked, own)

    async def _compared(
        self, call: Call, known: ResumedSession, same: Sequence[RecordedStep]
    ) -> Mapping[str, str]:
        """What the request asks for otherwise than each of the first of them, by call id; "" for
        the same."""
        same = same[:_MOST_COMPARED]
        bodies = await self._contents.bodies_of(call.key, same, self._line(known))
        return {call_id: asks_otherwise(call.body, body) for call_id, body in bodies.items()}

    def _line(self, known: ResumedSession) -> Line:
        if known.line is None:
            known.line = Line(self._contents.reader(), known.record.base_of)
        return known.line

    async def _steady(
        self, call: Call, known: ResumedSession, left: Sequence[RecordedStep], own: bytes
    ) -> Sequence[RecordedStep]:
        """Steps whose history is the request's, but for what changes by itself, and for turns that
        this run was not given. An agent whose model speaks first has none at its beginning."""
        tree, skipped = known.histories, known.record.skipped
        of = set(tree.of(own)) if own else {step.call_id for step in left if not step.chain}
        if skipped:
            of |= {s.call_id for s in left if tree.is_shortened(s.call_id, skipped, own)}
        same = [step for step in left if step.call_id in of]
        why = await self._compared(call, known, same) if same else {}
        return [step for step in same if why.get(step.call_id) == ""]

    async def _elsewhere(
        self,
        call: Call,
        known: ResumedSession,
        left: Sequence[RecordedStep],
        asked: Asked,
        own: bytes,
    ) -> _Live:
        """Why there is no such step: the agent did something else where the record goes on, or has
        come to where the record ends."""
        record, tree = known.record, known.histories
        came_from = tree.before(own)
        if came_from:
            after = set(tree.after(came_from))
            missed = [step for step in left if step.call_id in after]
        else:
            begins = asked.begins or (asked.alone and not _goes_on(call.request))
            missed = list(left) if begins or not record.given else []
        if not missed:
            return _Live()
        body = await self._contents.body_of(call.key, missed[0])
        request = await parsed(call, missed[0].dialect, body)
        why = differs(call.body, call.request, body, request)
        return _Live(why or "another request", missed[0].step)

    async def _read_histories(self, call: Call, known: ResumedSession) -> None:
        """Those of the steps that were answered since they were read."""
        tree, new = known.histories, known.unread()
        if not new:
            return
        chains: dict[str, bytes] = {}
        kept = [step for step in new if is_kept(step.content) and step.dialect in CONVERSATIONS]
        reading = HistoryReading(call, known.steady)
        for at in range(0, len(kept), _READ_AT_ONCE):
            some, line = kept[at : at + _READ_AT_ONCE], self._line(known)
            chains |= await self._contents.made_of(call.key, some, line, reading.chain)
        for step in new:
            if step.call_id not in tree:
                tree.add(step.call_id, chains.get(step.call_id, b""))

    async def _answered(self, call: Call, known: ResumedSession, verdict: Verdict) -> Verdict:
        """With the answer; that of a later step where it would have done again what was done.
        Raises _Live and ContentMissing."""
        step, skipped = verdict.step, list[RecordedStep]()
        assert step is not None
        while True:
            given = await self._contents.answer_of(call.key, step, self._line(known))
            given = await in_form(given, step, call.request)
            guarded = await self._guarded(call, given)
            if (tool := _forbidden(call.rules.tools, guarded, known.record)) is not None:
                raise _Live(f"step {step.step} asks for {tool}, which was handed out more freely")
            if not await self._is_done(call, known.record, guarded):
                break
            skipped.append(step)
            step = await self._next(call, known, step)
        return replace(verdict, given=given, step=step, skipped=tuple(skipped))

    async def _guarded(self, call: Call, given: RecordedAnswer) -> Sequence[ToolCall]:
        """The calls of guarded tools that it asks for."""
        guards = call.rules.tools
        if not guards.globs:
            return ()
        return [one for one in await calls_of(call, given) if guards.names(one.name)]

    async def _is_done(self, call: Call, record: Record, guarded: Sequence[ToolCall]) -> bool:
        """Whether one of them was carried out, by who would do it again."""
        if not guarded:
            return False
        digests = {effect_of(one.name, one.arguments) for one in guarded} - record.claimed
        return any([digest in await self._effects(call) for digest in digests])

    async def _effects(self, call: Call) -> Mapping[bytes, int]:
        """Calls of which the result is known, by `effect_of`."""
        return (
            await self._recall.tools(await self._recall.home(call.key, call.rules.tools))
        ).effects

    async def _next(self, call: Call, known: ResumedSession, step: RecordedStep) -> RecordedStep:
        """The step that was answered after this one, in its history. Raises _Live."""
        await self._read_histories(call, known)
        after = set(known.histories.after(step.call_id))
        for one in known.record.answered:
            if one.call_id in after:
                return one
        raise _Live(f"step {step.step} asks for a tool call that was carried out")


def _goes_on(request: Request) -> bool:
    """Whether it names what it follows, which its provider keeps: no run begins with it."""
    return request.previous_response_id is not None or request.conversation_id is not None


def _has_diverged(request: Request, record: Record) -> bool:
    if not record.diverged:
        return False
    return not record.diverged.isdisjoint(beginnings(request.history.chain))


def _forbidden(tools: Tools, calls: Sequence[ToolCall], record: Record) -> str | None:
    """The tool of these calls that the policy in force keeps from the agent: it was handed out
    under another policy, and no human has approved it."""
    for one in calls:
        if matches(tools.deny, one.name):
            return one.name
        if matches(tools.require_approval, one.name):
            digest = effect_of(one.name, one.arguments)
            if digest not in record.handed:
                return one.name
    return None


def _as_asked(same: Sequence[RecordedStep], request: Request) -> Sequence[RecordedStep]:
    """Those whose answers are kept, and of these those that were streamed as this is to be; as far
    as there are any."""
    kept = [step for step in same if is_kept(step.answer)] or same
    return [step for step in kept if step.stream == request.stream] or kept
