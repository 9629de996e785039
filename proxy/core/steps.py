"""The steps of a session as its log has them: what was asked, what came of it, what is kept of it.

Of the newest generation alone. An attempt that was given back (never sent) is no step.
"""

from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.usage import Usage


class Logged(Protocol):
    """One event as a log has it (`stores.Stored`)."""

    @property
    def seq(self) -> int: ...

    @property
    def event(self) -> ev.AnyEvent: ...


class RecordedStep(msgspec.Struct, frozen=True, gc=False):
    """One attempt of a step.

    step: its number; several attempts of one step have the same, and a fork goes on from the
    number that it was forked at. upstream, model: who was asked last. stream, body_digest, chain:
    of its request. content: its fingerprint; answer: the digest of what is kept of its answer; b""
    where nothing is. outcome: None while it is in flight. settled_seq, settled_at: 0 until then.
    tools: that its answer asks to be called, by name. inherited: of the session that this one was
    forked from; it counts and costs nothing here.
    """

    step: int
    call_id: str
    dialect: str
    model: str
    upstream: str
    stream: bool
    body_digest: bytes
    chain: bytes
    content: bytes
    reserved_seq: int
    at: float
    answer: bytes = b""
    outcome: ev.Outcome | None = None
    status: int = 0
    usage: Usage | None = None
    cost_micro_usd: int = 0
    tools: tuple[str, ...] = ()
    settled_seq: int = 0
    settled_at: float = 0.0
    inherited: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether its agent was given a whole answer of the provider's."""
        return self.outcome == "answered" and 200 <= self.status < 300


class StepLog:
    """The steps of a log as far as it was read, by their call ids; grows with it. Its owner's."""

    def __init__(self) -> None:
        self.steps: dict[str, RecordedStep] = {}
        self._forked_at = 0

    def take(self, event: ev.AnyEvent, seq: int) -> None:
        """What one more event says of them."""
        match event:
            case ev.SessionOpened() | ev.SessionDeleted():
                self.steps.clear()
                self._forked_at = 0
            case ev.SessionForked():
                self._forked_at = event.step
            case ev.StepInherited():
                self.steps[event.call_id] = _inherited(event, seq)
            case ev.StepReserved():
                number = self._forked_at + event.step
                self.steps[event.call_id] = _begun(event, seq, number, event.upstream)
            case ev.StepSettled() | ev.StepReleased():
                self._closed(event, seq)
            case _:
                pass

    def _closed(self, event: ev.StepSettled | ev.StepReleased, seq: int) -> None:
        step = self.steps.get(event.call_id)
        if step is None or step.outcome is not None:
            return
        if isinstance(event, ev.StepSettled):
            self.steps[event.call_id] = _settled(step, event, seq)
        else:
            del self.steps[event.call_id]


def steps_of(log: Iterable[Logged]) -> tuple[RecordedStep, ...]:
    """All attempts of the newest generation, in the order in which they were reserved."""
    read = StepLog()
    for logged in log:
        read.take(logged.event, logged.seq)
    return tuple(read.steps.values())


def counted(steps: Iterable[RecordedStep], n: int) -> RecordedStep | None:
    """The attempt that counts of the step of this number: the answered one, else the last. A
    session's own goes before one that it inherited."""
    best: RecordedStep | None = None
    for step in steps:
        if step.step == n and (best is None or _rank(step) >= _rank(best)):
            best = step
    return best


def _rank(step: RecordedStep) -> tuple[bool, bool]:
    return (not step.inherited, step.is_answered)


def _begun(
    event: ev.StepReserved | ev.StepInherited, seq: int, step: int, upstream: str = ""
) -> RecordedStep:
    return RecordedStep(
        step=step,
        call_id=event.call_id,
        dialect=event.dialect,
        model=event.model,
        upstream=upstream,
        stream=event.stream,
        body_digest=event.body_digest,
        chain=event.chain,
        content=event.content,
        reserved_seq=seq,
        at=event.at,
    )


def _settled(step: RecordedStep, event: ev.StepSettled, seq: int) -> RecordedStep:
    return replace(
        step,
        model=event.model or step.model,
        upstream=event.upstream or step.upstream,
        answer=event.content,
        outcome=event.outcome,
        status=event.status,
        usage=event.usage,
        cost_micro_usd=event.cost_micro_usd,
        tools=event.tools,
        settled_seq=seq,
        settled_at=event.at,
    )


def _inherited(event: ev.StepInherited, seq: int) -> RecordedStep:
    return replace(
        _begun(event, seq, event.step),
        answer=event.answer,
        outcome="answered" if event.answer else "failed",
        status=200 if event.answer else 0,
        settled_seq=seq,
        settled_at=event.at,
        inherited=True,
    )
