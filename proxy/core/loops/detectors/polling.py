"""`polling`: tools that are asked again rightly, but not for ever without any news."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.detectors.cycle import length_of, shortest_period
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, any_flag, flags_of

_MOST_PERIOD = 8


class Polling:
    """Counts turns of a way round that has a polled call in it. Any news begins it anew."""

    name = "polling"
    says = "{The} was asked {count} times in a row without any news."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        if loops.polling_bound is None or not any_flag(rounds, Flag.POLLING, _MOST_PERIOD):
            return None
        period = shortest_period(rounds, _MOST_PERIOD)
        if not any(flags_of(rounds, at) & Flag.POLLING for at in range(1, period + 1)):
            return None
        return Count(length_of(rounds, period), loops.polling_bound, period)
