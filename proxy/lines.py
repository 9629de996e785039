"""Who waits for what others hold: a line for each place that is full.

A place is a session or a shared account whose room is taken by calls in flight. When one of them
ends, whoever extends a running stream is woken first, all of them; else the first in the line of
new calls, who wakes the next when it goes. Whoever is woken looks for itself whether there is room
now: nothing is promised here.
"""

import asyncio
from dataclasses import dataclass

from proxy.core.limits.rooms import Place

_LOOK_SECONDS = 0.25
"""Other processes free things too, and nobody tells: the head of a line looks this often."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One call in line. urgent: it runs already, and has to hold more."""

    place: Place
    urgent: bool
    wake: "asyncio.Future[None] | None" = None


class Lines:
    """All lines of a process."""

    def __init__(self) -> None:
        self._lines: dict[Place, list[Waiter]] = {}

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def join(self, place: Place, *, urgent: bool = False) -> Waiter:
        """Takes the last place in the line, of the urgent ones or of all."""
        waiter = Waiter(place, urgent)
        line = self._lines.setdefault(place, [])
        ahead = sum(other.urgent for other in line) if urgent else len(line)
        line.insert(ahead, waiter)
        return waiter

    def move(self, waiter: Waiter | None, place: Place) -> Waiter:
        """Takes the last place in this line, and gives up that in another."""
        if waiter is not None:
            self.leave(waiter)
        return self.join(place)

    def leave(self, waiter: Waiter) -> None:
        """Gives the turn to the next."""
        line = self._lines[waiter.place]
        line.remove(waiter)
        if not line:
            del self._lines[waiter.place]
        self.freed(waiter.place)

    def is_taken(self, place: Place) -> bool:
        """Whether someone is in line there already: then nobody overtakes."""
        return place in self._lines

    async def turn(self, waiter: Waiter, seconds: float) -> bool:
        """Waits until something was freed and it is this one's turn to look. False where nothing
        was said for so long; at the head of a line not longer than until it has to look itself."""
        waiter.wake = asyncio.get_running_loop().create_future()
        if waiter.urgent or self._lines[waiter.place][0] is waiter:
            seconds = min(seconds, _LOOK_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await waiter.wake
        except TimeoutError:
            return False
        finally:
            waiter.wake = None
        return True

    def freed(self, place: Place) -> None:
        """Something was given back there."""
        if not self._lines:
            return
        line = self._lines.get(place, ())
        urgent = [waiter for waiter in line if waiter.urgent]
        for waiter in urgent or line[:1]:
            if waiter.wake is not None and not waiter.wake.done():
                waiter.wake.set_result(None)
