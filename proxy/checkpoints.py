"""What a session may be gone on with: the exact request of a step, its answer, what is owed, what
is held. And what two steps differ in."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from proxy.contents import Contents
from proxy.control import Control
from proxy.copies import Copies, UnknownStep
from proxy.core import events as ev
from proxy.core.contents import RecordedAnswer
from proxy.core.continuation import Continuation, continuation_of
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.differing import Difference, Sent, difference
from proxy.core.request import DialectName
from proxy.core.session import SessionKey, SessionState, fold
from proxy.core.steps import RecordedStep, counted, steps_of
from proxy.core.tools.facts import effect_of
from proxy.core.usage import ToolCall
from proxy.decoding import decoded
from proxy.errors import ContentMissing, MalformedRequest
from proxy.intake import dialect_bounds
from proxy.stores import Store, Stored

_MOST_ANSWER_BYTES = 256 * 1024 * 1024


class Owed(msgspec.Struct, frozen=True):
    """A tool call that the next request has to bring the result of. result: what it came to, where
    the session knows that already (of guarded tools)."""

    call: ToolCall
    result: ev.ResultRecorded | None = None


class Checkpoint(msgspec.Struct, frozen=True):
    """state: of the session right after the step. attempts: of this step, the one that counts among
    them. answer: None where there is none, or it was not kept (`unkept` says why). continuation:
    None for a dialect without conversations, or where the answer cannot be gone on with (also
    `unkept`)."""

    step: RecordedStep
    last: int
    attempts: tuple[RecordedStep, ...]
    state: SessionState
    body: bytes
    answer: RecordedAnswer | None
    continuation: Continuation | None
    owed: tuple[Owed, ...]
    unkept: str = ""


class CheckpointReader:
    """Shared by the admin API's handlers. bounds: that bodies are held to now.

    Raises UnknownStep, ContentMissing, StoreUnavailable."""

    def __init__(self, store: Store, contents: Contents, bounds: Callable[[], Bounds]) -> None:
        self._store = store
        self._contents = contents
        self._bounds = bounds

    async def show(self, key: SessionKey, number: int | None) -> Checkpoint:
        """A step's; None: of the last one, which may still be in flight."""
        log = await self._store.read(key)
        steps = steps_of(log)
        step = _step(key, steps, number)
        body = await self._contents.body_of(key, step)
        answer, why = await self._answer(key, step)
        made = _Making(log, steps, step, body, answer, self._bounds())
        return await asyncio.to_thread(made.checkpoint, why)

    async def body(self, key: SessionKey, number: int | None) -> tuple[RecordedStep, bytes]:
        """The request of a step alone, byte for byte."""
        step = _step(key, steps_of(await self._store.read(key)), number)
        return step, await self._contents.body_of(key, step)

    async def difference(self, key: SessionKey, before: int, after: int) -> Difference:
        """From the request of one step to that of another. Also raises MalformedRequest."""
        steps = steps_of(await self._store.read(key))
        one, other = _step(key, steps, before), _step(key, steps, after)
        bodies = await self._contents.bodies_of(key, (one, other))
        sent = [Sent(dialect_of(each), bodies[each.call_id]) for each in (one, other)]
        return await asyncio.to_thread(difference, *sent)

    async def _answer(
        self, key: SessionKey, step: RecordedStep
    ) -> tuple[RecordedAnswer | None, str]:
        """And why there is none."""
        if step.outcome is None:
            return None, "the call is in flight: its request is to be sent again"
        if not step.is_answered:
            said = f"the call was not answered ({step.outcome}, {step.status}): its request is to "
            return None, said + "be sent again"
        try:
            return await self._contents.answer_of(key, step), ""
        except ContentMissing as error:
            return None, f"{error.message}; its request can be sent again, and is then paid again"


class Records(NamedTuple):
    """What the admin API does with the record of sessions."""

    copies: Copies
    checkpoints: CheckpointReader


def build_records(control: Control, contents: Contents, secret: bytes) -> Records:
    """secret: the ledger's chain key."""
    return Records(
        Copies(control, contents, secret),
        CheckpointReader(control.store, contents, lambda: dialect_bounds(control.policy.current)),
    )


def dialect_of(step: RecordedStep) -> DialectName:
    """Raises ContentMissing for one that only another version knows."""
    for name in DIALECTS:
        if name == step.dialect:
            return name
    raise ContentMissing(f"step {step.step} is of a dialect that is not known here")


def _step(key: SessionKey, steps: Sequence[RecordedStep], number: int | None) -> RecordedStep:
    last = max([one.step for one in steps], default=0)
    step = counted(steps, last if number is None else number)
    if step is None:
        raise UnknownStep(key.session, number, last)
    return step


class _Making(NamedTuple):
    """What a checkpoint is made of."""

    log: Sequence[Stored]
    steps: Sequence[RecordedStep]
    step: RecordedStep
    body: bytes
    answer: RecordedAnswer | None
    bounds: Bounds

    def checkpoint(self, why: str) -> Checkpoint:
        """Takes a processor up to some 100 ms a megabyte. why: there is no answer."""
        step, answer = self.step, self.answer
        continuation, unkept = None, why
        try:
            if answer is not None:
                answer = replace(answer, body=_in_clear(answer))
            continuation = self._continuation(answer)
        except MalformedRequest as error:
            unkept = f"the answer cannot be gone on with: {error}"
        end = max(step.reserved_seq, step.settled_seq)
        return Checkpoint(
            step=step,
            last=max(one.step for one in self.steps),
            attempts=tuple([one for one in self.steps if one.step == step.step]),
            state=fold([one.event for one in self.log if one.seq <= end]),
            body=self.body,
            answer=answer,
            continuation=continuation,
            owed=() if continuation is None else self._owed(continuation.owed),
            unkept=unkept,
        )

    def _continuation(self, answer: RecordedAnswer | None) -> Continuation | None:
        said = None if answer is None else answer.body
        stream = answer is not None and answer.stream
        name = dialect_of(self.step)
        return continuation_of(name, self.body, said, stream=stream, bounds=self.bounds)

    def _owed(self, calls: Sequence[ToolCall]) -> tuple[Owed, ...]:
        """With what is known of them: of several results the first holds."""
        known: dict[bytes, ev.ResultRecorded] = {}
        for one in self.log:
            if isinstance(one.event, ev.ResultRecorded):
                known.setdefault(one.event.call, one.event)
        if not known:
            return tuple([Owed(call) for call in calls])
        return tuple(
            [Owed(call, known.get(effect_of(call.name, call.arguments))) for call in calls]
        )


def _in_clear(answer: RecordedAnswer) -> bytes:
    """Raises MalformedRequest for an encoding that is not read here."""
    encoding = next((v for name, v in answer.headers if name.lower() == "content-encoding"), None)
    return decoded(answer.body, encoding, _MOST_ANSWER_BYTES)
