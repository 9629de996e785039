"""Rounds: load, a kill at a point, a start on the same file, and what is then not as it must be."""

import asyncio
import json
import os
import random
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from proxy.simulator import Simulator
from tests.crash.books import Place, asks_human, in_file, read_ledger, wrong
from tests.crash.load import POLICY, TENANT_USD, Clients, Given, Model
from tests.crash.points import AIM, DIED, PASSED, Aim, Side, innermost
from tests.integration.crew_kit import Serving, serving

_LOAD_SECONDS: Final = 12.0
_START_SECONDS: Final = 2.0
_FREED_SECONDS: Final = 30.0
_RESUMED: Final = 5
_MOST_MISSED: Final = 3
"""So often it is aimed at again before all others have had their turn."""
Point = tuple[str, Side]


@dataclass
class Round:
    """What one came to. died_at: None where the point was not passed so often: then it was killed
    at the end of the load. held: what was open in the file when it had died."""

    number: int
    aim: Aim | None
    died_at: Aim | None = None
    faults: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    given: int = 0
    held: int = 0
    free_after_seconds: float = 0.0


@dataclass
class Stage:
    """Where rounds are played: a ledger, and a provider that outlives them all."""

    folder: Path
    sim: Simulator
    place: Place
    workers: int = 1
    more_policy: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Serving]:
        async with serving(
            self.folder, self.sim.url, self.workers,
            policy=POLICY % {"usd": TENANT_USD} + self.more_policy, drain_seconds=2,
            command=("tests.crash.sidecar", str(self.folder)),
            store=self.place.url, env=self.place.env,
        ) as on:  # fmt: skip
            yield on


@asynccontextmanager
async def stage(folder: Path, workers: int = 1, place: Place | None = None) -> AsyncIterator[Stage]:
    """A new one; with a ledger in a file, if nothing else is said."""
    async with Simulator(Model(), seed=1, journal_size=1_000_000) as sim:
        yield Stage(folder, sim, place or in_file(folder / "ledger.db"), workers)


@dataclass(frozen=True, slots=True)
class Found:
    """How often each point is passed: in a load, and in a start after a crash."""

    load: Counter[Point]
    start: Counter[Point]


async def discover(on: Stage, rounds: int, seed: int) -> Found:
    """So many loads in which nobody dies, and then one that is killed."""
    load = await count_loads(on, rounds, seed)
    done = Round(-1, None)
    await _crash(on, done, random.Random(seed), seed)
    async with on.serving() as car:
        await _free(on)
        return Found(load, await _passed(on, car))


async def count_loads(on: Stage, rounds: int, seed: int) -> Counter[Point]:
    """How often each point is passed in so many loads in which nobody dies."""
    load: Counter[Point] = Counter()
    for number in range(rounds):
        async with on.serving() as car:
            before = await _passed(on, car)
            clients = Clients(car, f"d{seed}.{number}", random.Random(seed + number))
            await clients.run(_LOAD_SECONDS)
            load += await _passed(on, car) - before
    return load


async def _passed(on: Stage, car: Serving) -> Counter[Point]:
    file = on.folder / PASSED
    file.unlink(missing_ok=True)
    os.kill(car.process.pid, signal.SIGUSR2)
    while not file.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)  # noqa: TID251 - another process
    return Counter({(point, side): n for point, side, n in json.loads(file.read_text())})


async def play(on: Stage, number: int, aim: Aim | None, seed: int, *, start: bool = False) -> Round:
    """One round. None: it is killed at a random moment. start: at a random moment, and then again
    where the next start passes the point."""
    draw = random.Random(seed * 10_007 + number)
    done = Round(number, aim)
    for name in (DIED, AIM):
        (on.folder / name).unlink(missing_ok=True)
    clients = await _crash(on, done, draw, seed, aimed=not start)
    if start:
        await _crash_again(on, done)
    if on.workers == 1:
        (on.folder / AIM).unlink(missing_ok=True)
        async with on.serving() as again:
            clients.car = again
            await _look(on, again, clients, done)
    return done


async def _crash(
    on: Stage, done: Round, draw: random.Random, seed: int, *, aimed: bool = False
) -> Clients:
    """A load, and a kill in the middle of it. Where a worker is killed the others go on."""
    aim = done.aim if aimed else None
    async with on.serving() as car:
        clients = Clients(car, f"r{seed}.{done.number}", draw)
        victim = car.process.pid if on.workers == 1 else draw.choice(car.pids())
        if aim is not None:
            _take_aim(on, aim)
            os.kill(victim, signal.SIGUSR1)
        dies = None if aim is not None else asyncio.ensure_future(_kill(victim, draw))
        load = asyncio.ensure_future(clients.run(_LOAD_SECONDS))
        if on.workers == 1:
            ended = asyncio.ensure_future(car.process.wait())
            await asyncio.wait([load, ended], return_when=asyncio.FIRST_COMPLETED)
            if car.process.returncode is None:
                car.process.kill()
        await load
        if dies is not None:
            await dies
        done.died_at = _died(on.folder)
        done.seen, done.given = clients.seen, len(clients.given)
        if on.workers > 1:
            await _look(on, car, clients, done)
    return clients


async def _crash_again(on: Stage, done: Round) -> None:
    """While it starts, or books what its predecessor held."""
    assert done.aim is not None
    _take_aim(on, done.aim)
    with suppress(AssertionError):  # it died before it was ready
        async with on.serving() as car:
            with suppress(TimeoutError):
                await asyncio.wait_for(car.process.wait(), _START_SECONDS)
    done.died_at = _died(on.folder)


def _take_aim(on: Stage, aim: Aim) -> None:
    (on.folder / AIM).write_bytes(msgspec.json.encode(aim))


