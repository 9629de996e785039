"""Memory that a supervisor shares with its workers: which of them serve, and what each counted.

It outlives a worker, so that counts do not fall when one dies: its successor goes on from them.
Made before the workers are; each writes in its own place only.
"""

import mmap
import struct
from enum import IntEnum
from typing import Final

_MOST_BYTES: Final = 1024 * 1024
_HEAD = struct.Struct("=I")
_PLACE: Final = 2 * (_HEAD.size + _MOST_BYTES)


class State(IntEnum):
    """Of one worker."""

    DOWN = 0
    READY = 1
    DRAINING = 2


class Board:
    """Places of `workers` workers. Pages that nobody has written take no memory."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._states = mmap.mmap(-1, 2 * workers)
        self._counts = mmap.mmap(-1, workers * _PLACE)

    def set_state(self, worker: int, state: State) -> None:
        self._states[worker] = state

    def ready(self) -> int:
        """How many serve."""
        return sum(self._states[worker] == State.READY for worker in range(self.workers))

    def note(self, worker: int, counts: bytes) -> None:
        """Keeps them for the next in this place. What is too large (a policy with thousands of
        upstreams) is left out. Written beside what was kept before: one may die in the middle."""
        if len(counts) > _MOST_BYTES:
            return
        other = 1 - self._states[self.workers + worker]
        start = self._start(worker, other)
        self._counts[start : start + _HEAD.size] = _HEAD.pack(len(counts))
        self._counts[start + _HEAD.size : start + _HEAD.size + len(counts)] = counts
        self._states[self.workers + worker] = other

    def noted(self, worker: int) -> bytes:
        """What was kept last; empty where nothing was."""
        start = self._start(worker, self._states[self.workers + worker])
        (size,) = _HEAD.unpack(self._counts[start : start + _HEAD.size])
        return self._counts[start + _HEAD.size : start + _HEAD.size + size]

    def _start(self, worker: int, half: int) -> int:
        return worker * _PLACE + half * (_PLACE // 2)
