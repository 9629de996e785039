"""What of a session can be given again, and what an agent that started again was given already.

Theory of operation. A call is known by what it sends, so no cursor is needed: an agent that starts
again and does the same sends the same. Only where one body was sent several times does it matter
which of its answers was given already. That is counted by *run*: one life of the agent. A run is
what followed the last `ReplayBegan`; calls that went to the provider since are of it, too, and so a
session whose agent always asks to resume is one run until its agent starts again.

When that is, nobody says. It shows in a call that was given all its answers: where it comes by a
connection that this run has not used, who sends it has not got them; and where it is one that the
session began with and the run has come further, the agent began anew. By a connection of the run it
is an agent that asks the same again: that is a new call.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from proxy.core import events as ev
from proxy.core.fingerprints import base_of
from proxy.core.steps import Logged, RecordedStep, StepLog

MOST_REPLAYS: Final = 4_096
"""So many events of replays are written before a session has to come further: an agent that starts
again for ever would make its log endless."""


class Record:
    """The part of a session's log that replays are decided on, as far as it was read. Its owner's.

    given: call ids that this run has had, of whatever body; skipped: those of them that it was not
    given, for what they asked for is done. diverged: histories (chains) that went another way in
    this run. claimed: tool calls (`effect_of`) whose executor asks before it acts; handed: guarded
    ones that went to the agent. since_live: events of replays since a call went to the provider.
    openings: generations that were begun.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.openings = 0
        self.since_live = 0
        self.given: set[str] = set()
        self.skipped: set[str] = set()
        self.diverged: set[bytes] = set()
        self.claimed: set[bytes] = set()
        self.handed: set[bytes] = set()
        self._generation = 0
        self._log = StepLog()
        self._asked: dict[bytes, list[str]] = {}
        self._settled: list[str] = []

    @property
    def steps(self) -> Sequence[RecordedStep]:
        """All attempts of the generation, in the order of their reservation."""
        return tuple(self._log.steps.values())

    @property
    def answered(self) -> Sequence[RecordedStep]:
        """Steps that their agent was given an answer to, in the order of their reservation."""
        return [step for step in self._log.steps.values() if step.is_answered]

    def answered_as(self, digest: bytes) -> Sequence[RecordedStep]:
        """Answered steps that sent this, by the digest of its body or by its chain."""
        return self._answered(dict.fromkeys(self._asked.get(digest, ())))

    def in_flight_as(self, body_digest: bytes) -> Sequence[RecordedStep]:
        """Steps that sent this body and were not answered yet."""
        found = [self._log.steps.get(one) for one in self._asked.get(body_digest, ())]
        return [
            step
            for step in found
            if step is not None and step.outcome is None and step.body_digest == body_digest
        ]

    def answered_since(self, count: int) -> Sequence[RecordedStep]:
        """Answered steps without the first so many that were answered, in the order of their
        reservation."""
        return sorted(self._answered(self._settled[count:]), key=_by_reservation)

    @property
    def answered_count(self) -> int:
        return len(self._settled)

    def left(self) -> Sequence[RecordedStep]:
        """Answered steps that this run was not given, in the order of their reservation."""
        left = [call_id for call_id in self._settled if call_id not in self.given]
        return sorted(self._answered(left), key=_by_reservation)

    def base_of(self, call_id: str) -> str:
        """The call that a body is likely told by; "" for none that is known."""
        step = self._log.steps.get(call_id)
        return "" if step is None else base_of(step.content)

    @property
    def is_empty(self) -> bool:
        return not self._log.steps

    def __len__(self) -> int:
        """Attempts of the generation."""
        return len(self._log.steps)

    def read(self, log: Iterable[Logged]) -> None:
        """Goes on with what follows in the log."""
        for logged in log:
            self._take(logged.event)
            self._log.take(logged.event, logged.seq)
            self._index(logged.event, logged.seq)
            self.seq = logged.seq

    def _index(self, event: ev.AnyEvent, seq: int) -> None:
        """What steps are found by: a session of thousands is not gone through for each call."""
        match event:
            case ev.SessionOpened() | ev.SessionDeleted():
                self._asked.clear()
                self._settled.clear()
            case ev.StepReserved() | ev.StepInherited():
                for digest in {event.body_digest, event.chain} - {b""}:
                    self._asked.setdefault(digest, []).append(event.call_id)
            case _:
                pass
        if isinstance(event, ev.StepInherited | ev.StepSettled):
            step = self._log.steps.get(event.call_id)
            if step is not None and step.is_answered and step.settled_seq == seq:
                self._settled.append(event.call_id)

    def _answered(self, call_ids: Iterable[str]) -> list[RecordedStep]:
        steps = [self._log.steps.get(call_id) for call_id in call_ids]
        return [step for step in steps if step is not None and step.is_answered]

    def _take(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.SessionOpened() | ev.SessionDeleted():
                self._opened(event)
            case ev.StepReserved():
                self.given.add(event.call_id)
                self.since_live = 0
            case ev.ReplayBegan() | ev.StepReplayed() | ev.ReplayDiverged():
                self.since_live += 1
                self._replayed(event)
            case ev.CallClaimed() | ev.ResultRecorded():
                if isinstance(event, ev.CallClaimed) or event.source == "claim":
                    self.claimed.add(event.call)
            case ev.CallsHanded():
                self.handed.update([call.digest for call in event.calls])
            case _:
                pass

    def _opened(self, event: ev.SessionOpened | ev.SessionDeleted) -> None:
        """What was claimed before the first call of a generation is of it."""
        self._begin()
        self.since_live = 0
        self.openings += 1
        generation = event.generation if isinstance(event, ev.SessionOpened) else 0
        if generation != self._generation:
            self._generation = generation
            self.claimed.clear()
            self.handed.clear()

    def _replayed(self, event: ev.ReplayBegan | ev.StepReplayed | ev.ReplayDiverged) -> None:
        match event:
            case ev.ReplayBegan():
                self._begin()
            case ev.ReplayDiverged():
                self.diverged.add(event.chain)
            case ev.StepReplayed():
                self.given.add(event.call_id)
                if event.how == "skipped":
                    self.skipped.add(event.call_id)

    def _begin(self) -> None:
        self.given.clear()
        self.skipped.clear()
        self.diverged.clear()


def _by_reservation(step: RecordedStep) -> int:
    return step.reserved_seq


class Pick(msgspec.Struct, frozen=True, gc=False):
    """The recorded step that a call is given. begins: it is the first of another run."""

    step: RecordedStep
    begins: bool


def pick(
    record: Record, fitting: Sequence[RecordedStep], *, begins: bool, same_process: bool
) -> Pick | None:
    """Of the answered steps that asked for the same, the one whose answer is due; None where all
    were given to who asks. begins: another run begins with this call, whatever it is. same_process:
    it came by a connection that this run has used."""
    if not fitting:
        return None
    if begins:
        return Pick(fitting[0], begins=True)
    for step in fitting:
        if step.call_id not in record.given:
            return Pick(step, begins=False)
    if same_process and not _starts_over(record, fitting):
        return None
    return Pick(fitting[0], begins=True)


def _starts_over(record: Record, fitting: Sequence[RecordedStep]) -> bool:
    """Whether the session began with this call, and the run has come further than that."""
    same = {step.call_id for step in fitting}
    further = any(
        step.call_id in record.given and step.call_id not in same for step in record.steps
    )
    return further and not same.isdisjoint(_openings(record))


def _openings(record: Record) -> set[str]:
    """The calls that the session began with: those made before any was answered."""
    first = min((step.settled_seq for step in record.answered), default=0)
    return {step.call_id for step in record.answered if step.reserved_seq <= first}
