"""`python -m tests.crash`: kills a sidecar at each point, and looks what is left; 1 where something
is not as it must be."""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

from tests.crash.points import innermost
from tests.crash.redis import in_redis
from tests.crash.rounds import Found, Point, Round, Stage, Targets, discover, play, stage
from tests.crash.steps import DEEDS, killed_at
from tests.crash.tails import played

_ROUNDS_A_FOLDER: Final = 10
_LOADS: Final = 3
_WORKER_ROUNDS: Final = 8
"""One in so many is of two workers, one of which is killed: it may not come to what is aimed at."""
_START_ROUNDS: Final = 4
"""One in so many is of a start after a crash."""
_STARTS: Final = 3
"""A start passes a point as often as another one, or not at all: what it has to do differs."""


def main() -> int:
    """Plays what was asked for."""
    asked = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    asked.add_argument("--list", action="store_true", help="the points, and how often passed")
    asked.add_argument("--ways", action="store_true", help="with the lines that lead to each")
    asked.add_argument("--rounds", type=int, default=200)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    asked.add_argument("--steps", action="store_true", help="each step of what a store does alone")
    asked.add_argument("--tails", action="store_true", help="the end of a WAL, cut at each byte")
    asked.add_argument("--only", default="", help="points whose name contains this")
    arguments = asked.parse_args()
    logging.getLogger("aiohttp.server").disabled = True  # the provider's, whose client dies
    if arguments.steps or arguments.tails:
        return _steps() if arguments.steps else _tails()
    found = asyncio.run(_discover(arguments.store, arguments.seed))
    if arguments.list:
        _list(found, ways=arguments.ways)
        return 0
    return _tell(asyncio.run(_all(found, arguments)), found, arguments.only)


def _steps() -> int:
    """Opening, migrating, closing, purging, deleting, restoring."""
    deaths, faults = 0, list[str]()
    for deed in DEEDS:
        with tempfile.TemporaryDirectory() as name:
            told = list(killed_at(deed, Path(name)))
        wrong = [fault for _, some in told for fault in some]
        print(f"{deed.name}: {len(told)} steps, {len(wrong)} faults", flush=True)
        deaths, faults = deaths + 2 * len(told), faults + wrong
    print("\n".join(faults[:20]) or f"{deaths} deaths, no fault")
    return 1 if faults else 0


def _tails() -> int:
    with tempfile.TemporaryDirectory() as name:
        told = list(played(Path(name)))
    faults = [fault for _, some in told for fault in some]
    print("\n".join(faults[:20]) or f"{len(told)} tails, no fault")
    return 1 if faults else 0


async def _discover(store: str, seed: int) -> Found:
    with tempfile.TemporaryDirectory() as name:
        async with _stage(store, Path(name)) as on:
            return await discover(on, _LOADS, seed)


@asynccontextmanager
async def _stage(store: str, folder: Path, workers: int = 1) -> AsyncIterator[Stage]:
    with in_redis(folder) if store == "redis" else nullcontext(None) as place:
        async with stage(folder, workers, place) as on:
            yield on


def _list(found: Found, *, ways: bool) -> None:
    for title, counts in (("in a load", found.load), ("in a start after a crash", found.start)):
        merged: Counter[Point] = Counter()
        many: Counter[Point] = Counter()
        for (point, side), count in counts.items():
            name = point if ways else innermost(point)
            merged[name, side] += count
            many[name, side] += 1
        print(f"{title}: {len(merged)} points, {len(counts)} with the ways that lead there")
        for (name, side), count in sorted(merged.items()):
            print(f"  {side:8} {name}  ({count} times, {many[name, side]} ways)")


async def _all(found: Found, asked: argparse.Namespace) -> list[Round]:
    rounds, seed, only, store = asked.rounds, asked.seed, asked.only, asked.store
    met = set[Point]()
    loads, starts = (
        Targets(Counter({at: n for at, n in counts.items() if only in at[0]}), per, seed, met)
        for counts, per in ((found.load, _LOADS), (found.start, _STARTS))
    )
    done: list[Round] = []
    for first in range(0, rounds, _ROUNDS_A_FOLDER):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            async with _stage(store, Path(one)) as alone, _stage(store, Path(two), 2) as crew:
                for number in range(first, min(first + _ROUNDS_A_FOLDER, rounds)):
                    is_start = bool(starts) and number % _START_ROUNDS == _START_ROUNDS - 1
                    is_crew = not is_start and number % _WORKER_ROUNDS == _WORKER_ROUNDS - 2
                    targets, on = (starts if is_start else loads), (crew if is_crew else alone)
                    aim = None if number % 10 == 9 and not is_start else targets.next()
                    played = await play(on, number, aim, seed, start=is_start)
                    if aim is not None:
                        targets.played(aim, played.died_at)
                    _line(played, on.workers, start=is_start)
                    done.append(played)
    return done


def _line(done: Round, workers: int, *, start: bool) -> None:
    aim = done.aim
    where = "a random moment" if aim is None else f"{aim.side} {innermost(aim.point)} #{aim.nth}"
    how = "2 workers" if workers > 1 else "start" if start else "load"
    hit = "" if aim is None or done.died_at else " (not reached)"
    print(
        f"{done.number:4} {how:9} {where}{hit}: {done.given} answers, {done.held} held,"
        f" free after {done.free_after_seconds:.2f} s, {len(done.faults)} faults",
        flush=True,
    )
    for fault in done.faults[:12]:
        print(f"       {fault}", flush=True)


def _tell(done: list[Round], found: Found, only: str) -> int:
    died = {(innermost(d.died_at.point), d.died_at.side) for d in done if d.died_at is not None}
    aimed = [at for counts in (found.load, found.start) for at in counts if only in at[0]]
    known = {(innermost(point), side) for point, side in aimed}
    faults = sum(len(d.faults) for d in done)
    print(
        f"{len(done)} rounds, {sum(d.died_at is not None for d in done)} died where they were to;"
        f" {len(died & known)} of {len(known)} points; {sum(d.given for d in done)} answers seen"
        f" whole, {sum(d.held for d in done)} holds left behind, the longest for"
        f" {max(d.free_after_seconds for d in done):.2f} s; {faults} faults"
    )
    for name, side in sorted(known - died):
        print(f"  not died at: {side} {name}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
