"""Recorded runs as the log of the sessions that they would have been: a call for each answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from proxy.core.canonical import canonical_arguments
from proxy.core.events import AnyEvent, SessionOpened, StepReserved, StepSettled
from proxy.core.request import Message
from proxy.dry_run.lines import Fault, Line, lines_of
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.spending import Paid, Prices
from proxy.dry_run.trajectory import Trajectory, read_trajectory, steps_of
from proxy.errors import MalformedRequest

RUNAWAY: Final = 5
"""So many consecutive identical calls, and an agent has run away."""

_UNTIMED: Final = 0.0
_ENDINGS: Final = (".gz", ".jsonl", ".ndjson", ".json")


def recorded_runs(path: Path, prices: Prices) -> Iterator[Recorded | Fault]:
    """Every run in a file that made a call, and every line that is none. Raises nothing."""
    group = _group_of(path)
    for line in lines_of(path):
        if isinstance(line, Fault):
            yield line
            continue
        try:
            run = read_trajectory(line.data)
        except MalformedRequest as error:
            yield Fault(line.place, error.message)
            continue
        if steps := steps_of(run.messages):
            yield _recorded(run, steps, prices.paid(run, steps), line, group)


def _recorded(
    run: Trajectory, steps: Sequence[int], paid: Sequence[Paid], line: Line, group: str
) -> Recorded:
    return Recorded(
        name=run.name or f"line {line.place.line}",
        group=group,
        events=tuple(_log(run, steps, paid)),
        success=run.success,
        is_timed=False,
        runaway=fifth_in_a_row(run.messages, steps),
        unpriced=sum(one.cost_micro_usd is None for one in paid),
        guessed=sum(one.is_guess and one.cost_micro_usd is not None for one in paid),
    )


def _log(run: Trajectory, steps: Sequence[int], paid: Sequence[Paid]) -> Iterator[AnyEvent]:
    yield SessionOpened(_UNTIMED, source="recorded")
    for number, (at, cost) in enumerate(zip(steps, paid, strict=True), 1):
        call_id = str(number)
        yield StepReserved(_UNTIMED, call_id, number, dialect=run.dialect, model=run.model)
        yield StepSettled(
            _UNTIMED,
            call_id,
            usage=cost.usage,
            cost_micro_usd=cost.cost_micro_usd or 0,
            tokens=cost.usage.total_tokens,
            tools=tuple([call.name for call in run.messages[at].tool_calls]),
        )


def fifth_in_a_row(messages: Sequence[Message], steps: Sequence[int]) -> int | None:
    """The step (from 1) whose answer asks for the fifth of consecutive identical calls: same tool,
    same canonical arguments, whatever came of them. The same call twice in one answer is one; a
    user who says something new begins a new count."""
    heard: set[str] = set()
    last, count, before = ("", ""), 0, 0
    for number, at in enumerate(steps, 1):
        for message in messages[before:at]:
            if message.role == "user" and message.text not in heard:
                heard.add(message.text)
                last, count = ("", ""), 0
        before = at
        asked = [
            (call.name, canonical_arguments(call.arguments)) for call in messages[at].tool_calls
        ]
        for call in dict.fromkeys(asked):
            count = count + 1 if call == last else 1
            last = call
            if count == RUNAWAY:
                return number
    return None


def _group_of(path: Path) -> str:
    name = path.name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name
