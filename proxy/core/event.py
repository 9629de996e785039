"""What every event has."""

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, omit_defaults=True, gc=False):
    """Base of all events. (No garbage collection: what refers to nothing newer makes no circle.)"""

    at: float
