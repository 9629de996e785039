"""A provider of which one call in twenty is slow, with hedging and without."""

import asyncio
from dataclasses import dataclass, field

from tests.storm.clients import percentile
from tests.storm.provider import Manner, Provider
from tests.storm.stage import stage

MOST_MORE = 0.08
"""Calls upstream, beyond one for each of the clients'."""


@dataclass(frozen=True, slots=True)
class Hedging:
    """What is asked. slow_every: one of so many calls takes `slow_seconds`."""

    calls: int = 2_000
    at_once: int = 10
    stream: bool = False
    usual_seconds: float = 0.05
    slow_seconds: float = 2.0
    slow_every: int = 20
    after_seconds: float = 0.2


@dataclass(slots=True)
class Hedged:
    """Seconds that calls took without hedging and with it; how many more calls there were."""

    without: list[float] = field(default_factory=list)
    within: list[float] = field(default_factory=list)
    more: float = 0.0
    failed: int = 0

    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        if percentile(self.within, 0.99) > percentile(self.without, 0.99) / 2:
            found.append("p99 is not halved")
        if self.more > MOST_MORE:
            found.append(f"{self.more:.1%} more calls")
        if self.failed:
            found.append(f"{self.failed} calls failed")
        return found

    def shown(self) -> str:
        """In words."""
        told = []
        for name, took in (("without", self.without), ("with", self.within)):
            middle, late = percentile(took, 0.5), percentile(took, 0.99)
            told.append(f"{name}: p50 {middle * 1e3:.0f} ms, p99 {late * 1e3:.0f} ms")
        return f"{'; '.join(told)}; {self.more:.1%} more calls"


async def hedging(asked: Hedging) -> Hedged:
    """The same calls twice, the same ones of them slow."""
    hedged = Hedged()
    hedged.without, asked_without, failed_without = await _run(asked, "")
    hedge = f", hedge: {{after_seconds: {asked.after_seconds}}}"
    hedged.within, asked_within, failed_within = await _run(asked, hedge)
    hedged.more = asked_within / asked_without - 1
    hedged.failed = failed_without + failed_within
    return hedged


async def _run(asked: Hedging, hedge: str) -> tuple[list[float], int, int]:
    """Seconds of each call, requests upstream, and how many calls failed."""

    def manner(number: int) -> Manner:
        slow = number % asked.slow_every == asked.slow_every // 2
        return Manner(asked.slow_seconds if slow else asked.usual_seconds)

    first = Provider("first", manner)
    second = Provider("second", lambda _: Manner(asked.usual_seconds))
    async with stage(first, second, route=f", fallback: [second]{hedge}") as on:

        async def one_by_one() -> None:
            for _ in range(asked.calls // asked.at_once):
                await on.callers.call(stream=asked.stream)

        await asyncio.gather(*(one_by_one() for _ in range(asked.at_once)))
        made = on.callers.calls
        failed = sum(1 for call in made if not call.by)
        upstream = len(first.arrivals) + len(second.arrivals)
        return [call.seconds for call in made], upstream, failed
