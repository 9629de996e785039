"""`python -m tests.faults`: a line for each cell; 1 where a promise was broken."""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import uvloop

from proxy.clock import SystemClock
from proxy.core.request import DialectName
from tests.faults.cases import cases, cuts
from tests.faults.cells import FALLBACKS, Cell, Seen, play
from tests.faults.promises import broken
from tests.faults.providers import borders
from tests.integration.kit import DIALECTS

_AT_ONCE = 10
_HEAD = (
    f"{'case':32} {'dialect':9} {'kind':6} {'fallback':10} {'the client got':28} {'by':6} "
    f"{'asked':>7} {'billed':>6} {'booked':>6} {'failed':>6} {'s':>5}"
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--dialect", choices=DIALECTS)
    parser.add_argument("--fallback", choices=FALLBACKS)
    parser.add_argument("--at-once", type=int, default=_AT_ONCE, help="cells")
    parser.add_argument("--broken", action="store_true", help="show only these")
    return parser.parse_args()


async def all_cells(now: float) -> list[Cell]:
    """The whole matrix."""
    found = []
    for dialect in DIALECTS:
        own: DialectName = dialect
        for case in (*cases(now), *cuts(await borders(own))):
            for stream in case.streamed:
                found += [Cell(case, own, stream, fallback) for fallback in FALLBACKS]
    return found


def chosen(cells: Iterable[Cell], asked: argparse.Namespace) -> Iterator[Cell]:
    """Those that were asked for."""
    for cell in cells:
        fits = asked.only.lower() in cell.case.name.lower()
        fits &= asked.dialect in (None, cell.dialect)
        if fits and asked.fallback in (None, cell.fallback):
            yield cell


def shown(cell: Cell, seen: Seen) -> str:
    """One line."""
    got = f"{seen.status} {seen.read.ending}"
    if seen.read.ending in ("error", "stream error"):
        got += f" {seen.read.code}"
    asked = "+".join("?" if n is None else str(n) for n in seen.attempts.values())
    return (
        f"{cell.case.name:32} {cell.dialect:9} {('whole', 'stream')[cell.stream]:6}"
        f" {cell.fallback:10} {got:28.28} {seen.served:6} {asked:>7} {seen.billed:6}"
        f" {seen.booked:6} {seen.failed_cost:6} {seen.seconds:5.2f}"
    )


async def played(cells: Sequence[Cell], at_once: int = _AT_ONCE) -> list[tuple[Cell, Seen]]:
    """Plays them, several at once; in their order."""
    return [pair async for pair in _played(cells, at_once)]


async def _played(cells: Sequence[Cell], at_once: int) -> AsyncIterator[tuple[Cell, Seen]]:
    few = asyncio.Semaphore(at_once)

    async def one(cell: Cell) -> Seen:
        async with few:
            return await play(cell)

    playing = [(cell, asyncio.ensure_future(one(cell))) for cell in cells]
    for cell, task in playing:
        yield cell, await task


async def run(asked: argparse.Namespace) -> int:
    """Plays what was asked for, and tells of each cell as soon as it can."""
    cells = list(chosen(await all_cells(SystemClock().now()), asked))
    endings: Counter[str] = Counter()
    faults = 0
    print(_HEAD)
    async for cell, seen in _played(cells, asked.at_once):
        wrong = broken(cell, seen)
        faults += len(wrong)
        endings[seen.read.ending] += 1
        if wrong or not asked.broken:
            print(shown(cell, seen))
        for why in wrong:
            print(f"    BROKEN: {why}", flush=True)
    print(f"{len(cells)} cells: {dict(endings)}; {faults} broken promises")
    return 1 if faults else 0


def main() -> int:
    """0 if every promise was kept."""
    logging.getLogger("proxy").addHandler(logging.NullHandler())  # here every breaker opens
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(_arguments()))


if __name__ == "__main__":
    sys.exit(main())
