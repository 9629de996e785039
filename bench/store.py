"""What a governed call costs the store: `python -m bench.store`, or one of them (`--store memory`).

A call is two appends, as the ledger makes them: a reservation on two windows, and its settlement
with two links. CPU is that of the whole process, all threads, less what the same loop costs with a
store that does nothing; the best of the rounds, as others share the machine. Bytes and writes
are what the process handed to the kernel: the WAL, and what checkpoints move into the file.

`--busy` is a sidecar under load: one core, and a loop that always has something else to do, which
is what a store's threads have to get the interpreter's lock from. `--probe SECONDS` makes a
thousand calls a second for so long, and says how late the loop came to what was due each
millisecond.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from time import perf_counter, process_time, thread_time

import uvloop

from bench.store_calls import Session, reserve, settle
from proxy.clock import SystemClock
from proxy.core.session import SessionKey
from proxy.stores import Append, Appended, Store, sqlite_writer
from proxy.stores.memory import MemoryStore
from proxy.stores.redis import RedisStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.written import Written
from tests.fakes_redis import url_for

SECRET = bytes(range(32))
SESSIONS = 64
"""Whose logs grow, where not each call opens one."""


class NoStore:
    """Says yes at once: what the loop around it costs."""

    def append(self, append: Append) -> Awaitable[Appended]:
        written: Written[Appended] = Written(loop=asyncio.get_running_loop())
        written.set_result(Appended(0, b""))
        return written


@dataclass(slots=True)
class Run:
    """One round: so many calls, so many at once. Latencies in seconds, of each append."""

    store: NoStore | Store
    calls: int
    sessions: list[Session]
    prefix: str
    spins: int = 0
    latencies: list[float] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    async def work(self) -> None:
        """One of those at once."""
        while (number := next(self.numbers)) < self.calls:
            await self.one(number)

    async def one(self, number: int) -> None:
        call, session = f"{number:032x}", self._session(number)
        await self._timed(reserve(session, call))
        spin(self.spins)
        await self._timed(settle(session, call, number))
        spin(self.spins)

    async def _timed(self, append: Append) -> None:
        started = perf_counter()
        await self.store.append(append)
        self.latencies.append(perf_counter() - started)

    def _session(self, number: int) -> Session:
        if self.sessions:
            return self.sessions[number % len(self.sessions)]
        # Ids are drawn, not counted: in an index each falls on another page.
        return Session(
            SessionKey("4f1c09d2a7b3", f"{self.prefix}_{number * 2654435761 % 2**32:022x}")
        )


def spin(times: int) -> None:
    """Work on the loop that is not the store's: some 100 µs for 2,000."""
    for _ in range(times):
        pass


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one round, per call where nothing else is said; times in µs."""

    cpu: float
    loop: float
    half: float
    late: float
    latest: float
    written_bytes: float
    writes: float
    batch: float


@dataclass(frozen=True, slots=True)
class Load:
    calls: int
    in_flight: int
    growing: bool
    spins: int


async def measure(store: NoStore | Store, load: Load, prefix: str = "s") -> Figures:
    calls, names = load.calls, [f"{prefix}-{n}" for n in range(SESSIONS if load.growing else 0)]
    sessions = [Session(SessionKey("4f1c09d2a7b3", name)) for name in names]
    run = Run(store, calls, sessions, prefix, load.spins)
    batches, io = Batches(), _written()
    cpu, loop = process_time(), thread_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(load.in_flight):
            tasks.create_task(run.work())
    cpu, loop = process_time() - cpu, thread_time() - loop
    written, writes = (after - before for after, before in zip(_written(), io, strict=True))
    latencies = sorted(run.latencies)
    half, late, latest = (latencies[int(len(latencies) * q)] * 1e6 for q in (0.5, 0.99, 0.999))
    return Figures(
        cpu / calls * 1e6,
        loop / calls * 1e6,
        half,
        late,
        latest,
        written / calls,
        writes / calls,
        2 * calls / max(batches.end(), 1),
    )


class Batches:
    """Counts the batches that SQLite's writer delivers, from its making to `end`."""

    def __init__(self) -> None:
        self._deliver = sqlite_writer.deliver
        self._count = 0
        sqlite_writer.deliver = self._counting  # type: ignore[assignment]  # for one round

    def _counting(self, *arguments: object) -> None:
        self._count += 1
        self._deliver(*arguments)  # type: ignore[arg-type]  # handed through

    def end(self) -> int:
        sqlite_writer.deliver = self._deliver
        return self._count


