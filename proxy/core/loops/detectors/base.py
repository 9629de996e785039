"""What a detector is: it looks at the newest rounds of a thread and counts."""

from typing import NamedTuple, Protocol

from proxy.core.loops.policy import Loops, Rungs


class Count(NamedTuple):
    """How often something was done again. period: rounds until it begins anew. is_new: whether the
    newest round made it that many; else it did so before."""

    times: int
    rungs: Rungs
    period: int = 1
    is_new: bool = True


class Detector(Protocol):
    """One detector. Only reads bytes; a healthy thread must cost it well under a microsecond.

    name: as in events and metrics; mostly its YAML key under `loops`. says: one sentence of what it
    found, for a model or a human; `core.loops.wording` says what its places are filled with.
    """

    name: str
    says: str

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        """What the newest rounds come to; None where it is off, or there is nothing to count.
        rounds: at least one."""
