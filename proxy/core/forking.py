"""The first events of a session that goes on from a step of another: what it inherits of its log.

Inherited are the recorded requests and answers, attempts that failed too (the body of a later one
may be told by theirs), and what is known of guarded tool calls: what the one session has done must
not be done again by the other.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.core import events as ev
from proxy.core.marks import DIGEST_BYTES, NOTHING_KEPT
from proxy.core.steps import Logged, RecordedStep, counted, steps_of

_ToolFact = ev.CallsHanded | ev.CallsWithheld | ev.ResponseRenamed


class Chained(Logged, Protocol):
    """One event of a log with the chain's HMAC at it."""

    @property
    def chain(self) -> bytes: ...


class Fork(msgspec.Struct, frozen=True):
    """events: of the new session. calls: whose contents go with it. missing: steps whose answers
    were not kept; the new session asks for them anew."""

    events: tuple[ev.AnyEvent, ...]
    calls: tuple[str, ...]
    missing: tuple[int, ...]


def fork_of(
    log: Sequence[Chained], origin: str, step: int, agent: str | None, now: float
) -> Fork | None:
    """What a session begins with that goes on from this step. origin, agent: of the one that it is
    forked from. None where that has no such step."""
    steps = steps_of(log)
    last = counted(steps, step)
    if last is None:
        return None
    kept = {one.call_id: one for one in steps if one.step <= step}
    later = (one.reserved_seq for one in steps if one.step > step)
    end = min((seq for seq in later if seq > last.reserved_seq), default=math.inf)
    at = max(last.settled_seq, last.reserved_seq)
    chain = next((one.chain for one in log if one.seq == at), b"")
    events = (
        ev.SessionOpened(at=now, agent=agent, source="fork"),
        ev.SessionForked(at=now, origin=origin, step=step, chain=chain),
        *_inherited(log[_generation(log) :], kept, end),
        ev.ReplayAllowed(at=now),
    )
    return Fork(events, tuple(kept), tuple(_missing(steps, step)))


def is_kept(mark: bytes) -> bool:
    """Whether there is a content to this mark."""
    return len(mark) >= DIGEST_BYTES and mark[:DIGEST_BYTES] != NOTHING_KEPT


def _missing(steps: Collection[RecordedStep], upto: int) -> Iterator[int]:
    for number in sorted({one.step for one in steps if one.step <= upto}):
        one = counted(steps, number)
        if one is None or not (is_kept(one.content) and one.is_answered and is_kept(one.answer)):
            yield number


def _generation(log: Sequence[Chained]) -> int:
    """Where the newest generation begins: what was known of tool calls before it is forgotten."""
    begins, newest = 0, 0
    for at, one in enumerate(log):
        match one.event:
            case ev.SessionDeleted():
                begins, newest = at + 1, 0
            case ev.SessionOpened(generation=number) if number != newest:
                begins, newest = at, number
            case _:
                pass
    return begins


def _inherited(
    log: Sequence[Chained], kept: Mapping[str, RecordedStep], end: float
) -> Iterator[ev.AnyEvent]:
    """In the order of the log. end: where the first event is that came after the step. What a call
    came to that was handed out before is known, however late it was told."""
    handed: set[bytes] = set()
    for one in log:
        event = one.event
        match event:
            case ev.StepReserved() | ev.StepInherited():
                step = kept.get(event.call_id)
                if step is not None and step.reserved_seq == one.seq:
                    yield _as_inherited(step)
            case ev.CallsHanded() | ev.CallsWithheld() | ev.ResponseRenamed() if one.seq < end:
                handed.update(_digests(event))
                yield event
            case ev.ResultRecorded() if event.call in handed:
                yield event
            case _:
                pass


def _digests(event: _ToolFact) -> Iterator[bytes]:
    if isinstance(event, ev.CallsHanded):
        for call in event.calls:
            yield call.digest


def _as_inherited(step: RecordedStep) -> ev.StepInherited:
    return ev.StepInherited(
        at=step.at,
        step=step.step,
        call_id=step.call_id,
        dialect=step.dialect,
        model=step.model,
        body_digest=step.body_digest,
        chain=step.chain,
        stream=step.stream,
        content=step.content,
        answer=step.answer if step.is_answered else b"",
    )
