"""Rungs and globs of `loops` that can never fire, or that leave nothing else to."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Final

from proxy.config.draft import Draft
from proxy.config.problems import Path
from proxy.core.loops.policy import REMEMBERED, Cycle, Loops, Rungs

_LOOPS: Final = "loops"
_RUNGS: Final = ("warn", "steer", "final_answer", "stop")
_ALL_POLLED: Final = "takes all tools: nothing but polling_bound is left"
_ALL_IGNORED: Final = "takes all arguments: all calls of one tool are the same"


def unreached_rungs(draft: Draft) -> None:
    """A rung that a higher one is reached before, or with. The shipped ones may be passed over by
    what the file says: that is its meaning."""
    for path, rungs in _ladders(draft.policy.loops):
        for index, name in enumerate(_RUNGS[:-1]):
            count = getattr(rungs, name)
            above = [rung for rung in _RUNGS[index + 1 :] if _at_or_below(rungs, rung, count)]
            place = (*path, name)
            if above and place in draft.reading.places and draft.is_own(place):
                at = getattr(rungs, above[0])
                draft.reading.warn(place, f"never fires: {above[0]} is reached at {at}")


def _at_or_below(rungs: Rungs, rung: str, count: int | None) -> bool:
    at = getattr(rungs, rung)
    return count is not None and at is not None and at <= count


def forgotten_turns(draft: Draft) -> None:
    """No more turns are remembered than REMEMBERED."""
    loops = draft.policy.loops
    for path, rungs in _ladders(loops):
        period = loops.cycle.max_period if loops and loops.cycle and path[-1] == "cycle" else 1
        if rungs.stop * period > REMEMBERED:
            on = f" on a way round of {period}" if period > 1 else ""
            message = f"never fires{on}: only the last {REMEMBERED} turns are remembered"
            draft.reading.warn((*path, "stop"), message)


def broad_globs(draft: Draft) -> None:
    loops = draft.policy.loops
    if loops is None:
        return
    whole = {
        "polling": (loops.polling, _ALL_POLLED),
        "ignore_arguments": (loops.ignore_arguments, _ALL_IGNORED),
    }
    for name, (globs, message) in whole.items():
        for index, glob in enumerate(globs):
            if set(glob) == {"*"}:
                draft.reading.warn((_LOOPS, name, index), message)


def unbounded_polling(draft: Draft) -> None:
    loops = draft.policy.loops
    if loops is not None and loops.polling and loops.polling_bound is None:
        message = "tools under polling may go round for ever (limits.steps aside)"
        draft.reading.warn((_LOOPS, "polling_bound"), message)


def _ladders(loops: Loops | None) -> Iterator[tuple[Path, Rungs]]:
    if loops is None or loops.observe:
        return
    for field in fields(loops):
        settings = getattr(loops, field.name)
        rungs = settings.rungs if isinstance(settings, Cycle) else settings
        if isinstance(rungs, Rungs):
            yield (_LOOPS, field.name), rungs


LOOP_CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (
    unreached_rungs,
    forgotten_turns,
    broad_globs,
    unbounded_polling,
)
