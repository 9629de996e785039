"""`text`: the model says the same again and again, and calls nothing."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_and_results, flags_of


class Text:
    """Narration without a call, kept going by an agent that always says `continue`."""

    name = "text"
    says = "The same text was written {count} times in a row without calling a tool."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        if loops.text is None or not flags_of(rounds) & Flag.TEXT:
            return None
        newest = calls_and_results(rounds)
        times = 1
        while calls_and_results(rounds, times + 1) == newest:
            times += 1
        return Count(times, loops.text)
