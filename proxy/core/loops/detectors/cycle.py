"""`cycle`: a way round of several different turns, walked again and again with the same results."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import (
    CALLS_AND_RESULTS,
    ROUND,
    Flag,
    calls_and_results,
    flags_of,
)


class Cycle:
    """Counts whole ways round, of the shortest period that fits."""

    name = "cycle"
    says = "The same {period} steps{order} were taken {count} times over with the same results."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        settings = loops.cycle
        if settings is None:
            return None
        period = shortest_period(rounds, settings.max_period)
        if period < 2 or any(flags_of(rounds, at) & Flag.POLLING for at in range(1, period + 1)):
            return None
        length = length_of(rounds, period)
        return Count(length // period, settings.rungs, period, length % period == 0)


def shortest_period(rounds: bytes, most: int) -> int:
    """After how many rounds the newest one came before, and all up to it likewise; 0: never.

    Most threads end at the first search: nothing like the newest round is near.
    """
    end = len(rounds) - ROUND
    start, newest = max(end - most * ROUND, 0), rounds[end : end + CALLS_AND_RESULTS]
    at = rounds.rfind(newest, start, end)
    while at >= 0:
        back, rest = divmod(end - at, ROUND)
        if not rest and _comes_again(rounds, back):
            return back
        at = rounds.rfind(newest, start, at + CALLS_AND_RESULTS - 1)
    return 0


def _comes_again(rounds: bytes, period: int) -> bool:
    """Whether all but the newest are those of the way round before."""
    for back in range(2, period + 1):  # a generator takes longer than what it mostly looks at
        if calls_and_results(rounds, back) != calls_and_results(rounds, back + period):
            return False
    return True


def length_of(rounds: bytes, period: int) -> int:
    """How many of the newest rounds go round with this period."""
    length, most = period, len(rounds) // ROUND
    while length < most and calls_and_results(rounds, length + 1) == calls_and_results(
        rounds, length + 1 - period
    ):
        length += 1
    return length
