"""`repeat`: the same calls with the same results, one turn after the other."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_and_results, flags_of, in_a_row


class Repeat:
    """A different call in between resets it: healthy agents run one test between edits."""

    name = "repeat"
    says = "{The} was called {count} times in a row with the same arguments and the same result."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        newest, flags = calls_and_results(rounds), flags_of(rounds)
        if newest != calls_and_results(rounds, 2) and not flags & Flag.WITHIN_SAME:
            return None
        if loops.repeat is None or flags & (Flag.POLLING | Flag.TEXT):
            return None
        times = in_a_row(rounds, calls_and_results)
        if flags_of(rounds, times) & Flag.WITHIN_SAME:  # the first time it was not alone
            times += 1
        return Count(times, loops.repeat)
