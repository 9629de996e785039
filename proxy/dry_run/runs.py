"""Recorded runs as the log of the sessions that they would have been: a call for each answer."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from proxy.core.canonical import canonical_arguments
from proxy.core.events import AnyEvent, SessionOpened, StepReserved, StepSettled
from proxy.core.loops.judge import judge
from proxy.core.loops.policy import Loops
from proxy.core.loops.turns import asked_by, tail_of
from proxy.core.request import Message, Request
from proxy.core.session import apply, fold
from proxy.core.usage import Answer, ToolCall
from proxy.dry_run.lines import Fault, lines_of
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.spending import Paid, Prices
from proxy.dry_run.trajectory import Trajectory, read_trajectory, steps_of
from proxy.errors import MalformedRequest

RUNAWAY: Final = 5
"""So many consecutive identical calls, and an agent has run away."""

_UNTIMED: Final = 0.0
_UNLIKE: Final = "What came of this call is not in the record."
_ENDINGS: Final = (".gz", ".jsonl", ".ndjson", ".json")


def recorded_runs(path: Path, prices: Prices, loops: Loops) -> Iterator[Recorded | Fault]:
    """Every run in a file that made a call, and every line that is none. Raises nothing.

    loops: what is noted of calls and results: arguments that do not count, tools that poll."""
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
        if steps_of(run.messages):
            yield recorded(run, prices, loops, f"line {line.place.line}", group)


def recorded(run: Trajectory, prices: Prices, loops: Loops, name: str, group: str) -> Recorded:
    """One run that made a call. name: where it has none itself."""
    steps = steps_of(run.messages)
    paid = prices.paid(run, steps)
    log = _Log(run, loops)
    for at, cost in zip(steps, paid, strict=True):
        log.call(at, cost)
    return Recorded(
        name=run.name or name,
        group=group,
        events=log.events,
        success=run.success,
        coda=log.coda(),
        is_timed=False,
        runaway=fifth_in_a_row(run.messages, steps),
        unpriced=sum(one.cost_micro_usd is None for one in paid),
        guessed=sum(one.is_guess and one.cost_micro_usd is not None for one in paid),
    )


class _Log:
    """The log of one run as it is made: what each request brings is judged on what came before."""

    def __init__(self, run: Trajectory, loops: Loops) -> None:
        self.events: list[AnyEvent] = [SessionOpened(_UNTIMED, source="recorded")]
        self._run = run
        self._loops = loops
        self._state = fold(self.events)
        self._last = 0
        self._number = 0

    def call(self, at: int, paid: Paid) -> None:
        """The call that was answered with the message at this place."""
        self._number += 1
        self._add(self._asked(self._number, self._run.messages[self._last : at]))
        message = self._run.messages[at]
        answer = Answer(message.text, message.tool_calls)
        self._add(
            StepSettled(
                _UNTIMED,
                str(self._number),
                usage=paid.usage,
                cost_micro_usd=paid.cost_micro_usd or 0,
                tokens=paid.usage.total_tokens,
                tools=tuple([call.name for call in message.tool_calls]),
                asked=asked_by(answer, self._loops),
            )
        )
        self._last = at

    def coda(self) -> StepReserved | None:
        """The request that the last answer's calls would have led to, whatever came of them: with
        what the run has of their results, else with ones that nothing was like."""
        last, rest = self._run.messages[self._last], self._run.messages[self._last + 1 :]
        if not last.tool_calls:
            return None
        there = {message.tool_result_id for message in rest}
        missing = [call for call in last.tool_calls if call.call_id not in there]
        results = [_unlike_any(call, at) for at, call in enumerate(missing)]
        return self._asked(self._number + 1, (last, *results, *rest))

    def _asked(self, number: int, brought: Sequence[Message]) -> StepReserved:
        """brought: the last answer and what came after it: all that a request has that is new."""
        run, threads = self._run, self._state.threads
        request = Request(run.dialect, run.model, False, tuple(brought), None, 1, 0)
        noted = judge(self._loops, threads, tail_of(request), self._state.seq + 1).noted
        return StepReserved(
            _UNTIMED,
            str(number),
            number,
            dialect=run.dialect,
            model=run.model,
            thread=noted.thread,
            turn=noted.round,
            tail=noted.key,
            users=noted.users,
        )

    def _add(self, event: AnyEvent) -> None:
        self.events.append(event)
        self._state = apply(self._state, event)


def _unlike_any(call: ToolCall, at: int) -> Message:
    """A result as if something else had come of it. Its words are in no other."""
    return Message("tool", f"{_UNLIKE} {at}", b"", (), call.call_id)


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
