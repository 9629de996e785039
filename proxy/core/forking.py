"""What a session inherits of another that it goes on from.

Inherited are the recorded requests and answers up to a step, attempts that failed too, and what is
known of guarded tool calls: what the one session has done must not be done again by the other. A
recorded body may be told by that of a call which is no step of these (it was never sent, or belongs
to a history beside): that goes along as a basis, which nothing is answered from.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from proxy.core import events as ev
from proxy.core.fingerprints import is_kept
from proxy.core.steps import Logged, RecordedStep, counted, steps_of


class Chained(Logged, Protocol):
    """One event of a log with the chain's HMAC at it."""

    @property
    def chain(self) -> bytes: ...


class Fork(msgspec.Struct, frozen=True):
    """What can be inherited. log: of the generation. steps: the attempts, by call id. end: the seq
    of the first event that came after the step. chain: the log's HMAC at the step. missing: steps
    whose answers were not kept; the new session asks for them anew."""

    log: Sequence[Chained]
    origin: str
    step: int
    steps: Mapping[str, RecordedStep]
    end: float
    chain: bytes
    missing: tuple[int, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The calls whose bodies were kept."""
        return tuple([one.call_id for one in self.steps.values() if is_kept(one.content)])

    def events(
        self,
        requests: Collection[str],
        answers: Collection[str],
        agent: str | None,
        now: float,
    ) -> tuple[ev.AnyEvent, ...]:
        """What the new session begins with. requests, answers: calls of which these contents go
        along. agent: of the session that it is forked from."""
        return (
            ev.SessionOpened(at=now, agent=agent, source="fork"),
            ev.SessionForked(at=now, origin=self.origin, step=self.step, chain=self.chain),
            *self._inherited(requests, answers),
            ev.ReplayAllowed(at=now),
        )

    def _inherited(
        self, requests: Collection[str], answers: Collection[str]
    ) -> Iterator[ev.AnyEvent]:
        """In the order of the log. What a call came to that was handed out before is known, however
        late it was told."""
        handed: set[bytes] = set()
        said = {
            one.event.call_id: one.event.content
            for one in self.log
            if isinstance(one.event, ev.StepSettled)
        }
        for one in self.log:
            event = one.event
            match event:
                case ev.StepReserved() | ev.StepInherited():
                    call_id = event.call_id
                    fingerprint = event.content if call_id in requests else b""
                    answer = event.answer if isinstance(event, ev.StepInherited) else b""
                    answer = said.get(call_id, answer) if call_id in answers else b""
                    yield from self._of_call(call_id, fingerprint, answer)
                case ev.CallsHanded() if one.seq < self.end:
                    handed.update([call.digest for call in event.calls])
                    yield event
                case ev.CallsWithheld() | ev.ResponseRenamed() if one.seq < self.end:
                    yield event
                case ev.ResultRecorded() if event.call in handed:
                    yield event
                case _:
                    pass

    def _of_call(
        self, call_id: str, fingerprint: bytes, answer: bytes
    ) -> Iterator[ev.StepInherited]:
        step = self.steps.get(call_id)
        if step is not None and (step.is_answered or not answer):
            yield ev.StepInherited(
                at=step.at,
                step=step.step,
                call_id=call_id,
                dialect=step.dialect,
                model=step.model,
                body_digest=step.body_digest,
                chain=step.chain,
                stream=step.stream,
                content=fingerprint,
                answer=answer,
            )
        elif fingerprint:
            yield ev.StepInherited(at=0.0, call_id=call_id, content=fingerprint, answer=answer)


def fork_of(log: Sequence[Chained], origin: str, step: int) -> Fork | None:
    """Of the session `origin`, which has this log, up to a step; None where it has no such step."""
    steps = steps_of(log)
    last = counted(steps, step)
    if last is None or step < 1:
        return None
    later = (one.reserved_seq for one in steps if one.step > step)
    at = max(last.settled_seq, last.reserved_seq)
    return Fork(
        log=log[_generation(log) :],
        origin=origin,
        step=step,
        steps={one.call_id: one for one in steps if 1 <= one.step <= step},
        end=min((seq for seq in later if seq > last.reserved_seq), default=math.inf),
        chain=next((one.chain for one in log if one.seq == at), b""),
        missing=tuple(_missing(steps, step)),
    )


def _missing(steps: Collection[RecordedStep], upto: int) -> Iterator[int]:
    for number in sorted({one.step for one in steps if 1 <= one.step <= upto}):
        one = counted(steps, number)
        if one is None or not (is_kept(one.content) and one.is_answered and is_kept(one.answer)):
            yield number


def _generation(log: Sequence[Chained]) -> int:
    """Where the newest generation begins: what was known of tool calls before it is forgotten."""
    begins, newest = 0, 0
    for at, one in enumerate(log):
        match one.event:
            case ev.SessionDeleted():
                newest = 0
            case ev.SessionOpened(generation=number) if number != newest:
                begins, newest = at, number
            case _:
                pass
    return begins
