"""What a governed call costs the store: `python -m bench.store`, or one of them (`--store memory`).

A call is two appends, as the ledger makes them: a reservation on two windows, and its settlement
with two links. CPU is that of the whole process, all threads, less what the same loop costs with a
store that does nothing; the best of the rounds, as others share the machine. Bytes and writes
are what the process handed to the kernel: the WAL, and what checkpoints move into the file.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter, process_time, thread_time

import uvloop

from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.core.usage import Usage
from proxy.stores import Append, Appended, Charge, Maximum, SessionHead, Store, sqlite_writer
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.written import Written

SECRET = bytes(range(32))
NOW = 1_800_000_000.0
WINDOWS = ("tenant:4f1c09d2a7b3:1d:20833", "global:-:1h:500000")
MOST = Maximum(micro_usd=10**15)
SESSIONS = 64
"""Whose logs grow, where not each call opens one."""


class NoStore:
    """Says yes at once: what the loop around it costs."""

    def append(self, append: Append) -> Awaitable[Appended]:
        written: Written[Appended] = Written(loop=asyncio.get_running_loop())
        written.set_result(Appended(0, b""))
        return written


@dataclass(slots=True)
class Session:
    """As the ledger's fold knows it."""

    key: SessionKey
    seq: int = 0
    token: bytes | None = None
    steps: int = 0


@dataclass(slots=True)
class Run:
    """One round: so many calls, so many at once. Latencies in seconds, of each append."""

    store: NoStore | Store
    calls: int
    sessions: list[Session]
    prefix: str
    latencies: list[float] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    async def work(self) -> None:
        """One of those at once."""
        while (number := next(self.numbers)) < self.calls:
            call = f"{number:032x}"
            session = self._session(number)
            await self._timed(reserve(session, call))
            await self._timed(settle(session, call, number))

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


def reserve(session: Session, call: str) -> Append:
    session.steps += 1
    opened = (SessionOpened(NOW, agent="coder"),) if session.seq == 0 else ()
    reserved = StepReserved(
        NOW,
        call_id=call,
        step=session.steps,
        owner="12345-0a1b2c3d",
        deadline=NOW + 660,
        model="gpt-5-mini",
        upstream="openai",
        body_digest=b"0123456789abcdef",
        hold_cost_micro_usd=41_000,
        hold_tokens=9_000,
        accounts=WINDOWS,
    )
    charges = tuple(Charge(window, 41_000, maximum=MOST) for window in WINDOWS)
    expected, after, token = advance(session, len(opened) + 1)
    head = head_of(session, 41_000)
    events = (*opened, reserved)
    return Append(session.key, events, expected, charges, after=after, token=token, head=head)


def settle(session: Session, call: str, number: int) -> Append:
    event = StepSettled(
        NOW,
        call_id=call,
        usage=Usage(input_tokens=1_200, cache_read_tokens=800, output_tokens=300),
        cost_micro_usd=1_234,
        tokens=2_300,
        response_id=f"chatcmpl-{call[:24]}",
    )
    _, after, token = advance(session, 1)
    links = tuple((number * 7919 + n).to_bytes(16, "little") for n in (1, 2))
    return Append(
        session.key,
        (event,),
        after=after,
        token=token,
        closes=(call,),
        spent_micro_usd=1_234,
        links=links,
        head=head_of(session, 0),
    )


def advance(session: Session, events: int) -> tuple[int, bytes | None, bytes]:
    """What the next append stands on, and its name."""
    before = (session.seq, session.token)
    session.seq += events
    session.token = session.seq.to_bytes(16, "big")
    return *before, session.token


def head_of(session: Session, held: int) -> SessionHead:
    return SessionHead(
        agent="coder",
        steps=session.steps,
        tokens=2_300 * session.steps,
        cost_micro_usd=1_234 * session.steps,
        held_micro_usd=held,
        created_at=NOW,
        updated_at=NOW + session.seq * 1e-3,
    )


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


async def measure(
    store: NoStore | Store, calls: int, in_flight: int, growing: bool, prefix: str = "s"
) -> Figures:
    names = [f"{prefix}-{number}" for number in range(SESSIONS if growing else 0)]
    run = Run(store, calls, [Session(SessionKey("4f1c09d2a7b3", name)) for name in names], prefix)
    batches, io = Batches(), _written()
    cpu, loop = process_time(), thread_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
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
}


async def one_round(name: str, calls: int, in_flight: int, growing: bool) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        store = STORES[name](Path(folder))
        await store.open()
        try:
            await measure(store, min(calls, 500), in_flight, growing, "w")  # its caches filled
            return await measure(store, calls, in_flight, growing)
        finally:
            await store.close()


def report(name: str, arguments: argparse.Namespace) -> None:
    for growing in (False, True):
        print(f"\n{name}, {f'{SESSIONS} growing sessions' if growing else 'a new session a call'}")
        print("in flight   CPU   loop   p50   p99  p99.9 µs   bytes  writes  batch")
        for in_flight in arguments.in_flight:
            calls = arguments.calls if in_flight > 1 else arguments.calls // 4
            rounds = [
                uvloop.run(one_round(name, calls, in_flight, growing))
                for _ in range(arguments.rounds)
            ]
            nothing = min(
                uvloop.run(measure(NoStore(), calls, in_flight, growing)).cpu for _ in range(3)
            )
            best = min(rounds, key=lambda figures: figures.cpu)
            print(
                f"{in_flight:9} {best.cpu - nothing:5.1f} {best.loop - nothing:6.1f}"
                f" {best.half:5.0f} {best.late:5.0f} {best.latest:6.0f}"
                f"    {best.written_bytes:6.0f} {best.writes:7.1f} {best.batch:6.1f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--calls", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8, 32, 256])
    arguments = parser.parse_args()
    for name in arguments.store:
        report(name, arguments)


if __name__ == "__main__":
    sys.exit(main())
