"""Servers under test: started on one core, read from outside, stopped while others are measured."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STOP_SECONDS = 5.0


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def end_cleanly() -> None:
    """Makes SIGTERM an exit like any other, in which servers are stopped, not left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def core_busy_ns(core: int) -> int:
    """For how long a core has run anybody's processes, or been taken from this machine.

    In ticks of 10 ms; without interrupts, which serve the load itself.
    """
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, stolen = (int(fields[place]) for place in (1, 2, 3, 8))
    return (user + nice + system + stolen) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a whole process tree, in bytes. Pages that its processes share count once.

    peak is the sum of what each process had at its most, since its start.
    """

    now: int
    peak: int


class Server:
    """A process with all that it started, on one core.

    Made by its constructor, ended by `stop`; until then its output goes to the file `log`.
    """

    def __init__(
        self, argv: tuple[str, ...], core: int, cwd: Path, env: Mapping[str, str], log: Path
    ) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ("taskset", "--cpu-list", str(core), *argv),
                cwd=cwd,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def cpu_ns(self) -> int:
        """CPU time of the tree so far, threads that have ended included."""
        return sum(_cpu_ns(pid) for pid in self._tree())

    def memory(self) -> Memory:
        """What the tree holds now, and held at its most."""
        pids = tuple(self._tree())
        shared = len(pids) > 1
        now = sum(_kilobytes(pid, "smaps_rollup", "Pss:") if shared else _rss(pid) for pid in pids)
        peak = sum(_kilobytes(pid, "status", "VmHWM:") for pid in pids)
        if shared:  # what is shared cannot be told of a peak: as much as is shared now
            peak -= sum(map(_rss, pids)) - now
        return Memory(now * 1024, peak * 1024)

    def pause(self) -> None:
        """Stops it where it is, so that it takes no core from the others."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ends it: asks first."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGTERM)
            self.resume()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _tree(self) -> Iterator[int]:
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))):
                parents[int(entry)] = int(fields[1])
        found = [self.pid]
        for pid in found:  # grows while it is walked
            yield pid
            found += [child for child, parent in parents.items() if parent == pid]


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything; empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_ns(pid: int) -> int:
    """The process's own CPU clock: exact to the nanosecond where /proc counts ticks of 10 ms.

    The number is how Linux names the clock of another process (CPUCLOCK_SCHED, as
    clock_getcpuclockid makes it, which Python does not offer).
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def _rss(pid: int) -> int:
    return _kilobytes(pid, "status", "VmRSS:")


def _kilobytes(pid: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
