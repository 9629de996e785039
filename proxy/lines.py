"""Who waits for what others hold: a line for each place that is full.

A place is a session or a shared account whose room is taken by calls in flight. When one of them
ends, whoever extends a running stream is woken first, all of them; else new calls, who wake the
next when they go. Whoever is woken looks for itself whether there is room now: nothing is promised
here.

Those who share a place (tenants, or sessions of one) take turns, and the calls of each come in the
order in which they were made: whoever sends a thousand delays its own, and a call too large for
what is free keeps only its own session's from passing it.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from proxy.core.limits.rooms import Place
from proxy.core.session import SessionKey

_LOOK_SECONDS = 0.25
"""Other processes free things too, and nobody tells: the head of a line looks this often."""
_CALLED_AT_ONCE = 8
"""Sharers whose first call looks when something was freed."""
_MOST_WAITING = 1_024
"""Of one sharer, in one line: further ones are refused at once, rather than kept in memory."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One call in line. urgent: it runs already, and has to hold more. sharer: who takes turns.
    called: while it was looking, something was freed again."""

    place: Place
    urgent: bool
    sharer: str = ""
    wake: "asyncio.Future[None] | None" = None
    called: bool = False

    def call(self) -> None:
        if self.wake is None:
            self.called = True
        elif not self.wake.done():
            self.wake.set_result(None)


@dataclass(slots=True)
class _Line:
    """urgent before all others; those of each sharer in order, the next sharer first."""

    urgent: list[Waiter] = field(default_factory=list)
    shared: OrderedDict[str, deque[Waiter]] = field(default_factory=OrderedDict)

    def add(self, waiter: Waiter) -> None:
        if waiter.urgent:
            self.urgent.append(waiter)
        else:
            self.shared.setdefault(waiter.sharer, deque()).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """It is the next sharer's turn, if it was this one's."""
        if waiter.urgent:
            self.urgent.remove(waiter)
            return
        its = self.shared[waiter.sharer]
        was_first = its[0] is waiter
        its.remove(waiter)
        if not its:
            del self.shared[waiter.sharer]
        elif was_first:
            self.shared.move_to_end(waiter.sharer)

    def head(self) -> Waiter | None:
        return next(iter(self.shared.values()))[0] if self.shared else None

    def call(self) -> None:
        """Whoever may look now."""
        firsts = (its[0] for its in islice(self.shared.values(), _CALLED_AT_ONCE))
        for waiter in self.urgent or list(firsts):
            waiter.call()

    def __iter__(self) -> Iterator[Waiter]:
        yield from self.urgent
        for its in self.shared.values():
            yield from its

    def __bool__(self) -> bool:
        return bool(self.urgent or self.shared)


class Lines:
    """All lines of a process."""

    def __init__(self) -> None:
        self._lines: dict[Place, _Line] = {}

    def __len__(self) -> int:
        return sum(1 for line in self._lines.values() for _ in line)

    def join(self, place: Place, key: SessionKey) -> Waiter | None:
        """A new call of this session takes the last place of its sharer's. None where too many of
        them wait already."""
        waiter = Waiter(place, False, _sharer(place, key))
        line = self._lines.get(place)
        if line is not None and len(line.shared.get(waiter.sharer, ())) >= _MOST_WAITING:
            return None
        self._lines.setdefault(place, _Line()).add(waiter)
        return waiter

    def press(self, place: Place) -> Waiter:
        """A call that runs goes before all new ones."""
        waiter = Waiter(place, True)
        self._lines.setdefault(place, _Line()).add(waiter)
        return waiter

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
        if waiter.called:
            waiter.called = False
            return True
        waiter.wake = asyncio.get_running_loop().create_future()
        line = self._lines[waiter.place]
        if waiter.urgent or line.head() is waiter:
            seconds = min(seconds, _LOOK_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await waiter.wake
        except TimeoutError:
            if line.head() is waiter:  # the next sharer is the one to look from now on
                line.shared.move_to_end(waiter.sharer)
                line.call()
            return False
        finally:
            waiter.wake = None
        return True

    def freed(self, *places: Place) -> None:
        """Something was given back there."""
        if not self._lines:
            return
        for place in places:
            line = self._lines.get(place)
            if line is not None:
                line.call()

    def stir(self) -> None:
        """A session was killed, paused or extended: all look, for it may be above them, too."""
        for line in self._lines.values():
            for waiter in line:
                waiter.call()


def _sharer(place: Place, key: SessionKey) -> str:
    """Of what all tenants share, each takes its turn; of what is a tenant's, each session."""
    is_global = isinstance(place, str) and place.startswith("global:")
    return key.tenant if is_global else key.session
