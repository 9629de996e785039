"""`python -m tests.fuzz`: attacks a sidecar with what chance makes of real requests and answers."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.fuzz.campaign import SIDES, Outcome, campaign
from tests.fuzz.cases import Fuzzer
from tests.fuzz.policies import fuzz_policies

_SHOWN = 40
_SLICES = (*(name for side in SIDES for name in side), "policy")
_POLICIES_PER_REQUEST = 20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="cases in all")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same cases")
    parser.add_argument("--parallel", type=int, default=32, help="connections at once")
    parser.add_argument("--only", default=",".join(_SLICES), help="slices, by comma")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - {*_SLICES}
    if unknown:
        parser.error(f"no such slice: {', '.join(sorted(unknown))}")
    return arguments


def _show(outcome: Outcome, seconds: float) -> None:
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(outcome.statuses.items()))
    memory = [f"{size / 2**20:.0f}" for size in outcome.memory_bytes]
    step = max(1, len(memory) // 12)
    print(f"{outcome.cases} cases in {seconds:.0f} s, {outcome.cases / seconds:.0f}/s")
    print(f"answers: {statuses}")
    print(
        f"sent to the provider: {outcome.sent}; billed {outcome.billed_micro_usd} micro-USD, "
        f"booked {outcome.booked_micro_usd}; {outcome.sessions} sessions"
    )
    print(f"memory: {' '.join(memory[::step])} MB; {outcome.growth:+.1%} over the second half")


def main() -> int:
    """0 if nothing was found."""
    arguments = _arguments()
    only = arguments.only.split(",")
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        if "policy" in only:
            faults += _policies(arguments, Path(name))
        sides = [{n: f for n, f in side.items() if n in only} for side in SIDES]
        count = sum(map(len, sides))
        for number, side in enumerate(side for side in sides if side):
            folder = Path(name, str(number))
            folder.mkdir()
            faults += _campaign(arguments, folder, side, arguments.requests * len(side) // count)
    for fault in sorted(faults, key=lambda said: not said.startswith("log"))[:_SHOWN]:
        print(fault)
    print(f"{len(faults)} faults" if faults else "no faults")
    return 1 if faults else 0


def _policies(arguments: argparse.Namespace, folder: Path) -> list[str]:
    count = max(100, arguments.requests // _POLICIES_PER_REQUEST)
    began = time.perf_counter()
    faults = fuzz_policies(arguments.seed, count, folder)
    print(f"policy: {count} files in {time.perf_counter() - began:.0f} s")
    return faults


def _campaign(
    arguments: argparse.Namespace, folder: Path, side: dict[str, Fuzzer], count: int
) -> list[str]:
    began = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(campaign(folder, arguments.seed, count, side, arguments.parallel))
    print(", ".join(side), end=": ")
    _show(outcome, time.perf_counter() - began)
    return outcome.faults


if __name__ == "__main__":
    sys.exit(main())
