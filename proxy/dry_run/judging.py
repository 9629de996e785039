"""What a policy would have done to one recorded session: each rule by itself, and all together.

The session is taken as it was: what an agent would have done after a word to it, nobody knows. So a
rule is followed to the end, past the place where it or another would have stopped the session, and
what it would have saved is what came from its stop on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.core.ask import Ask
from proxy.core.events import AnyEvent, StepReleased, StepReserved, StepSettled
from proxy.core.limits import cost, tokens
from proxy.core.limits.base import Limit
from proxy.core.limits.parallel import Parallel
from proxy.core.limits.registry import GATES, shares
from proxy.core.limits.rooms import Room
from proxy.core.loops.finding import Rung, strength
from proxy.core.policy import Caller, Limits, Policy, limits_for
from proxy.core.session import EMPTY, SessionState, apply
from proxy.core.tree import lowered
from proxy.dry_run.looping import Looping, Met
from proxy.dry_run.recorded import Recorded

_JUDGED: tuple[Limit, ...] = tuple(gate for gate in GATES if not isinstance(gate, Parallel))
"""Being busy passes by itself: who waits is not stopped."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far one rule came in one session.

    rule: its place in the policy (`loops.repeat`, `limits.steps`). rung: the highest; of a limit
    warn or stop. step: which one it came to that rung at; of a stop the one that would not have
    been made, one more than there were where the session ended by itself just then. count: how
    often; of a limit 0. tools: whose calls they were. saved_steps, saved_micro_usd: of a stop.
    """

    rule: str
    rung: Rung
    step: int
    count: int = 0
    tools: tuple[str, ...] = ()
    saved_steps: int = 0
    saved_micro_usd: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What would have become of one session. reached: by rule. stop: the first of them."""

    session: Recorded
    steps: int
    cost_micro_usd: int
    reached: tuple[Reached, ...]
    stop: Reached | None

    @property
    def rung(self) -> Rung | None:
        """The strongest that any rule came to."""
        return max((one.rung for one in self.reached), key=strength, default=None)


def judge_session(policy: Policy, session: Recorded) -> Judged:
    """The session under this policy. Profiles match by tenant, agent and model; none by header."""
    walk = _Walk(policy, session)
    for event in session.events:
        walk.take(event)
    if session.coda is not None:
        walk.end_with(session.coda)
    reached = tuple(walk.reached())
    stops = [one for one in reached if one.rung == "stop"]
    first = min(stops, key=lambda one: one.step, default=None)
    return Judged(session, len(walk.costs), sum(walk.costs), reached, first)


@dataclass(slots=True)
class _Rule:
    """How far one rule has come: the first step of each rung, and what was said at the highest."""

    steps: dict[Rung, int] = field(default_factory=dict)
    count: int = 0
    tools: tuple[str, ...] = ()

    def note(self, rung: Rung, step: int, count: int = 0, tools: tuple[str, ...] = ()) -> None:
        is_first = rung not in self.steps
        self.steps.setdefault(rung, step)
        is_highest = strength(rung) == max(map(strength, self.steps))
        if is_highest and (is_first or rung != "stop"):
            self.count, self.tools = max(self.count, count), tools


class _Walk:
    """One pass over a session's log. costs: of each step, in micro-USD."""

    def __init__(self, policy: Policy, session: Recorded) -> None:
        self.costs: list[int] = []
        self._policy = policy
        self._session = session
        self._state = EMPTY
        self._model: str | None = None
        self._limits = policy.limits
        self._looping = Looping(policy.loops, session.events)
        self._tools = _asked_for(session.events)
        self._released = {e.call_id for e in session.events if isinstance(e, StepReleased)}
        self._step_of: dict[str, int] = {}
        self._numbers: dict[int, int] = {}
        self._rules: dict[str, _Rule] = {}

    def take(self, event: AnyEvent) -> None:
        if isinstance(event, StepReserved) and event.call_id not in self._released:
            self._reserved(event)
            return
        if isinstance(event, StepSettled) and event.call_id in self._step_of:
            self._settled(event, self._step_of[event.call_id])
        self._state = apply(self._state, event)

    def _settled(self, event: StepSettled, number: int) -> None:
        self.costs[number - 1] += event.cost_micro_usd
        most = self._limits.request_cost_micro_usd
        if most is not None and event.cost_micro_usd > most:
            self._note_limit(cost.REQUEST_COST, "stop", number)

    def end_with(self, coda: StepReserved) -> None:
        """What a request that did not come would have been told: only that it is stopped."""
        for met in self._looping.met(apply(self._state, coda), coda):
            if met.rung == "stop":
                self._note_loop(met, len(self.costs) + 1)

    def reached(self) -> Iterator[Reached]:
        for name, rule in self._rules.items():
            rung = max(rule.steps, key=strength)
            step = rule.steps[rung]
            saved = self.costs[step - 1 :] if rung == "stop" else []
            yield Reached(name, rung, step, rule.count, rule.tools, len(saved), sum(saved))

    def _reserved(self, event: StepReserved) -> None:
        if event.retry and event.step in self._numbers:
            self._step_of[event.call_id] = self._numbers[event.step]
            self._state = apply(self._state, event)
            return
        self.costs.append(0)
        number = len(self.costs)
        self._step_of[event.call_id] = self._numbers[event.step] = number
        self._judge_limits(event, number)
        self._state = apply(self._state, event)
        for met in self._looping.met(self._state, event):
            self._note_loop(met, number)

    def _judge_limits(self, event: StepReserved, number: int) -> None:
        """On the state before this call. It is let through where anything at all is left: how far
        its answer would have been bounded is not to be known."""
        limits, state = self._limits_of(event.model), self._state
        ask = Ask("", "chat", event.model, 0, None, 0, 1, None, self._tools)
        breached = [b.limit for gate in _JUDGED if (b := gate.check(limits, state, ask, event.at))]
        for room in _rooms(limits, state, event.at):
            if room.left <= 0:
                breached.append(room.breach(0).limit)
        for name in breached:
            self._note_limit(name, "stop", number)
        for name, share in shares(limits, state, event.at).items():
            if share >= limits.warn_at:
                self._note_limit(name, "warn", number)

    def _note_limit(self, name: str, rung: Rung, number: int) -> None:
        self._rules.setdefault(f"limits.{name}", _Rule()).note(rung, number)

    def _note_loop(self, met: Met, number: int) -> None:
        rule = self._rules.setdefault(f"loops.{met.detector}", _Rule())
        rule.note(met.rung, number, met.times, met.tools)

    def _limits_of(self, model: str) -> Limits:
        """Asked once for each model in a row."""
        if model != self._model:
            self._model = model
            caller = Caller(self._session.tenant, self._session.agent, model)
            limits = limits_for(self._policy, caller)
            if not self._session.is_timed:
                limits = replace(limits, duration_seconds=None, cost_micro_usd_per_minute=None)
            own = self._state
            self._limits = lowered(limits, own.budget_micro_usd, own.budget_steps)
        return self._limits


def _rooms(limits: Limits, state: SessionState, now: float) -> Iterator[Room]:
    """What the session has left, whatever one call of it may cost."""
    yield from cost.rooms(limits, state, "", (), now)
    if (room_ := tokens.room(limits, state, "")) is not None:
        yield room_


def _asked_for(events: Sequence[AnyEvent]) -> tuple[str, ...]:
    """The tools that were ever asked for: a log does not say which were offered."""
    names = {tool: None for e in events if isinstance(e, StepSettled) for tool in e.tools}
    return tuple(names)
