"""How far each detector of loops has come at a request, from what the log noted of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxy.core.events import AnyEvent, StepReserved, StepSettled
from proxy.core.loops.detectors.base import Count
from proxy.core.loops.detectors.registry import DETECTORS
from proxy.core.loops.finding import Rung
from proxy.core.loops.naming import safe_name
from proxy.core.loops.normal import tool_digest
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import tool_of
from proxy.core.session import SessionState


class Met(NamedTuple):
    """What one detector has come to. times: how often. tools: as far as they are known, in the
    order of a cycle."""

    detector: str
    rung: Rung
    times: int
    tools: tuple[str, ...]


class Looping:
    """Asks each detector by itself: live, the strongest alone is told of."""

    def __init__(self, loops: Loops | None, events: Sequence[AnyEvent]) -> None:
        self._loops = loops
        names = {tool for event in events if isinstance(event, StepSettled) for tool in event.tools}
        self._names = {tool_digest(name): safe_name(name) for name in names}

    def met(self, state: SessionState, event: StepReserved) -> Iterator[Met]:
        """On the state after this request."""
        loops, thread = self._loops, state.threads.get(event.thread)
        if loops is None or thread is None or not event.turn or not thread.rounds:
            return
        for detector in DETECTORS:
            count = detector.look(loops, thread.rounds)
            rung = None if count is None else count.rungs.at(count.times)
            if count is not None and rung is not None:
                seen: Rung = "observe" if loops.observe else rung
                tools = self._tools(thread.rounds, count)
                yield Met(detector.name, seen, count.times, tools)

    def _tools(self, rounds: bytes, count: Count) -> tuple[str, ...]:
        tools = [tool_of(rounds, back) for back in range(count.period, 0, -1)]
        return tuple([self._names[tool] for tool in tools if tool in self._names])
