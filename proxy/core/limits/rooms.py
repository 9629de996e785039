"""A room: what is left of something that a call takes a variable amount of (money, tokens).

A gate says yes or no; a room says how much. The smallest room bounds the call's output.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from proxy.core.limits.base import Breach
from proxy.core.session import SessionKey

SESSION = "session"
Place = SessionKey | str
"""Whose room it is: SESSION for that of the session that asks, the key of one above it, or the id
of a shared account."""


class Room(msgspec.Struct, frozen=True):
    """What is left, in `unit` (may be negative), and what to say when it is too little.

    breach: takes the amount that the call needs at the least, in the same unit. held: what calls
    in flight hold of it; some of that may come back. per_call: the room is for one call alone, so
    what the call holds already counts in it when it wants more.
    """

    left: int
    unit: Literal["micro_usd", "tokens"]
    breach: Callable[[int], Breach]
    held: int = 0
    place: Place = SESSION
    per_call: bool = False
