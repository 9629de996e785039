"""`python -m tests.soak`: prints what it measured; 1 where a bound was passed."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.soak.sessions import Lived, soak_sessions
from tests.soak.streams import Streamed, soak_streams

MOST_GROWTH = 0.05
"""Of the memory, once all caches are full."""
_WRITES_PER_SECOND = 60


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="at once; 0: none")
    parser.add_argument("--minutes", type=float, default=0.5, help="that each stream lasts")
    parser.add_argument("--sessions", type=int, default=2_000, help="0: none")
    parser.add_argument("--steps", type=int, default=20, help="of each session")
    return parser.parse_args()


def faults_of_streams(done: Streamed) -> list[str]:
    """What must not be."""
    faults = []
    if done.through.whole != done.streams or done.alone.whole != done.streams:
        faults.append(f"{done.through.whole} of {done.streams} streams ended whole")
    if done.holds_left:
        faults.append(f"{done.holds_left} holds are left")
    return faults


def faults_of_sessions(done: Lived, sessions: int) -> list[str]:
    """What must not be. A short run has no plateau to speak of."""
    faults = []
    if done.refused or done.torn or done.found != sessions:
        faults.append(
            f"{done.refused} refused, {done.found} of {sessions} sessions found, {done.torn} torn"
        )
    if len(done.samples) > 10 and done.growth > MOST_GROWTH:
        faults.append(f"memory grew by {done.growth:.1%} on the plateau")
    return faults


def _show_streams(done: Streamed, seconds: float) -> None:
    beside = done.through.beside(done.checkpoints)
    most = [f"{size / 2**20:.0f}" for size in done.memory_bytes]
    print(f"{done.streams} streams for {seconds:.0f} s, an event each 0.5 to 1 s")
    print(f"  without a sidecar   {done.alone.shown()}")
    print(f"  through the sidecar {done.through.shown()}")
    print(f"  beside {len(done.checkpoints)} checkpoints {beside.shown()}")
    peak = max(done.memory_bytes) - done.memory_bytes[0]
    print(f"  memory {' '.join(most)} MB: {peak / 1024 / done.streams:.1f} KB a stream")
    chunks = max(1, len(done.through.came))
    print(f"  {done.cpu_seconds / chunks * 1e6:.0f} µs of CPU a chunk, all else included")


def _show_sessions(done: Lived, sessions: int) -> None:
    steps, rate = done.steps // sessions, done.steps / done.seconds
    cpu = done.cpu_seconds / done.steps * 1e6
    print(f"{sessions} sessions of {steps} steps, {rate:.0f} steps/s, {cpu:.0f} µs of CPU each")
    told = " ".join(f"{s.sessions}:{s.memory_bytes / 2**20:.0f}" for s in done.samples)
    print(f"  memory in MB by sessions ended: {told}")
    each = done.bytes_per_session / 1024
    print(f"  {each:.1f} KB for each of {done.in_memory} sessions at hand")
    disk = done.file_bytes / done.steps
    print(f"  {done.growth:+.1%} on the plateau; {disk:.0f} bytes of file a step")


async def _soak(arguments: argparse.Namespace, folder: Path) -> list[str]:
    faults: list[str] = []
    if arguments.streams:
        (folder / "streams").mkdir()
        seconds = arguments.minutes * 60
        streamed = await soak_streams(
            folder / "streams", arguments.streams, seconds, _WRITES_PER_SECOND
        )
        _show_streams(streamed, seconds)
        faults += faults_of_streams(streamed)
    if arguments.sessions:
        (folder / "sessions").mkdir()
        lived = await soak_sessions(folder / "sessions", arguments.sessions, arguments.steps)
        _show_sessions(lived, arguments.sessions)
        faults += faults_of_sessions(lived, arguments.sessions)
    return faults


def main() -> int:
    """0 if every bound held."""
    arguments = _arguments()
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        faults = runner.run(_soak(arguments, Path(name)))
    print("\n".join(faults) or "all bounds held")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
