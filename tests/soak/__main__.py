"""`python -m tests.soak streams` and `… sessions`: prints what it measured; 1 where a bound was
passed. Each takes some minutes and never more than ten."""

import argparse
import asyncio
import gc
import os
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.soak.checkpoints import Checkpoints
from tests.soak.sessions import Lived, soak_sessions
from tests.soak.streams import Load, Streamed, through, without

MOST_GROWTH = 0.05
"""Of the memory, once all caches are full."""
MOST_LATE_MS = 50.0
"""One chunk in a thousand, beside others' load on the same machine."""
LATER_BY_MS = 5.0
"""So much later than others may one chunk in a thousand be that comes beside a checkpoint."""
_ALONE_SECONDS = 20.0
_NEVER_SECONDS = 60.0
_MOST_SECONDS = 400.0
_SAMPLES_FOR_A_PLATEAU = 10


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    halves = parser.add_subparsers(dest="half", required=True)
    streams = halves.add_parser("streams", help="many at once, with checkpoints and without")
    streams.add_argument("--streams", type=int, default=2_000, help="at once")
    streams.add_argument("--minutes", type=float, default=5, help="for which they are there")
    streams.add_argument("--writes", type=int, default=100, help="other calls a second")
    sessions = halves.add_parser("sessions", help="many after one another, with growing histories")
    sessions.add_argument("--sessions", type=int, default=20_000)
    sessions.add_argument("--steps", type=int, default=20, help="of each session")
    sessions.add_argument("--seconds", type=float, default=540, help="after which none is begun")
    arguments = parser.parse_args()
    if arguments.half == "streams" and arguments.minutes * 60 > _MOST_SECONDS:
        parser.error(f"--minutes: at most {_MOST_SECONDS / 60:.1f}")
    return arguments


def faults_of_streams(done: Streamed) -> list[str]:
    """What must not be. Only a long run has a plateau to speak of, and delays to compare."""
    faults = []
    if done.came.whole != done.came.begun:
        faults.append(f"{done.came.whole} of {done.came.begun} streams ended whole")
    if done.holds:
        faults.append(f"{done.holds} holds are left")
    if len(done.memory_bytes) > _SAMPLES_FOR_A_PLATEAU:
        if done.came.at(0.999) > MOST_LATE_MS:
            faults.append(f"chunks are late: p99.9 {done.came.at(0.999):.1f} ms")
        beside, away = done.came.split(done.checkpoints)
        if beside.at(0.999) > away.at(0.999) + LATER_BY_MS:
            faults.append(f"checkpoints delay: p99.9 {beside.at(0.999):.1f} ms beside one")
        if done.growth > MOST_GROWTH:
            faults.append(f"memory grew by {done.growth:.1%} in the second half")
    return faults


def faults_of_sessions(done: Lived) -> list[str]:
    """What must not be. A short run has no plateau to speak of."""
    faults = []
    if done.refused or done.torn or done.found != done.asked:
        faults.append(
            f"{done.refused} refused, {done.found} of {done.asked} sessions found, {done.torn} torn"
        )
    if len(done.plateau) > _SAMPLES_FOR_A_PLATEAU and done.growth > MOST_GROWTH:
        faults.append(f"memory grew by {done.growth:.1%} on the plateau")
    return faults


def _megabytes(size: float) -> str:
    return f"{size / 2**20:.0f}"


def _show_streams(name: str, done: Streamed) -> None:
    beside, away = done.came.split(done.checkpoints)
    seconds = sum(end - began for began, end in done.checkpoints)
    print(f"{name}: {done.came.shown()}")
    if len(beside):
        longest = max(end - began for began, end in done.checkpoints)
        print(
            f"  {len(done.checkpoints)} checkpoints of {seconds:.1f} s in all, the longest"
            f" {longest * 1e3:.0f} ms"
        )
        print(f"  beside one: {beside.shown()}")
        print(f"  away from them: {away.shown()}")
    print(f"  memory {' '.join(map(_megabytes, done.memory_bytes))} MB")
    print(
        f"  {done.bytes_per_stream / 1024:.1f} KB a stream, {done.growth:+.1%} in the second half;"
        f" {done.busy:.0%} of a core, and {done.waited:.1%} of the time it waited for one",
        flush=True,
    )


async def _streams(arguments: argparse.Namespace, folder: Path) -> list[str]:
    seconds = arguments.minutes * 60
    faults = []
    long, short, shortest = (
        Load(arguments.streams, min(seconds, most), arguments.writes)
        for most in (_MOST_SECONDS, _NEVER_SECONDS, _ALONE_SECONDS)
    )
    print(
        f"{arguments.streams} streams, a chunk each 0.5 to 1 s, {arguments.writes} writers' calls/s"
    )
    alone = await without(shortest)
    print(f"without a sidecar, {shortest.seconds:.0f} s: {alone.shown()}", flush=True)
    runs: tuple[tuple[str, Load, Checkpoints], ...] = (
        ("never", short, "never"),
        ("as they are", long, "watched"),
    )
    for name, load, checkpoints in runs:
        (folder / checkpoints).mkdir()
        done = await through(folder / checkpoints, load, checkpoints, *_core())
        _show_streams(f"checkpoints {name}, {load.seconds:.0f} s", done)
        faults += faults_of_streams(done)
    return faults


async def _sessions(arguments: argparse.Namespace, folder: Path) -> list[str]:
    done = await soak_sessions(
        *(folder, arguments.sessions, arguments.steps, *_core()), most_seconds=arguments.seconds
    )
    calls = sum(sample.sessions for sample in done.samples[-1:]) * done.steps
    print(
        f"{done.asked} sessions of {done.steps} steps: {calls} calls in {done.seconds:.0f} s,"
        f" {done.cpu_seconds / max(1, calls) * 1e6:.0f} µs of CPU each"
    )
    step = max(1, len(done.samples) // 30)
    told = (f"{one.sessions}:{_megabytes(one.memory_bytes)}" for one in done.samples[::step])
    print(f"  memory in MB by sessions ended: {' '.join(told)}")
    print(
        f"  {done.bytes_per_session_at_hand / 1024:.1f} KB for each of {done.at_hand} at hand;"
        f" on the plateau {done.growth:+.1%},"
        f" {done.bytes_per_session_ended / 1024:+.3f} KB for each that ended"
    )
    print(f"  {done.file_bytes / max(1, calls):.0f} bytes of file a step")
    return faults_of_sessions(done)


def _core() -> tuple[str, ...]:
    """The sidecar has a core for itself; this process, which is the rig, the other."""
    return ("--core=0",) if len(os.sched_getaffinity(0)) < (os.cpu_count() or 1) else ()


def main() -> int:
    """0 if every bound held."""
    arguments = _arguments()
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    gc.disable()  # a collection here would be a delay there
    run = _streams if arguments.half == "streams" else _sessions
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        faults = runner.run(run(arguments, Path(name)))
    print("\n".join(faults) or "all bounds held")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
