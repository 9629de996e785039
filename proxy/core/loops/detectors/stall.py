"""`stall`: one tool, asked in ever other words, that always says the same."""

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.normal import NO_TOOL
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, calls_of, flags_of, results_and_tool, tool_of

_EXEMPT = Flag.POLLING | Flag.TEXT | Flag.BRIEF | Flag.EMPTY


class Stall:
    """A yes, a number or a nod says nothing: many different calls rightly get the same. Where
    nothing comes back, `empty` counts."""

    name = "stall"
    says = (
        "{The} was called {count} times in a row with different arguments and returned the same "
        "each time."
    )

    def look(self, loops: Loops, rounds: bytes) -> Count | None:
        newest = results_and_tool(rounds)
        if loops.stall is None or newest != results_and_tool(rounds, 2):
            return None
        if flags_of(rounds) & _EXEMPT or tool_of(rounds) == NO_TOOL:
            return None
        times, calls = 1, {calls_of(rounds)}
        while results_and_tool(rounds, times + 1) == newest:
            times += 1
            calls.add(calls_of(rounds, times))
        return Count(times, loops.stall) if len(calls) > 1 else None