async def _kill(victim: int, draw: random.Random) -> None:
    await asyncio.sleep(draw.uniform(0.2, 2.0))  # noqa: TID251 - a random moment
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)


def _died(folder: Path) -> Aim | None:
    try:
        return msgspec.json.decode((folder / DIED).read_bytes(), type=Aim)
    except FileNotFoundError:
        return None


async def _free(on: Stage) -> int:
    """How many holds there were; waits until they are booked, and listings mended. The machine may
    stand still for longer than that takes: how long it took is told, and judged by who reads it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    held, left = await on.place.left_behind()
    while left and loop.time() - began < _FREED_SECONDS:
        await asyncio.sleep(0.05)  # noqa: TID251 - another process
        _, left = await on.place.left_behind()
    return held


async def _look(on: Stage, car: Serving, clients: Clients, done: Round) -> None:
    """The holds are gone, it says that it is ready, the next call of each kind works, and what is
    in the file is as it must be."""
    began = asyncio.get_running_loop().time()
    done.held = await _free(on)
    done.free_after_seconds = asyncio.get_running_loop().time() - began
    ledger = await read_ledger(on.place, f"{clients.name}-")
    done.faults += wrong(ledger, clients, on.sim.journal)
    done.faults += await _resumed(on, car, clients)
    status, said = await car.text("/readyz", admin=False)
    if status != 200:
        done.faults.append(f"it is not ready: {said.strip()}")
    done.faults += await _next(car, clients)


async def _resumed(on: Stage, car: Serving, clients: Clients) -> list[str]:
    """Some sessions start again: each is given what it was given before, and nobody is asked."""
    faults, asked = [], len(on.sim.journal)
    for session in sorted({given.session for given in clients.given})[:_RESUMED]:
        for given in sorted(_first_of(clients, session), key=lambda given: given.step):
            again = await car.send(f"/r/{session}{given.path}", given.sent, clients.headers)
            if again.status == 422 or asks_human(again.body):
                break  # a human had ended it, or is waited for
            if again.body != given.body:
                faults.append(f"{session}: step {given.step} is replayed as {again.body[:80]!r}")
    if len(on.sim.journal) > asked:
        faults.append(f"{len(on.sim.journal) - asked} replays were paid for")
    return faults


def _first_of(clients: Clients, session: str) -> Sequence[Given]:
    """Of each step that was seen whole from the first one on, the first answer. Of an agent that
    acts it is not the same: what it has done is left out."""
    if any(agent.session == session for agent in clients.agents):
        return ()
    steps: dict[int, Given] = {}
    for given in clients.given:
        if given.session == session:
            steps.setdefault(given.step, given)
    whole = next(n for n in range(1, len(steps) + 2) if n not in steps)
    return [steps[n] for n in range(1, whole)]


async def _next(car: Serving, clients: Clients) -> list[str]:
    """A new session of another tenant, and one that was there when it died."""
    faults = []
    after = Clients(car, f"{clients.name}.after", random.Random(1))
    for dialect, stream in (("chat", True), ("messages", False), ("responses", True)):
        status = await after.call(dialect=dialect, stream=stream)  # type: ignore[arg-type]
        if status != 200:
            faults.append(f"the next call is answered {status}")
    if len(after.given) != 3:
        faults.append("the next calls were not answered whole")
    if clients.numbers:
        session = f"{clients.name}-{clients.draw.randint(1, clients.numbers)}"
        status = await clients.call(session=session, tokens=20)
        if status not in (200, 422):
            faults.append(f"the next call of {session} is answered {status}")
    return faults


class Targets:
    """What is aimed at next. Each innermost line at each side once, the rarest first; then each
    other way that leads there, the rarest last; in the middle of the load where it is passed often.
    What was missed is aimed at again, where it is first passed, unless it was met elsewhere.
    per_load: the loads that were counted. met: innermost lines at their sides, which others may add
    to."""

    def __init__(
        self, counts: Counter[Point], per_load: int, seed: int, met: set[Point] | None = None
    ) -> None:
        self._counts = counts
        self._per_load = per_load
        self._draw = random.Random(seed)
        self._left = deque(_order(counts, self._draw))
        self._again = deque[Point]()
        self._missed = Counter[Point]()
        self._met = set[Point]() if met is None else met

    def __bool__(self) -> bool:
        return bool(self._left)

    def next(self) -> Aim | None:
        """None where there is no point at all."""
        if self._again:
            return Aim(*self._again.popleft(), 1)
        if not self._left:
            return None
        at = self._left[0]
        self._left.rotate(-1)
        return _aim(at, self._counts, self._per_load, self._draw)

    def played(self, aim: Aim, died_at: Aim | None) -> None:
        """What came of it."""
        at = (aim.point, aim.side)
        met = (innermost(aim.point), aim.side)
        if died_at is not None:
            self._met.add(met)
        elif met not in self._met and self._missed[at] < _MOST_MISSED:
            self._missed[at] += 1
            self._again.append(at)


def _order(counts: Counter[Point], draw: random.Random) -> list[Point]:
    ways: dict[Point, list[Point]] = {}
    for point in counts:
        ways.setdefault((innermost(point[0]), point[1]), []).append(point)
    for leading in ways.values():
        draw.shuffle(leading)
        leading.sort(key=lambda at: -counts[at])
    rare_first = sorted(ways.values(), key=lambda leading: sum(counts[at] for at in leading))
    order: list[Point] = []
    depth = 0
    while len(order) < len(counts):
        order += [points[depth] for points in rare_first if depth < len(points)]
        depth += 1
    return order


def _aim(at: Point, counts: Counter[Point], per_load: int, draw: random.Random) -> Aim:
    count = counts[at] / per_load
    return Aim(*at, draw.randint(max(1, int(count / 5)), max(1, int(count * 0.7))))
