"""A provider that is down for a while, under a steady load."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from tests.storm.clients import Call, percentile
from tests.storm.provider import Manner, Provider
from tests.storm.stage import Stage, stage

_ANSWER_SECONDS = 0.005
_BACK = 0.95
"""Of the calls in a second: then traffic is back."""
_TOGETHER = 0.3
"""Of an open period: probes nearer to each other are one herd."""
FLOOR = 10
"""Retries that are allowed before any call has earned some."""
_SLICE_SECONDS = 1.0
"""Whether traffic is back is looked at in pieces of this length."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What is asked. seconds: for which it is down. rate: calls a second."""

    seconds: float = 60.0
    rate: float = 200.0
    workers: int = 1
    fallback: bool = True
    open_seconds: float = 15.0
    well_seconds: float = 5.0
    ratio: float = 0.1


@dataclass(slots=True)
class Night:
    """What it came to while the provider was down: attempts at both providers, at the first one
    before its breaker opened (`until_open`) and in each of its `probes`; how many calls failed;
    then after how many seconds traffic was back."""

    asked: Outage
    calls: int = 0
    attempts: int = 0
    until_open: int = 0
    opened_after_seconds: float = 0.0
    probes: list[int] = field(default_factory=list)
    failed: int = 0
    median_ms: float = 0.0
    back_seconds: float | None = None

    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        most = (1 + self.asked.ratio) * self.calls + sum(self.probes) + FLOOR
        if self.attempts > most:
            found.append(f"{self.attempts} attempts, more than {most:.0f}")
        if any(probe > 1 for probe in self.probes):
            found.append(f"a herd of probes: {self.probes}")
        if not self.probes and self.asked.seconds > 2 * self.asked.open_seconds:
            found.append("nothing probed the provider, or its breaker never opened")
        period = self.asked.open_seconds
        if self.back_seconds is None or self.back_seconds > 2 * period + _SLICE_SECONDS:
            found.append(f"back after {self.back_seconds} s of periods of {period} s")
        if self.asked.fallback and self.failed:
            found.append(f"{self.failed} calls failed in spite of a fallback")
        return found

    def shown(self) -> str:
        """In words."""
        back = "never" if self.back_seconds is None else f"{self.back_seconds:.1f} s"
        return (
            f"{self.calls} calls while down: {self.attempts} attempts upstream"
            f" ({self.attempts / max(1, self.calls):.3f} a call), {self.until_open} at the first"
            f" provider in the {self.opened_after_seconds:.2f} s until its breaker opened, then"
            f" probes {self.probes}; {self.failed} calls failed, median {self.median_ms:.1f} ms;"
            f" back {back} after it was well (open period {self.asked.open_seconds:g} s)"
        )


async def outage(asked: Outage) -> Night:
    """The provider is well, then down, then well again."""
    down: list[float] = []

    def manner(_: int) -> Manner:
        is_down = bool(down) and down[0] <= perf_counter() < down[0] + asked.seconds
        return Manner(_ANSWER_SECONDS, down=is_down)

    first = Provider("first", manner)
    second = Provider("second", lambda _: Manner(_ANSWER_SECONDS))
    route = ", fallback: [second]" if asked.fallback else ""
    longest = 2 * asked.open_seconds  # as in the default policy
    more = (
        f"breakers: {{open_seconds: {asked.open_seconds}, open_seconds_max: {longest}}}\n"
        f"retries: {{ratio: {asked.ratio}}}"
    )
    async with stage(first, second, workers=asked.workers, route=route, more=more) as on:
        await on.callers.at_rate(asked.rate, asked.well_seconds)
        down.append(perf_counter())
        await on.callers.at_rate(asked.rate, asked.seconds)
        night = _night(asked, on, down[0])
        night.back_seconds = await _back(asked, on, down[0] + asked.seconds, asked.open_seconds)
        return night


def _night(asked: Outage, on: Stage, began: float) -> Night:
    end = began + asked.seconds
    night = Night(asked)
    during = [call for call in on.callers.calls if began <= call.at < end]
    night.calls = len(during)
    night.failed = sum(1 for call in during if not call.by)
    night.median_ms = percentile([call.seconds for call in during], 0.5) * 1e3
    first = [at for at in on.first.arrivals if began <= at < end]
    night.attempts = len(first) + sum(1 for at in on.second.arrivals if began <= at < end)
    groups = _groups(first, asked.open_seconds * _TOGETHER)
    if groups:
        night.until_open = len(groups[0])
        night.opened_after_seconds = groups[0][-1] - began
        night.probes = [len(group) for group in groups[1:]]
    return night


def _groups(times: Sequence[float], gap: float) -> list[list[float]]:
    """Such as follow each other within `gap` are one group."""
    groups: list[list[float]] = []
    for at in times:
        if groups and at - groups[-1][-1] < gap:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


async def _back(asked: Outage, on: Stage, well: float, period: float) -> float | None:
    """Seconds until nearly all calls of a second went to the first provider again."""
    while perf_counter() < well + 2 * period + 2:
        before = len(on.callers.calls)
        began = perf_counter()
        await on.callers.at_rate(asked.rate, _SLICE_SECONDS)
        made: Sequence[Call] = on.callers.calls[before:]
        if sum(1 for call in made if call.by == "first") >= _BACK * len(made):
            return began - well
    return None
