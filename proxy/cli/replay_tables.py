"""A dry run for human eyes."""

from collections.abc import Mapping

from proxy.cli.tables import table
from proxy.core.limits.base import money, usd
from proxy.core.loops.finding import RUNGS
from proxy.dry_run.judging import Judged, Reached
from proxy.dry_run.report import Group, Report, Sum, name_of, share
from proxy.dry_run.windows import Filled

_ALL = "all together"
_HARM_HEADS = ("good: steered", "stopped", "bad: steered", "stopped")
_RULE_HEADS = ("rule", "sessions", *RUNGS[1:], "steps saved", "USD saved", *_HARM_HEADS)
_GROUP_HEADS = (
    *("group", "sessions", "steps", "USD"),
    *_HARM_HEADS,
    *("runaways", "stopped in time", "steps saved", "USD saved"),
)

_BUDGET_HEADS = ("budget", "windows", "over", "fullest USD", "of USD", "USD above")


def tables(report: Report) -> str:
    """Rules, groups, budgets, then what has to be known to read them."""
    total = report.total
    if not total.sessions:
        return "no sessions"
    parts = [_headline(total)]
    if report.rules:
        parts.append(_rules(report))
    else:
        parts.append("No rule would have said anything.")
    parts.append(_groups(report))
    if filled := report.filled():
        parts.append(_budgets(filled))
    return "\n\n".join([*parts, *_notes(total)])


def listed(judged: Judged) -> str:
    """One line for each rule that a session would have met."""
    session = judged.session
    known = {True: "good", False: "bad", None: "-"}[session.success]
    head = f"{session.group}  {session.name}  {known}"
    return "\n".join(f"{head}  {_told(one, judged.steps)}" for one in judged.reached)


def _told(one: Reached, steps: int) -> str:
    place = (
        f"at step {one.step} of {steps}" if one.step <= steps else f"after its last step, {steps}"
    )
    what = f"{one.rule}: {one.rung} {place}"
    if one.count:
        what += f" ({' → '.join(one.tools) or 'text'} × {one.count})"
    if one.rung == "stop":
        what += f", saves {one.saved_steps} steps, ${usd(one.saved_micro_usd):.4f}"
    return what


def _headline(total: Group) -> str:
    good, bad = total.outcomes[True], total.outcomes[False]
    known = f" ({good} good, {bad} bad)" if good or bad else ""
    return f"{total.sessions} sessions{known}, {total.steps} steps, {money(total.cost_micro_usd)}"


def _rules(report: Report) -> str:
    outcomes = report.total.outcomes
    rows = [_rule_row(name, sums, outcomes) for name, sums in sorted(report.rules.items())]
    rows.append(_rule_row(_ALL, report.total.all_rules, outcomes))
    return table(_RULE_HEADS, rows)


def _rule_row(name: str, sums: Sum, outcomes: Mapping[bool, int]) -> list[object]:
    rungs = [sums.rungs[rung] for rung in RUNGS[1:]]
    saved = [sums.saved_steps, usd(sums.saved_micro_usd)]
    return [name, sums.sessions, *rungs, *saved, *_harm(sums, outcomes)]


def _groups(report: Report) -> str:
    rows = [_group_row(name, group) for name, group in report.groups.items()]
    if len(rows) > 1:
        rows.append(_group_row(_ALL, report.total))
    return table(_GROUP_HEADS, rows)


def _group_row(name: str, group: Group) -> list[object]:
    sums = group.all_rules
    return [
        *(name, group.sessions, group.steps, usd(group.cost_micro_usd)),
        *_harm(sums, group.outcomes),
        *(group.runaways, group.caught, sums.saved_steps, usd(sums.saved_micro_usd)),
    ]


def _budgets(filled: list[Filled]) -> str:
    rows = [
        [
            *(name_of(one), one.windows, one.over),
            *(usd(one.peak_micro_usd), usd(one.budget.cost_micro_usd), usd(one.above_micro_usd)),
        ]
        for one in filled
    ]
    return table(_BUDGET_HEADS, rows)


def _harm(sums: Sum, outcomes: Mapping[bool, int]) -> list[str]:
    """Of the good ones, then of the bad ones: steered or worse, and stopped."""
    return [
        _percent(share(part[success], outcomes[success]))
        for success in (True, False)
        for part in (sums.steered, sums.stopped)
    ]


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part:.2%}"


def _notes(total: Group) -> list[str]:
    notes = []
    if total.unpriced:
        notes.append(
            f"{total.unpriced} steps cost nothing here: neither a cost nor a price of their model "
            "is known (`prices` in the policy)."
        )
    if total.guessed:
        notes.append(f"{total.guessed} steps are priced by their size: no usage was recorded.")
    return notes
