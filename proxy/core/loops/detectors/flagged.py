"""`empty` and `error_streak`: turn after turn nothing comes back, or only errors."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, flags_of


def _streak(rounds: bytes, flag: int) -> int:
    """How many of the newest rounds have this flag."""
    times = 0
    while flags_of(rounds, times + 1) & flag:
        times += 1
    return times


class Empty:
    """Every tool says nothing: most likely the tools are broken, not the questions."""

    name = "empty"
    says = "The last {count} steps all returned nothing{last}."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        flags = flags_of(rounds)
        if loops.empty is None or not flags & Flag.EMPTY or flags & Flag.POLLING:
            return None
        return Count(_streak(rounds, Flag.EMPTY), loops.empty)


class ErrorStreak:
    """Every tool fails."""

    name = "error_streak"
    says = "The last {count} steps all failed{last}."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        flags = flags_of(rounds)
        if loops.error_streak is None or not flags & Flag.ERROR or flags & Flag.POLLING:
            return None
        return Count(_streak(rounds, Flag.ERROR), loops.error_streak)
