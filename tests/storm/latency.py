"""A provider whose first token is suddenly late."""

from dataclasses import dataclass, field

from tests.storm.clients import percentile
from tests.storm.provider import Manner, Provider
from tests.storm.stage import stage

_WELL_CALLS = 20
_SLACK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Slowness:
    """What is asked. scale: of all seconds below. rate: calls a second, unscaled, in the second
    half, where they do not wait for each other."""

    scale: float = 0.1
    well_seconds: float = 0.2
    late_seconds: float = 30.0
    slow_seconds: float = 5.0
    fallback_seconds: float = 0.2
    minimum_calls: int = 5
    calls: int = 20
    rate: float = 2.0


@dataclass(slots=True)
class Trip:
    """What it came to: how many calls, one after another, still went to the late provider before
    one did not, and how long they waited, all in all and in the middle; then the same of an open
    loop. Seconds as they were."""

    asked: Slowness
    late_calls: int = 0
    waits: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def most_seconds(self) -> float:
        """That the middle client may wait."""
        both = self.asked.slow_seconds + self.asked.fallback_seconds
        return both * self.asked.scale + _SLACK_SECONDS

    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        if self.late_calls > self.asked.minimum_calls:
            found.append(f"{self.late_calls} calls went to the late provider")
        for name, waits in (("one by one", self.waits), ("at once", self.at_once)):
            if (middle := percentile(waits, 0.5)) > self.most_seconds:
                found.append(f"{name}, the middle client waits {middle:.2f} s")
        if self.failed:
            found.append(f"{self.failed} calls failed")
        return found

    def shown(self) -> str:
        """In words."""
        return (
            f"{self.late_calls} of {len(self.waits)} calls in a row went to the late provider;"
            f" they waited {percentile(self.waits, 0.5):.2f} s (median) and"
            f" {max(self.waits):.2f} s (most); {len(self.at_once)} in an open loop"
            f" {percentile(self.at_once, 0.5):.2f} s and {max(self.at_once):.2f} s; bound"
            f" {self.most_seconds:.2f} s"
        )


async def latency(asked: Slowness) -> Trip:
    """Twenty healthy calls, then the provider is late: once for calls one by one, and once, with
    another sidecar, for an open loop."""
    trip = Trip(asked)
    for at_once in (False, True):
        await _one(asked, trip, at_once)
    return trip


async def _one(asked: Slowness, trip: Trip, at_once: bool) -> None:
    late = [False]

    def manner(_: int) -> Manner:
        seconds = asked.late_seconds if late[0] else asked.well_seconds
        return Manner(seconds * asked.scale)

    first = Provider("first", manner)
    second = Provider("second", lambda _: Manner(asked.fallback_seconds * asked.scale))
    slow = asked.slow_seconds * asked.scale
    more = f"breakers: {{slow_seconds: {slow}, minimum_calls: {asked.minimum_calls}}}"
    async with stage(first, second, route=", fallback: [second]", more=more) as on:
        for _ in range(_WELL_CALLS):
            await on.callers.call(stream=True)
        late[0], before, well = True, len(first.arrivals), len(on.callers.calls)
        if at_once:
            seconds = asked.calls / asked.rate * asked.scale
            await on.callers.at_rate(asked.rate / asked.scale, seconds, stream=True)
        else:
            for _ in range(asked.calls):
                await on.callers.call(stream=True)
            trip.late_calls = len(first.arrivals) - before
        made = on.callers.calls[well:]
        (trip.at_once if at_once else trip.waits).extend(call.seconds for call in made)
        trip.failed += sum(1 for call in made if not call.by)
