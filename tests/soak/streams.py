"""Many streams at once, for minutes: what each chunk is late by, and whether checkpoints matter."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from tests.fuzz.process import Process, running
from tests.soak.calls import PATH, POLICY, Caller, pause, request, said
from tests.soak.source import Source

NEAR_SECONDS: Final = 0.2
"""A chunk that comes within this of a checkpoint is counted beside it."""
_MARKS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
_WRITERS = 8
_QUIET_SECONDS = 5.0


@dataclass(slots=True)
class Delays:
    """Of chunks, each with when it came. whole: streams that came to their end."""

    came: list[tuple[float, float]] = field(default_factory=list)
    whole: int = 0

    def beside(self, moments: Sequence[float]) -> "Delays":
        """Only those of chunks that came near one of these moments."""
        seconds = {round(moment / NEAR_SECONDS) for moment in moments}
        near = [one for one in self.came if round(one[0] / NEAR_SECONDS) in seconds]
        return Delays(near)

    def at(self, share: float) -> float:
        """The delay in milliseconds that this share of the chunks stays within."""
        delays = sorted(delay for _, delay in self.came)
        return delays[min(int(len(delays) * share), len(delays) - 1)] * 1e3 if delays else 0.0

    def shown(self) -> str:
        """The figures in one line."""
        told = (f"{name} {self.at(share):.1f}" for name, share in _MARKS)
        return f"{', '.join(told)} ms of {len(self.came)} chunks"


class _Reader(asyncio.Protocol):
    """A client's stream: what it is late by, chunk by chunk."""

    def __init__(self, raw: bytes, delays: Delays, done: "asyncio.Future[None]") -> None:
        self._raw, self._delays, self._done = raw, delays, done
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._raw)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        self._rest += data
        while (at := self._rest.find(b"t=")) >= 0 and (end := self._rest.find(b" ", at)) >= 0:
            self._delays.came.append((now, now - float(self._rest[at + 2 : end])))
            self._rest = self._rest[end:]
        if b"[DONE]" in self._rest:
            self._delays.whole += 1
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of it. alone: the same rig without a sidecar, at its own time."""

    streams: int
    alone: Delays
    through: Delays
    checkpoints: tuple[float, ...]
    memory_bytes: tuple[int, ...]
    cpu_seconds: float
    holds_left: int


async def soak_streams(
    folder: Path,
    streams: int,
    seconds: float,
    writes: int,
    gap_seconds: tuple[float, float] = (0.5, 1.0),
) -> Streamed:
    """So many streams of so many seconds, with `writes` other calls a second beside them."""
    async with Source(min(10.0, seconds), gap_seconds).listening() as source:
        alone = await _stream_all(source.port, streams)
        source.seconds = seconds
        async with running(folder, POLICY % (2 * streams), source.url) as process:
            moments: list[float] = []
            memory = [process.memory_bytes()]
            busy = process.cpu_seconds()
            async with asyncio.TaskGroup() as group:
                aside = [
                    group.create_task(_note_checkpoints(process.database, moments)),
                    group.create_task(_sample(process.memory_bytes, memory)),
                    *(group.create_task(_write(process.port, writes, n)) for n in range(_WRITERS)),
                ]
                through = await _stream_all(process.port, streams)
                for task in aside:
                    task.cancel()
            cpu = process.cpu_seconds() - busy
            left = await _holds_left(process)
        return Streamed(streams, alone, through, tuple(moments), tuple(memory), cpu, left)


async def _holds_left(process: Process) -> int:
    """Those of the last writers are given back a moment after they have left."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _QUIET_SECONDS
    while (left := (await process.tell()).holds) and loop.time() < until:
        pass
    return left


async def _stream_all(port: int, streams: int) -> Delays:
    """Begun one after another, 1,000 a second; returns when all have ended."""
    loop, delays, ends = asyncio.get_running_loop(), Delays(), []
    for number in range(streams):
        raw = request(f"/s/stream-{number}{PATH}", said(f"stream {number}") | {"stream": True})
        ends.append(loop.create_future())
        reader = partial(_Reader, raw, delays, ends[-1])
        await loop.create_connection(reader, "127.0.0.1", port)
        await pause(0.001)
    await asyncio.gather(*ends)
    return delays


async def _write(port: int, per_second: int, writer: int) -> None:
    """Calls with something to write, so that the WAL grows and is checkpointed."""
    caller = Caller(port)
    try:
        for number in cycle(range(50)):
            body = said(f"call {number} of {writer}")
            await caller.call(request(f"/s/write-{writer}-{number}{PATH}", body))
            await pause(_WRITERS / per_second)
    finally:
        caller.close()


async def _note_checkpoints(database: Path, moments: list[float]) -> None:
    """Only a checkpoint writes to the database itself."""
    last = os.stat(database).st_mtime_ns
    while True:
        if (now := os.stat(database).st_mtime_ns) != last:
            last = now
            moments.append(perf_counter())
        await pause(0.02)


async def _sample(measure: Callable[[], int], into: list[int], seconds: float = 10.0) -> None:
    while True:
        await pause(seconds)
        into.append(measure())
