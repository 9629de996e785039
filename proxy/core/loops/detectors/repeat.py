"""`repeat`: the same calls with the same results, one turn after the other."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_and_results, flags_of


class Repeat:
    """A different call in between resets it: healthy agents run one test between edits."""

    name = "repeat"

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        newest = calls_and_results(rounds)
        if loops.repeat is None or newest != calls_and_results(rounds, 2):
            return None
        if flags_of(rounds) & (Flag.POLLING | Flag.TEXT):
            return None
        times = 2
        while calls_and_results(rounds, times + 1) == newest:
            times += 1
        return Count(times, loops.repeat)
