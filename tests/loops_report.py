"""What the shipped policy does to recorded runs, as docs/loops.md has it: `python -m
tests.loops_report [FILE…]`; with --write, into the page."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.clock import SystemClock
from proxy.config import load_policy
from proxy.core.limits.base import usd
from proxy.core.loops.finding import RUNGS
from proxy.core.loops.policy import Loops
from proxy.dry_run.judging import Judged, judge_session
from proxy.dry_run.lines import Fault
from proxy.dry_run.report import Group, Report, Sum, share
from proxy.dry_run.runs import recorded_runs
from proxy.dry_run.spending import Prices
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "loops.md"
FILES = ("tau2", "tau_bench", "swebv_gemini3", "mint", "whissle_mab", "toolbench")
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)
_GROUP_HEAD = (
    "| runs of | runs | did well | of them steered | stopped | did not | of them steered "
    "| stopped | runaways | stopped in time | steps saved | USD saved |"
)
_RULE_HEAD = (
    "| detector | runs | warn | steer | final_answer | stop | well: steered | stopped "
    "| not: steered | stopped | steps saved | USD saved |"
)


def data_directory() -> Path | None:
    """Where the recorded runs are: $HOLDFAST_DATA, or ../shared/data beside the repository."""
    root = os.environ.get("HOLDFAST_DATA", ROOT.parent / "shared" / "data")
    found = Path(root) / "trajectories"
    return found if found.is_dir() else None


def judged_runs(paths: Sequence[Path]) -> Iterator[Judged]:
    """Every run of these files under the shipped policy."""
    policy = load_policy(None, {}).policy
    prices = Prices(policy, PriceBook(load_table(), SystemClock()))
    for path in paths:
        for run in recorded_runs(path, prices, policy.loops or Loops()):
            assert not isinstance(run, Fault), run
            yield judge_session(policy, run)


def report_on(paths: Sequence[Path]) -> Report:
    report = Report()
    for judged in judged_runs(paths):
        report.add(judged)
    return report


def markdown(report: Report) -> str:
    """Both tables of the page."""
    groups = [_group_row(name, group) for name, group in report.groups.items()]
    groups.append(_group_row("**all**", report.total))
    rules = [_rule_row(name, sums, report) for name, sums in sorted(report.rules.items())]
    rules.append(_rule_row("**all**", report.total.all_rules, report))
    return "\n".join([*_table(_GROUP_HEAD, groups), "", *_table(_RULE_HEAD, rules)])


def _table(head: str, rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield head
    yield "|---|" + "--:|" * (head.count("|") - 2)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def _group_row(name: str, group: Group) -> list[object]:
    sums = group.all_rules
    harm = [
        cell
        for success in (True, False)
        for cell in (
            group.outcomes[success],
            _share(sums.steered[success], group.outcomes[success]),
            _share(sums.stopped[success], group.outcomes[success]),
        )
    ]
    saved = [sums.saved_steps, f"{usd(sums.saved_micro_usd):.2f}"]
    return [name, group.sessions, *harm, group.runaways, group.caught, *saved]


def _rule_row(name: str, sums: Sum, report: Report) -> list[object]:
    outcomes = report.total.outcomes
    harm = [
        _share(part[success], outcomes[success])
        for success in (True, False)
        for part in (sums.steered, sums.stopped)
    ]
    saved = [sums.saved_steps, f"{usd(sums.saved_micro_usd):.2f}"]
    label = f"`{name.removeprefix('loops.')}`" if "*" not in name else name
    return [label, sums.sessions, *[sums.rungs[rung] for rung in RUNGS[1:]], *harm, *saved]


def _share(part: int, whole: int) -> str:
    found = share(part, whole)
    return "-" if found is None else f"{part} ({found:.2%})"


def page_with(text: str, tables: str) -> str:
    """The page with these tables in it."""
    return _BLOCK.sub(lambda found: f"{found[1]}{tables}\n{found[2]}", text)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="into docs/loops.md")
    args = parser.parse_args(arguments)
    directory = data_directory()
    paths = args.files or [directory / f"{name}.jsonl.gz" for name in FILES if directory]
    if not paths:
        print("no recorded runs: set HOLDFAST_DATA", file=sys.stderr)
        return 1
    tables = markdown(report_on(paths))
    if args.write:
        PAGE.write_text(page_with(PAGE.read_text(), tables))
    else:
        print(tables)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
