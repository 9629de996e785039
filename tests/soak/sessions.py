"""Many sessions of many steps, their histories growing: what stays in memory, and in the file."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.admin.shapes import Json
from proxy.core import events as ev
from tests.fuzz.books import read_log
from tests.fuzz.process import running
from tests.soak.calls import PATH, POLICY, Caller, pause, request
from tests.soak.source import Source

_OPEN_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """sessions: that were ended by then."""

    sessions: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of it. found: sessions that the ledger has. torn: those of them that have not all
    the steps, or more. in_memory: the bound of sessions at hand."""

    samples: tuple[Sample, ...]
    in_memory: int
    steps: int
    refused: int
    file_bytes: int
    found: int
    torn: int
    seconds: float
    cpu_seconds: float

    @property
    def plateau(self) -> tuple[Sample, ...]:
        """The samples of the second half: the bound was reached in the first."""
        return self.samples[len(self.samples) // 2 :]

    @property
    def growth(self) -> float:
        """Of the memory, on the plateau."""
        return self.plateau[-1].memory_bytes / self.plateau[0].memory_bytes - 1

    @property
    def bytes_per_session(self) -> float:
        """Of those at hand: what the plateau is above the start."""
        return (self.plateau[-1].memory_bytes - self.samples[0].memory_bytes) / self.in_memory


async def soak_sessions(
    folder: Path, sessions: int, steps: int, sample_seconds: float = 10.0
) -> Lived:
    """A third of them named by path, a third by header, a third only by their history."""
    loop = asyncio.get_running_loop()
    in_memory = max(1, sessions // 4)
    async with (
        Source(1).listening() as source,
        running(folder, POLICY % in_memory, source.url) as process,
    ):
        samples = [Sample(0, process.memory_bytes())]
        run = _Run(process.port, steps, iter(range(sessions)))
        began, busy = loop.time(), process.cpu_seconds()

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
    found = torn = 0
    async for _, stored, is_whole in read_log(process.database):
        found += 1
        ends = sum(isinstance(one.event, ev.StepSettled) for one in stored)
        torn += ends != steps or not is_whole
    size = process.database.stat().st_size
    return Lived(
        tuple(samples), in_memory, sessions * steps, run.refused, size, found, torn, seconds, cpu
    )


class _Run:
    """Plays sessions, some at once, each step by step."""

    def __init__(self, port: int, steps: int, numbers: Iterator[int]) -> None:
        self._port, self._steps, self._numbers = port, steps, numbers
        self.ended = 0
        self.refused = 0

    async def work(self) -> None:
        caller = Caller(self._port)
        for number in self._numbers:  # each takes the next
            await self._live(caller, number)
            self.ended += 1
        caller.close()

    async def _live(self, caller: Caller, number: int) -> None:
        target = f"/s/soak-{number}{PATH}" if number % 3 == 0 else PATH
        headers = (f"x-holdfast-session: soak-{number}",) if number % 3 == 1 else ()
        messages: list[Json] = [{"role": "user", "content": f"Task {number}."}]
        for step in range(self._steps):
            status, body = await caller.call(request(target, {"messages": messages}, *headers))
            if status != 200:
                self.refused += 1
                return
            messages.append(json.loads(body)["choices"][0]["message"])
            messages.append({"role": "user", "content": f"Go on with {step}."})
