"""The figures of a dry run: per rule and per group, as sums; no session is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.core.loops.finding import RUNGS, Rung, strength
from proxy.core.policy import MICRO
from proxy.dry_run.judging import Judged, Reached
from proxy.dry_run.windows import Filled, Windows

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

STEERED: Final[Rung] = "steer"
"""From here on the agent is told something, or loses its tools."""


@dataclass(slots=True)
class Sum:
    """Sessions by the highest rung that they came to, and what their stops would have saved."""

    sessions: int = 0
    rungs: dict[Rung, int] = field(default_factory=lambda: dict.fromkeys(RUNGS, 0))
    steered: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    stopped: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    saved_steps: int = 0
    saved_micro_usd: int = 0

    def add(self, rung: Rung, success: bool | None, stop: Reached | None) -> None:
        self.sessions += 1
        self.rungs[rung] += 1
        if success is not None:
            self.steered[success] += strength(rung) >= strength(STEERED)
            self.stopped[success] += rung == "stop"
        if stop is not None:
            self.saved_steps += stop.saved_steps
            self.saved_micro_usd += stop.saved_micro_usd


@dataclass(slots=True)
class Group:
    """Sessions that are counted together. runaways: with five or more consecutive identical calls;
    caught: of these, stopped before a sixth."""

    sessions: int = 0
    outcomes: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    steps: int = 0
    cost_micro_usd: int = 0
    unpriced: int = 0
    guessed: int = 0
    runaways: int = 0
    caught: int = 0
    all_rules: Sum = field(default_factory=Sum)

    def add(self, judged: Judged) -> None:
        session = judged.session
        self.sessions += 1
        if session.success is not None:
            self.outcomes[session.success] += 1
        self.steps += judged.steps
        self.cost_micro_usd += judged.cost_micro_usd
        self.unpriced += session.unpriced
        self.guessed += session.guessed
        if session.runaway is not None:
            self.runaways += 1
            self.caught += judged.stop is not None and judged.stop.step <= session.runaway + 1
        if judged.rung is not None:
            self.all_rules.add(judged.rung, session.success, judged.stop)


@dataclass(slots=True)
class Report:
    """What all sessions came to. Groups and rules in the order in which they turned up. windows:
    where budgets are looked at."""

    windows: Windows | None = None
    total: Group = field(default_factory=Group)
    groups: dict[str, Group] = field(default_factory=dict)
    rules: dict[str, Sum] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        self.total.add(judged)
        if self.windows is not None:
            self.windows.add(judged.session)
        self.groups.setdefault(judged.session.group, Group()).add(judged)
        for one in judged.reached:
            stop = one if one.rung == "stop" else None
            self.rules.setdefault(one.rule, Sum()).add(one.rung, judged.session.success, stop)

    def as_json(self) -> dict[str, Json]:
        """The same figures for programs: shares as numbers from 0 to 1, None where there is nothing
        to share; money in USD."""
        outcomes = self.total.outcomes
        return {
            **_group_json(self.total),
            "rules": [{"rule": n, **_sum_json(s, outcomes)} for n, s in sorted(self.rules.items())],
            "groups": [{"group": n, **_group_json(g)} for n, g in self.groups.items()],
            "budgets": [_budget_json(one) for one in self.filled()],
        }

    def filled(self) -> list[Filled]:
        return [] if self.windows is None else self.windows.filled()


def _group_json(group: Group) -> dict[str, Json]:
    return {
        "sessions": group.sessions,
        "succeeded": group.outcomes[True],
        "failed": group.outcomes[False],
        "steps": group.steps,
        "cost_usd": group.cost_micro_usd / MICRO,
        "steps_without_price": group.unpriced,
        "steps_priced_by_size": group.guessed,
        "runaways": group.runaways,
        "runaways_stopped_in_time": group.caught,
        "all_rules": _sum_json(group.all_rules, group.outcomes),
    }


def _sum_json(sums: Sum, outcomes: Mapping[bool, int]) -> dict[str, Json]:
    return {
        "sessions": sums.sessions,
        "rungs": {rung: sums.rungs[rung] for rung in RUNGS},
        "steps_saved": sums.saved_steps,
        "cost_saved_usd": sums.saved_micro_usd / MICRO,
        "succeeded_steered": share(sums.steered[True], outcomes[True]),
        "succeeded_stopped": share(sums.stopped[True], outcomes[True]),
        "failed_steered": share(sums.steered[False], outcomes[False]),
        "failed_stopped": share(sums.stopped[False], outcomes[False]),
    }


def _budget_json(filled: Filled) -> Json:
    return {
        "rule": name_of(filled),
        "max_usd": filled.budget.cost_micro_usd / MICRO,
        "windows": filled.windows,
        "windows_over": filled.over,
        "fullest_usd": filled.peak_micro_usd / MICRO,
        "above_usd": filled.above_micro_usd / MICRO,
    }


def name_of(filled: Filled) -> str:
    """As a refusal names it."""
    return f"budgets.{filled.budget.scope}.{filled.budget.window}"


def share(part: int, whole: int) -> float | None:
    """None where there is nothing to share."""
    return part / whole if whole else None
