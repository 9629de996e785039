"""`repeat_any_result`: the same calls, one turn after the other, whatever they come to."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_of, flags_of, in_a_row


class RepeatAnyResult:
    """What `repeat` misses where results differ in what no normalising finds."""

    name = "repeat_any_result"
    says = "{The} was called {count} times in a row with the same arguments."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        newest, flags = calls_of(rounds), flags_of(rounds)
        if newest != calls_of(rounds, 2) and not flags & Flag.WITHIN:
            return None
        if loops.repeat_any_result is None or flags & (Flag.POLLING | Flag.TEXT):
            return None
        times = in_a_row(rounds, calls_of)
        if flags_of(rounds, times) & Flag.WITHIN:  # the first time it was not alone
            times += 1
        return Count(times, loops.repeat_any_result)
