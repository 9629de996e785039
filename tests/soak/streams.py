"""Many streams at once, for minutes: how late each chunk comes, and whether checkpoints matter.

Three runs, all with the same streams and, but for the first, with the same other calls beside them:
without a sidecar, which is what the rig itself is late by; through a sidecar whose ledger is never
checkpointed; and, the long one, through a sidecar as it is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from tests.fuzz.process import Process, Told, running
from tests.soak.calls import PATH, POLICY, Caller, message, pause, request
from tests.soak.checkpoints import Checkpoints
from tests.soak.delays import Delays
from tests.soak.source import Source

_WRITERS: Final = 8
_QUIET_SECONDS: Final = 5.0
_STARTS_PER_SECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Load:
    """seconds: for which so many streams are there, each for `stream_seconds`, and then another.
    gap_seconds: between chunks. writes: other calls a second. sample_seconds: between two looks at
    the memory."""

    streams: int
    seconds: float
    writes: int = 100
    stream_seconds: tuple[float, float] = (20.0, 40.0)
    gap_seconds: tuple[float, float] = (0.5, 1.0)
    sample_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of a run through a sidecar. came: of the time when all streams were there. busy:
    the share of one core that it took then. waited: the share of that time for which its event loop
    waited for a core. memory_bytes: before any stream, then sample by sample. holds: that were
    left."""

    load: Load
    came: Delays
    checkpoints: tuple[tuple[float, float], ...]
    memory_bytes: tuple[int, ...]
    busy: float
    waited: float
    holds: int

    @property
    def growth(self) -> float:
        """Of the memory, in the second half of the time."""
        half = self.memory_bytes[1:][len(self.memory_bytes) // 2 :]
        return max(half) / half[0] - 1 if half else 0.0

    @property
    def bytes_per_stream(self) -> float:
        """What the process holds for each of them, at its most."""
        return (max(self.memory_bytes) - self.memory_bytes[0]) / self.load.streams


def _source(load: Load) -> Source:
    return Source(load.stream_seconds, load.gap_seconds)


async def without(load: Load) -> Delays:
    """The rig alone."""
    async with _source(load).listening() as source:
        came, *_ = await _stream_all(source.port, load, lambda: (0.0, 0.0))
        return came


async def through(folder: Path, load: Load, checkpoints: Checkpoints, *options: str) -> Streamed:
    """So many streams through a sidecar, with calls of other sessions beside them. options: of
    tests.fuzz.sidecar."""
    async with (
        _source(load).listening() as source,
        running(
            *(folder, POLICY % max(1_000, load.streams // 2), source.url),
            f"--checkpoints={checkpoints}",
            *options,
        ) as process,
    ):
        memory = [process.memory_bytes()]
        async with asyncio.TaskGroup() as group:
            aside = [
                group.create_task(_sample(process.memory_bytes, memory, load.sample_seconds)),
                *(group.create_task(_write(process.port, load.writes, n)) for n in range(_WRITERS)),
            ]
            came, busy, waited = await _stream_all(
                process.port, load, lambda: (process.cpu_seconds(), process.waited_seconds())
            )
            for task in aside:
                task.cancel()
        told = await _quiet(process)
        spans = told.checkpoints
        return Streamed(load, came, spans, tuple(memory), busy, waited, told.holds)


async def _quiet(process: Process) -> Told:
    """Those of the last writers are given back a moment after they have left."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _QUIET_SECONDS
    while (told := await process.tell()).holds and loop.time() < until:
        pass
    return told


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
            self._delays.add(float(self._rest[at + 2 : end]), now)
            self._rest = self._rest[end:]
        if b"[DONE]" in self._rest:
            self._delays.whole += 1
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def _stream_all(
    port: int, load: Load, spent: Callable[[], tuple[float, float]]
) -> tuple[Delays, float, float]:
    """Begun one after another; returns when all have ended: what came while all were there, and
    what was spent then, a second, of CPU and of waiting for it."""
    delays, over = Delays(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(load.streams):
            group.create_task(_stream_on(port, number, over, delays))
            await pause(1 / _STARTS_PER_SECOND)
        all_there, before = perf_counter(), spent()
        await pause(load.seconds)
        until, after = perf_counter(), spent()
        over.set()
    seconds = until - all_there
    busy, waited = ((now - then) / seconds for then, now in zip(before, after, strict=True))
    came = delays.between(all_there, until)
    came.begun, came.whole = delays.begun, delays.whole
    return came, busy, waited


async def _stream_on(port: int, number: int, over: asyncio.Event, delays: Delays) -> None:
    """One stream after another, until it is over."""
    loop = asyncio.get_running_loop()
    for turn in count():
        said = message("user", b"Stream %d." % number)
        raw = request(f"/s/stream-{number}-{turn}{PATH}", [said], stream=True)
        done: asyncio.Future[None] = loop.create_future()
        delays.begun += 1
        await loop.create_connection(partial(_Reader, raw, delays, done), "127.0.0.1", port)
        await done
        if over.is_set():
            return


async def _write(port: int, per_second: int, writer: int) -> None:
    """Calls with something to write, so that the WAL grows and is checkpointed; and each a session
    of its own, so that all that is remembered of sessions is full in the first half of the time."""
    caller = Caller(port)
    try:
        for number in count():
            said = message("user", b"Call %d of %d." % (number, writer))
            await caller.call(request(PATH, [said]))
            await pause(_WRITERS / per_second)
    finally:
        caller.close()


async def _sample(measure: Callable[[], int], into: list[int], seconds: float) -> None:
    while True:
        await pause(seconds)
        into.append(measure())
