"""What was done while the store was away, made fit for the log as it is now. Pure.

Whoever let calls through decided on what it knew: a session as it was when the store went, or
nothing. Others did the same. What happened is a fact all the same, and money is a sum, so it is
appended as it was, but for what the log knows better: whether the session had begun, and how many
steps it had come to. What is there already, because only its answer was lost, is not written again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.session import EMPTY, SessionKey, SessionState, apply, is_idle
from proxy.stores import UNBOUNDED, Append, Stored
from proxy.stores.codec import encode_event
from proxy.stores.heads import head_of


@dataclass(slots=True)
class Known:
    """What the log has of one session. token: of the append that it ends with, where it is ours.
    calls: all that it has a reservation of. facts: its other events, as they are written."""

    key: SessionKey
    state: SessionState = EMPTY
    token: bytes | None = None
    calls: set[str] = field(default_factory=set)
    facts: set[bytes] = field(default_factory=set)

    def add(self, events: Iterable[ev.AnyEvent]) -> None:
        for event in events:
            self.state = apply(self.state, event)
            if isinstance(event, ev.StepReserved):
                self.calls.add(event.call_id)
            else:
                self.facts.add(encode_event(event))


def known_of(key: SessionKey, log: Iterable[Stored]) -> Known:
    """From the whole log."""
    known, seq = Known(key), 0
    for stored in log:
        known.add((stored.event,))
        seq = stored.seq
    known.state = replace(known.state, seq=seq)
    return known


def is_written(append: Append, known: Known, *, tried: bool) -> bool:
    """Whether the log has it, or what it is about is over there: a call that was booked by others
    is not booked twice, nor is more held for it."""
    held = known.state.held
    for event in append.events:
        match event:
            case ev.StepReserved(call_id=call_id):
                return call_id in known.calls
            case ev.HoldExtended(call_id=call_id):
                return call_id not in held or encode_event(event) in known.facts
            case _:
                continue
    if append.closes:
        return not any(call_id in held for call_id in append.closes)
    if not append.events:
        return True
    return tried and encode_event(append.events[0]) in known.facts


def rebased(append: Append, known: Known, idle_seconds: float) -> Append:
    """The append as it follows on what is known, which then has it. Nothing is refused: it
    happened."""
    before, after_token = known.state, known.token
    events = []
    for event in append.events:
        fitting = _fitting(event, known.state, idle_seconds)
        if fitting is not None:
            events.append(fitting)
            known.add((fitting,))
    known.token = append.token or None
    return replace(
        append,
        events=tuple(events),
        expected_seq=before.seq,
        after=after_token,
        charges=tuple([replace(charge, maximum=UNBOUNDED) for charge in append.charges]),
        guards=(),
        head=head_of(known.state),
    )


def _fitting(event: ev.AnyEvent, state: SessionState, idle_seconds: float) -> ev.AnyEvent | None:
    match event:
        case ev.SessionOpened():
            if state.generation == 0 or event.generation > state.generation:
                return event
            idle = event.at - state.updated_at > idle_seconds
            if state.finished or (idle and not (state.held or state.paused or state.waits)):
                return replace(event, generation=state.generation + 1)
            return None  # begun from nothing, because nothing was known of it
        case ev.StepReserved():
            if event.retry or event.step > state.steps:
                return event
            return replace(event, step=state.steps + 1)
        case ev.SessionFinished():
            return event if is_idle(state, idle_seconds, event.at) else None  # others went on
        case _:
            return event