def _written() -> tuple[int, int]:
    lines = Path("/proc/self/io").read_text().split()
    return int(lines[lines.index("wchar:") + 1]), int(lines[lines.index("syscw:") + 1])


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder / "ledger.db", SECRET),
    "memory": lambda _: MemoryStore(SECRET),
    "redis": lambda folder: RedisStore(url_for("redis", folder), SECRET),
    "valkey": lambda folder: RedisStore(url_for("valkey", folder), SECRET),
    "cluster": lambda folder: RedisStore(url_for("cluster", folder), SECRET),
}
"""Servers are those of tests/redis/setup.sh, on this machine, appendfsync everysec."""


async def one_round(name: str, load: Load) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        store = STORES[name](Path(folder))
        await store.open()
        try:
            warm = replace(load, calls=min(load.calls, 500), spins=0)
            await measure(store, warm, "w")  # its caches filled
            return await measure(store, load)
        finally:
            await store.close()


async def probe(name: str, seconds: float) -> None:
    """Lateness of a tick each millisecond while a thousand calls a second are made, first without
    a store: what the machine and the loop's own work come to."""
    await _ticks("nothing", NoStore(), seconds / 3)
    with tempfile.TemporaryDirectory() as folder:
        store = STORES[name](Path(folder))
        await store.open()
        await _ticks(name, store, seconds)
        await store.close()


async def _ticks(name: str, store: NoStore | Store, seconds: float) -> None:
    clock = SystemClock()
    late, latencies = list[float](), list[float]()
    run = Run(store, int(seconds * 1_000), [], "p", latencies=latencies)
    async with asyncio.TaskGroup() as tasks:
        due = perf_counter()
        for number in range(run.calls):
            due += 1e-3
            await clock.sleep(due - perf_counter())
            late.append(perf_counter() - due)
            tasks.create_task(run.one(number))
    for what, figures in (("tick late", late), ("append", latencies)):
        figures.sort()
        shown = [f"{figures[int(len(figures) * q)] * 1e3:.2f}" for q in (0.5, 0.99, 0.999)]
        print(f"{name}: {what} by {' / '.join(shown)} ms, at most {figures[-1] * 1e3:.2f}")


def report(name: str, arguments: argparse.Namespace) -> None:
    for growing in (False, True):
        print(f"\n{name}, {f'{SESSIONS} growing sessions' if growing else 'a new session a call'}")
        print("in flight   CPU   loop   p50   p99  p99.9 µs   bytes  writes  batch")
        for in_flight in arguments.in_flight:
            calls = arguments.calls if in_flight > 1 else arguments.calls // 4
            load = Load(calls, in_flight, growing, 2_000 if arguments.busy else 0)
            rounds = [uvloop.run(one_round(name, load)) for _ in range(arguments.rounds)]
            nothing = min(uvloop.run(measure(NoStore(), load)).cpu for _ in range(3))
            best = min(rounds, key=lambda figures: figures.cpu)
            print(
                f"{in_flight:9} {best.cpu - nothing:5.1f} {best.loop - nothing:6.1f}"
                f" {best.half:5.0f} {best.late:5.0f} {best.latest:6.0f}"
                f"    {best.written_bytes:6.0f} {best.writes:7.1f} {best.batch:6.1f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", nargs="+", default=["sqlite", "memory"], choices=list(STORES))
    parser.add_argument("--calls", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 256])
    parser.add_argument("--busy", action="store_true", help="one core, and a loop that is busy")
    parser.add_argument("--probe", type=float, metavar="SECONDS", help="how late the loop comes")
    arguments = parser.parse_args()
    if arguments.busy:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in arguments.store:
        if arguments.probe:
            uvloop.run(probe(name, arguments.probe))
        else:
            report(name, arguments)


if __name__ == "__main__":
    sys.exit(main())
