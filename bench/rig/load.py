"""Runs the load generator and reads what it says."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.rig.build import built

RIG_CORE = 1
"""The generator and the upstream share it; the server under test has core 0 for itself."""
_OVERTIME_SECONDS = 60.0


class Times(msgspec.Struct, frozen=True):
    """A distribution in µs; all None where nothing was measured."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What the generator says of one run.

    answered: whole answers, those that came after the time included. rate: whole answers within
    the time, a second. closed: connections lost under a request. partial: a 200 with something
    missing. unanswered: still under way when it gave up. example: of what went wrong.
    """

    answered: int
    rate: float
    chunks: int
    closed: int
    partial: int
    unanswered: int
    backlog_ms: float
    statuses: dict[str, int]
    latency_us: Times
    first_us: Times
    chunk_us: Times
    example: str

    @property
    def errors(self) -> int:
        """Requests that were not answered whole."""
        refused = sum(count for status, count in self.statuses.items() if status != "200")
        return refused + self.closed + self.partial + self.unanswered


@dataclass(frozen=True, slots=True)
class Load:
    """How one server is driven. bodies: more than one are the steps of a session.

    rate: requests a second; None: as many as the connections get through.
    """

    port: int
    path: str
    bodies: tuple[Path, ...]
    connections: int
    headers: tuple[str, ...] = ()
    stream: bool = False
    sessions: int = 0
    rate: float | None = None

    def argv(self, seconds: float) -> tuple[str, ...]:
        """The generator's arguments."""
        said = ["-p", str(self.port), "-u", self.path, "-c", str(self.connections)]
        said += ["-d", str(seconds)]
        for body in self.bodies:
            said += ["-b", str(body)]
        for header in self.headers:
            said += ["-H", header]
        if self.stream:
            said.append("-s")
        if self.sessions:
            said += ["-k", str(self.sessions)]
        if self.rate is not None:
            said += ["-r", str(self.rate)]
        return tuple(said)


def outcome(line: bytes) -> Outcome:
    """Reads the generator's line. Raises ValueError where it is not one."""
    try:
        return msgspec.json.decode(line, type=Outcome)
    except msgspec.DecodeError as error:
        raise ValueError(f"the load generator said {line[:200]!r}: {error}") from error


def drive(load: Load, seconds: float) -> Outcome:
    """Runs the generator on its core, and waits for it. Raises CalledProcessError, ValueError."""
    done = subprocess.run(
        ("taskset", "--cpu-list", str(RIG_CORE), str(built("load")), *load.argv(seconds)),
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + _OVERTIME_SECONDS,
    )
    return outcome(done.stdout)
