"""`text`: the model says the same again and again, and calls nothing."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_and_results, flags_of, in_a_row


class Text:
    """Narration without a call, kept going by an agent that always says `continue`."""

    name = "text"
    says = "The same text was written {count} times in a row without calling a tool."

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        if loops.text is None or not flags_of(rounds) & Flag.TEXT:
            return None
        return Count(in_a_row(rounds, calls_and_results), loops.text)
