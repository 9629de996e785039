"""`python -m bench`: Holdfast and its peers under the same load, side by side."""

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.cells import CELLS, Cell
from bench.measure import NotReady, Running, direct, measure, start, start_upstream
from bench.peers import SYSTEMS
from bench.peers.systems import System
from bench.places import BENCH, BUILD, ROOT
from bench.process import end_cleanly
from bench.profile import profile
from bench.report import between_markers, caption, document, summary_table, wrong
from bench.results import Results

CORES = 2
_QUIET_SHARE = 0.05
_MORE = "[Every figure](bench/results.md)."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs: 2 minutes, rough figures")
    parser.add_argument("--only", metavar="NAMES", help="these systems, separated by commas")
    parser.add_argument("--cells", metavar="NAMES", help="these cells, separated by commas")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, quick 1")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each run; 2, quick 0.5")
    parser.add_argument("--starts", type=int, metavar="N", help="of each system; 5, quick 1")
    parser.add_argument("--profile", action="store_true", help="py-spy on Holdfast in each cell")
    args = parser.parse_args(argv)
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (0.5 if args.quick else 2.0)
    args.starts = args.starts or (1 if args.quick else 5)
    args.cells = _chosen(parser, "--cells", args.cells, [cell.name for cell in CELLS])
    args.only = _chosen(parser, "--only", args.only, [system.name for system in SYSTEMS])
    return args


def _chosen(
    parser: argparse.ArgumentParser, option: str, said: str | None, known: Sequence[str]
) -> list[str]:
    if said is None:
        return list(known)
    asked = said.split(",")
    if strange := set(asked) - set(known):
        parser.error(f"{option}: {', '.join(strange)}: not one of {', '.join(known)}")
    return [name for name in known if name in asked]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes. 1: nothing could be measured, or answers were not whole."""
    args = arguments(argv)
    if problem := unfit():
        print(problem, file=sys.stderr)
        return 1
    end_cleanly()
    BUILD.mkdir(exist_ok=True)
    cells = [cell for cell in CELLS if cell.name in args.cells]
    upstream, port = start_upstream()
    running = [direct(port)]
    results = Results(
        date=time.strftime("%Y-%m-%d"),
        machine=machine(),
        command=" ".join(("python -m bench", *(sys.argv[1:] if argv is None else argv))),
        rounds=args.rounds,
        seconds=args.seconds,
        systems=[],
        missing={},
    )
    try:
        chosen = [system for system in SYSTEMS if system.name in args.only]
        running += started(chosen, port, args.starts, results.missing)
        results.systems = [each.measured for each in running]
        run_rounds(running, cells, args.rounds, args.seconds)
        for each in running:
            each.measure_peak()
        if args.profile:
            profile_all(running, cells)
    finally:
        for each in running:
            each.stop()
        upstream.stop()
    write(results, whole=not args.quick and chosen == list(SYSTEMS) and cells == list(CELLS))
    return 1 if wrong(results) or len(running) == 1 else 0


def unfit() -> str | None:
    """What this machine lacks."""
    lacking = [name for name in ("cc", "taskset") if shutil.which(name) is None]
    if lacking:
        return f"the bench needs {' and '.join(lacking)}"
    if len(os.sched_getaffinity(0)) < CORES:
        return "the bench needs two cores: one for the system under test, one for the load"
    return None


def machine() -> str:
    """The processor, its cores, the kernel, and the Python that runs Holdfast."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    whose = "the system's" if sys.base_prefix == "/usr" else "its own build"
    python = f"CPython {platform.python_version()} ({whose})"
    return f"{names[0] if names else '?'}, {len(names)} cores, Linux {platform.release()}, {python}"


def started(
    systems: Sequence[System], upstream_port: int, starts: int, missing: dict[str, str]
) -> list[Running]:
    """Those that could be started, paused; the others are put into `missing`."""
    running = []
    for system in systems:
        program = system.program()
        if program is None:
            missing[system.name] = "not installed: bench/peers.sh"
        else:
            try:
                running.append(start(system, program, upstream_port, starts))
            except NotReady as error:
                missing[system.name] = " ".join(str(error).split())
        _say(f"{system.name}: {missing.get(system.name, 'ready')}")
    return running


def run_rounds(
    running: Sequence[Running], cells: Sequence[Cell], rounds: int, seconds: float
) -> None:
    """Every system in every cell, in turns; each round begins with another system."""
    for number in range(rounds):
        turn = number % len(running)
        for cell in cells:
            _say(f"round {number + 1} of {rounds}: {cell.title}")
            for each in (*running[turn:], *running[:turn]):
                measure(each, cell, seconds)


def profile_all(running: Sequence[Running], cells: Sequence[Cell]) -> None:
    """Holdfast's stacks in each cell."""
    for each in running:
        if each.measured.name == "holdfast":
            for cell in cells:
                _say(f"stacks: {profile(each, cell)}")


def write(results: Results, whole: bool) -> None:
    """Prints the document; a whole run is kept in the repository, others in .build."""
    place = BENCH if whole else BUILD
    (place / "results.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
    )
    text = document(results)
    (place / "results.md").write_text(text)
    if whole:
        readme = ROOT / "README.md"
        section = f"{summary_table(results)}\n\n{caption(results)} {_MORE}"
        readme.write_text(between_markers(readme.read_text(), section))
    print(text)
    for line in wrong(results):
        print(f"NOT WHOLE: {line}")
    others = results.others_share()
    if others is not None and others.median > _QUIET_SHARE:
        _say(f"others took {others.median:.0%} of the core: measure again on a quiet machine")
    _say(f"written to {place}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
