"""One breaker: how it stands, what it has seen, and who is trying.

It decides nothing about when and for how long (`core/breaking.py`), and talks to nobody.
"""

from hashlib import blake2b
from typing import NamedTuple

import msgspec

from proxy.breakers.machine import Machine
from proxy.core.breaking import Phase, Record, Standing, Why, newest, phase_of
from proxy.core.policy import Upstream
from proxy.workers.places import MOST


class Key(NamedTuple):
    """What a breaker is of. credential: a digest, where it counts for that caller alone; else
    empty."""

    upstream: str
    model: str
    credential: bytes = b""


class Shut(msgspec.Struct, frozen=True):
    """Nobody may ask now. seconds: until one may try; infinity where a human has to close it. own:
    only this caller must not, for what is said of its own key. said: the provider told when."""

    why: Why
    seconds: float
    own: bool = False
    said: bool = False


class Breaker:
    """For one thread. named: its model is the policy's word. upstream: as it was met last; None
    where only others have met it. trying: somebody here does, or has, and the others were not told
    yet what came of it. seen: what has become of its calls since it was opened or closed."""

    __slots__ = (
        *("key", "named", "upstream", "standing", "generation", "is_open", "trying", "seen"),
        *("_machine", "_place"),
    )

    def __init__(self, key: Key, *, named: bool = False, upstream: Upstream | None = None) -> None:
        self.key = key
        self.named = named
        self.upstream = upstream
        self.standing = Standing()
        self.generation = 0
        self.is_open = False
        self.trying = False
        self.seen: Record | None = None
        self._machine: Machine | None = None
        self._place = -1

    @property
    def place(self) -> int:
        """The number of its place among those that workers share."""
        if self._place < 0:
            digest = blake2b(msgspec.msgpack.encode(self.key), digest_size=8).digest()
            self._place = int.from_bytes(digest) % MOST
        return self._place

    def record(self, window_seconds: float) -> Record:
        """`seen`, over such a window."""
        record = self.seen
        if record is None or record.seconds != window_seconds:
            record = self.seen = Record(window_seconds)
        return record

    def counted(self, now: float) -> tuple[int, int, int]:
        """Calls, failures and slow ones, lately."""
        if self.seen is None:
            return 0, 0, 0
        self.seen.move(now)
        return self.seen.calls, self.seen.failures, self.seen.slow

    def phase(self, now: float) -> Phase:
        return phase_of(self.standing, now)

    def shut(self, now: float) -> Shut | None:
        """None where a call may go, or may try if nobody else does."""
        standing = self.standing
        if not standing.is_open or now >= standing.until:
            return None
        own, said = bool(self.key.credential), standing.said
        return Shut(standing.why, standing.until - now, own, said)

    def stand(self, said: Standing) -> bool:
        """Takes what was said of it where that is newer; whether it was."""
        if newest(self.standing, said) == self.standing:
            return False
        self._turn(said)
        return True

    def begin_to_try(self) -> None:
        """It is open, and its time has come."""
        self.trying = True
        self._turned().try_one()

    def tried(self, *, well: bool) -> None:
        """What came of it, if anything, is said by `stand`. Another may once `trying` is over."""
        machine = self._turned()
        if well:
            machine.went_well()
        elif machine.is_trying:
            machine.open()

    def _turn(self, said: Standing) -> None:
        if said.generation != self.generation:
            self.seen = None  # what led to the one says nothing of the other
        self.standing = said
        self.generation = said.generation
        self.is_open = said.is_open
        machine = self._turned()
        if said.is_open:
            machine.open()
        elif not machine.is_closed:
            machine.close()

    def _turned(self) -> Machine:
        """Most breakers never open, and need none."""
        if self._machine is None:
            self._machine = Machine()
        return self._machine
