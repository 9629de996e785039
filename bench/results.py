"""What was measured, as it is kept in results.json."""

from statistics import median

import msgspec

DIRECT = "direct"
"""The upstream without anything in between: what latency is compared with."""


def direct_name(cell: str, rate: float) -> str:
    """Under which the upstream's own samples at a rate are kept."""
    return f"{cell}, {rate:g}/s"


class Sample(msgspec.Struct, frozen=True):
    """One system in one cell in one round. Times in µs, of whole answers only.

    cpu_us: CPU time of the whole process tree for each request, or for each chunk of a stream;
    None for the upstream alone. asked_rate: requests a second where the rate was fixed.
    others_share: of the core under test, what went to anything but the system, 0 to 1.
    """

    cpu_us: float | None
    rate: float
    asked_rate: float | None
    p50_us: float | None
    p99_us: float | None
    chunk_p50_us: float | None
    chunk_p99_us: float | None
    answered: int
    errors: int
    backlog_ms: float
    others_share: float
    example: str


class Measured(msgspec.Struct):
    """One system. samples: by the name of the cell. Memory in bytes."""

    name: str
    version: str
    ready_seconds: list[float] = []
    idle_bytes: list[int] = []
    peak_bytes: int = 0
    samples: dict[str, list[Sample]] = {}

    @property
    def errors(self) -> int:
        """Requests that were not answered whole, in all cells."""
        return sum(sample.errors for samples in self.samples.values() for sample in samples)


class Results(msgspec.Struct):
    """One run of the bench. missing: systems that were not measured, and why."""

    date: str
    machine: str
    command: str
    rounds: int
    seconds: float
    systems: list[Measured]
    missing: dict[str, str]

    def system(self, name: str) -> Measured | None:
        """The system of that name, if it was measured."""
        return next((each for each in self.systems if each.name == name), None)

    def others_share(self) -> "Spread | None":
        """What others took of the core under test, over all samples."""
        every = [each for system in self.systems for each in system.samples.values()]
        return spread([sample.others_share for samples in every for sample in samples])


class Spread(msgspec.Struct, frozen=True):
    """Of one figure over the rounds."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread | None:
    """None of nothing."""
    return Spread(median(values), min(values), max(values)) if values else None


def cpu(system: Measured, cell: str) -> Spread | None:
    """CPU time for each request or chunk."""
    samples = system.samples.get(cell, [])
    return spread([sample.cpu_us for sample in samples if sample.cpu_us is not None])


def rate(system: Measured, cell: str) -> Spread | None:
    """Whole answers a second."""
    return spread([sample.rate for sample in system.samples.get(cell, []) if sample.answered])


def added_ms(results: Results, system: Measured, cell: str, share: str) -> Spread | None:
    """Latency beyond the upstream's own at the same rate in the same round. share: p50, p99."""
    straight = results.system(DIRECT)
    if straight is None:
        return None
    added = []
    for number, sample in enumerate(system.samples.get(cell, [])):
        base = straight.samples.get(direct_name(cell, sample.asked_rate or 0), [])
        here = sample.p50_us if share == "p50" else sample.p99_us
        if number < len(base) and here is not None:
            there = base[number].p50_us if share == "p50" else base[number].p99_us
            added.append((here - there) / 1000 if there is not None else 0.0)
    return spread(added)


def ratio(figure: Spread | None, base: Spread | None) -> float | None:
    """How many times the base a figure is."""
    return figure.median / base.median if figure and base and base.median else None
