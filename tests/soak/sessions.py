"""Many sessions of many steps, their histories growing: what stays in memory, and in the file."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.core import events as ev
from tests.fuzz.books import read_log, wrong_in_log
from tests.fuzz.process import running
from tests.soak.calls import PATH, POLICY, Caller, message, pause, request
from tests.soak.source import Source, reply_in

_OPEN_AT_ONCE: Final = 200
_AT_HAND: Final = 20
"""One session in so many is kept in memory."""
_FULL: Final = 0.55
"""By then every cache is full: those of sessions at hand, and the ledger's own of 10,000."""


@dataclass(frozen=True, slots=True)
class Sample:
    """sessions: that were ended by then."""

    sessions: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of it. asked: sessions that were to be. found: sessions that the ledger has. torn:
    those that have not all their steps, or whose log cannot be. at_hand: the bound of sessions in
    memory."""

    asked: int
    steps: int
    samples: tuple[Sample, ...]
    at_hand: int
    refused: int
    file_bytes: int
    found: int
    torn: int
    seconds: float
    cpu_seconds: float

    @property
    def plateau(self) -> tuple[Sample, ...]:
        """The samples since every cache was full."""
        full = self.asked * _FULL
        return tuple(sample for sample in self.samples if sample.sessions >= full)

    @property
    def growth(self) -> float:
        """Of the memory, on the plateau."""
        first, *_, last = (*self.plateau, self.samples[-1], self.samples[-1])
        return last.memory_bytes / first.memory_bytes - 1

    @property
    def bytes_per_session_at_hand(self) -> float:
        """What the plateau is above the start."""
        return (self.samples[-1].memory_bytes - self.samples[0].memory_bytes) / self.at_hand

    @property
    def bytes_per_session_ended(self) -> float:
        """What each session leaves behind on the plateau."""
        first, *_, last = (*self.plateau, self.samples[-1], self.samples[-1])
        ended = last.sessions - first.sessions
        return (last.memory_bytes - first.memory_bytes) / ended if ended else 0.0


async def soak_sessions(
    folder: Path,
    sessions: int,
    steps: int,
    *options: str,
    sample_seconds: float = 5.0,
    most_seconds: float = 480.0,
) -> Lived:
    """A third of them named by path, a third by header, a third only by their history. No session
    is begun after `most_seconds`. options: of tests.fuzz.sidecar."""
    loop = asyncio.get_running_loop()
    at_hand = max(1, sessions // _AT_HAND)
    async with (
        Source().listening() as source,
        running(folder, POLICY % at_hand, source.url, *options) as process,
    ):
        samples = [Sample(0, process.memory_bytes())]
        began, busy = loop.time(), process.cpu_seconds()
        run = _Run(process.port, steps, sessions, began + most_seconds)

        async def sample() -> None:
            while True:
                await pause(sample_seconds)
                samples.append(Sample(run.ended, process.memory_bytes()))

        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(sample())
            workers = [group.create_task(run.work()) for _ in range(_OPEN_AT_ONCE)]
            await asyncio.wait(workers)
            sampling.cancel()
        samples.append(Sample(run.ended, process.memory_bytes()))
        seconds, cpu = loop.time() - began, process.cpu_seconds() - busy
    found, torn = await _read(process.database, steps)
    size = process.database.stat().st_size
    return Lived(
        *(sessions, steps, tuple(samples), at_hand, run.refused, size, found, torn),
        *(seconds, cpu),
    )


async def _read(database: Path, steps: int) -> tuple[int, int]:
    """Sessions in the ledger, and those that are not whole."""
    found = torn = 0
    async for _, stored, is_whole in read_log(database):
        events = [one.event for one in stored]
        ends = sum(isinstance(event, ev.StepSettled) for event in events)
        found += 1
        torn += ends != steps or not is_whole or bool(wrong_in_log(events))
    return found, torn


class _Run:
    """Plays sessions, some at once, each step by step."""

    def __init__(self, port: int, steps: int, sessions: int, until: float) -> None:
        self._port, self._steps, self._until = port, steps, until
        self._numbers: Iterator[int] = iter(range(sessions))
        self._loop = asyncio.get_running_loop()
        self.ended = 0
        self.refused = 0

    async def work(self) -> None:
        caller = Caller(self._port)
        for number in self._numbers:  # each takes the next
            if self._loop.time() > self._until:
                break
            await self._live(caller, number)
            self.ended += 1
        caller.close()

    async def _live(self, caller: Caller, number: int) -> None:
        target = f"/s/soak-{number}{PATH}" if number % 3 == 0 else PATH
        headers = (f"x-holdfast-session: soak-{number}",) if number % 3 == 1 else ()
        messages = [message("user", b"Task %d." % number)]
        for step in range(self._steps):
            status, body = await caller.call(request(target, messages, *headers))
            if status != 200:
                self.refused += 1
                return
            messages.append(message("assistant", reply_in(body)))
            messages.append(message("user", b"Go on with %d." % step))
