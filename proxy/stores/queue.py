"""Which sessions stand before a human, and which of their webhooks are owed: told by the events.

A writer's head says what its fold knows, which may lack what another process has just written. What
a human waits for must not be lost with it, so a store keeps this by itself, append by append.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from proxy.core import events as ev
from proxy.stores import LIVE, Queue, SessionHead

Names = tuple[str, ...]
OPEN, OWED = 1, 2
"""What `queued_bits` is made of."""


def queued_bits(head: SessionHead) -> int:
    """What a store finds the sessions by that are in a queue."""
    return OPEN * bool(head.waits or head.stands) + OWED * bool(head.owed)


def stands_in(queue: Queue, head: SessionHead) -> bool:
    """Whether a session is found there."""
    return bool(head.owed if queue == "owed" else head.waits or head.stands)


def queued(
    before: SessionHead | None, head: SessionHead, events: Sequence[ev.AnyEvent]
) -> SessionHead:
    """The head with what stands in the queue after the events."""
    waits: Names = before.waits if before is not None else ()
    stands: Names = before.stands if before is not None else ()
    owed: Names = before.owed if before is not None else ()
    for event in events:
        waits, stands, owed = _after(event, waits, stands, owed)
    state = "awaiting_human" if waits and head.state in LIVE else head.state
    return replace(head, state=state, waits=waits, stands=stands, owed=owed)


def _after(
    event: ev.AnyEvent, waits: Names, stands: Names, owed: Names
) -> tuple[Names, Names, Names]:
    match event:
        case ev.HandedOff(handoff=name):
            owed = (*owed, name) if event.notify else owed
            if event.blocking:
                return (*waits, name), stands, owed
            return waits, (*stands, name), owed
        case ev.HandoffAnswered(handoff=name):
            return _without(waits, name), _without(stands, name), owed
        case ev.WebhookDelivered(handoff=name):
            return waits, stands, _without(owed, name)
        case ev.StepReserved():
            return waits, (), owed
        case ev.SessionKilled() | ev.SessionFinished() | ev.SessionOpened():
            return (), (), owed
        case _:
            return waits, stands, owed


def _without(names: Names, name: str) -> Names:
    return tuple([one for one in names if one != name])
