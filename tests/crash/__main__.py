"""`python -m tests.crash`: kills a sidecar at each point, and looks what is left; 1 where something
is not as it must be."""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from tests.crash.points import Aim, innermost
from tests.crash.rounds import Found, Point, Round, discover, plan, play, stage
from tests.crash.steps import DEEDS, killed_at
from tests.crash.tails import played

_ROUNDS_A_FOLDER: Final = 10
_LOADS: Final = 3
_WORKER_ROUNDS: Final = 8
"""One in so many is of two workers, one of which is killed."""


def main() -> int:
    """Plays what was asked for."""
    asked = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    asked.add_argument("--list", action="store_true", help="the points, and how often passed")
    asked.add_argument("--ways", action="store_true", help="with the lines that lead to each")
    asked.add_argument("--rounds", type=int, default=200)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--steps", action="store_true", help="each step of what a store does alone")
    asked.add_argument("--tails", action="store_true", help="the end of a WAL, cut at each byte")
    asked.add_argument("--only", default="", help="points whose name contains this")
    arguments = asked.parse_args()
    logging.getLogger("aiohttp.server").disabled = True  # the provider's, whose client dies
    if arguments.steps or arguments.tails:
        return _steps() if arguments.steps else _tails()
    found = asyncio.run(_discover(arguments.seed))
    if arguments.list:
        _list(found, ways=arguments.ways)
        return 0
    done = asyncio.run(_all(found, arguments.rounds, arguments.seed, arguments.only))
    return _tell(done, found)


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


async def _discover(seed: int) -> Found:
    with tempfile.TemporaryDirectory() as name:
        async with stage(Path(name)) as on:
            return await discover(on, _LOADS, seed)


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


async def _all(found: Found, rounds: int, seed: int, only: str) -> list[Round]:
    aims = _aims(found, rounds, seed, only)
    done: list[Round] = []
    for first in range(0, rounds, _ROUNDS_A_FOLDER):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            async with stage(Path(one)) as alone, stage(Path(two), workers=2) as crew:
                for number in range(first, min(first + _ROUNDS_A_FOLDER, rounds)):
                    aim, start = aims[number]
                    is_crew = not start and number % _WORKER_ROUNDS == _WORKER_ROUNDS - 1
                    on = crew if is_crew else alone
                    played = await play(on, number, aim, seed, start=start)
                    _line(played, on.workers, start=start)
                    done.append(played)
    return done


def _aims(found: Found, rounds: int, seed: int, only: str) -> list[tuple[Aim | None, bool]]:
    """Of the loads, and one in four of the starts; one in ten is a random moment."""
    loads, starts = (
        Counter({point: n for point, n in counts.items() if only in point[0]})
        for counts in (found.load, found.start)
    )
    load = iter(plan(loads, rounds, _LOADS, seed))
    start = iter(plan(starts, rounds, 3, seed))
    aims: list[tuple[Aim | None, bool]] = []
    for number in range(rounds):
        if starts and number % 4 == 3:
            aims.append((next(start), True))
        else:
            aims.append((None if number % 10 == 9 else next(load, None), False))
    return aims


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


def _tell(done: list[Round], found: Found) -> int:
    died = {(innermost(d.died_at.point), d.died_at.side) for d in done if d.died_at is not None}
    known = {(innermost(p), side) for c in (found.load, found.start) for p, side in c}
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
