"""`holdfast replay POLICY --from …`: what a policy would have done to sessions that are over."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from proxy.cli.replay_tables import listed, tables
from proxy.clock import SystemClock
from proxy.config import PolicyInvalid, load_policy
from proxy.core.loops.policy import Loops
from proxy.core.policy import MICRO, Policy
from proxy.dry_run.judging import Judged, judge_session
from proxy.dry_run.ledgers import recorded_in
from proxy.dry_run.lines import Fault, Place
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.report import Json, Report
from proxy.dry_run.runs import recorded_runs
from proxy.dry_run.spending import Prices
from proxy.dry_run.windows import Windows
from proxy.errors import StoreUnavailable
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from proxy.stores.sqlite_reading import is_sqlite

_SQLITE = "sqlite:///"
_MOST_FAULTS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A dry run: how far each rule of a policy would have come in recorded sessions, and what "
        "it would have saved. Nothing is sent, and a ledger is only read."
    )
    parser.add_argument(
        "policy", metavar="POLICY", nargs="?", type=Path, help="policy file (default: the shipped)"
    )
    parser.add_argument(
        "--from",
        dest="sources",
        metavar="SOURCE",
        nargs="+",
        required=True,
        help="a ledger (store URL or SQLite file), or recorded runs (JSON lines, also gzipped)",
    )
    parser.add_argument("--list", action="store_true", help="also name each session it would touch")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0; 1 where the policy or any part of a source could not be read."""
    try:
        policy = load_policy(args.policy, os.environ).policy
    except PolicyInvalid as error:
        print(error, file=sys.stderr)
        return 1
    faults = _Faults()
    report, touched = Report(Windows(policy)), list[Json]()
    for judged in _judged(policy, args.sources, faults):
        report.add(judged)
        if args.list and judged.rung is not None:
            if args.json:
                touched.append(_touched(judged))
            else:
                print(listed(judged))
    if args.json:
        more: dict[str, Json] = {"touched": touched} if args.list else {}
        print(json.dumps({**report.as_json(), "faults": faults.count, **more}, indent=2))
    else:
        print(tables(report))
    faults.conclude()
    return 1 if faults.count else 0


class _Faults:
    """Tells of the first ones as they come: a file of the wrong kind has one on every line."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, fault: Fault) -> None:
        self.count += 1
        if self.count <= _MOST_FAULTS:
            print(fault, file=sys.stderr)

    def conclude(self) -> None:
        if self.count > _MOST_FAULTS:
            print(f"… and {self.count - _MOST_FAULTS} more", file=sys.stderr)


def _judged(policy: Policy, sources: Iterable[str], faults: _Faults) -> Iterator[Judged]:
    prices = Prices(policy, PriceBook(load_table(), SystemClock()))
    for source in sources:
        for found in _recorded(source, policy, prices):
            if isinstance(found, Fault):
                faults.tell(found)
            else:
                yield judge_session(policy, found)


def _recorded(source: str, policy: Policy, prices: Prices) -> Iterator[Recorded | Fault]:
    """What a source holds, by what it is. Raises nothing."""
    if source.startswith("memory:"):
        yield Fault(Place(source), "a store in memory is gone with its process")
        return
    path = Path(source.removeprefix(_SQLITE)).expanduser()
    try:
        if source.startswith(_SQLITE) or (path.is_file() and is_sqlite(path)):
            yield from recorded_in(path)
        else:
            yield from recorded_runs(path, prices, policy.loops or Loops())
    except StoreUnavailable as error:
        yield Fault(Place(source), error.message)
    except OSError as error:
        yield Fault(Place(source), f"cannot be read: {error.strerror or error}")


def _touched(judged: Judged) -> dict[str, Json]:
    rules: list[Json] = [
        {
            "rule": one.rule,
            "rung": one.rung,
            "step": one.step,
            "count": one.count,
            "tools": list(one.tools),
            "steps_saved": one.saved_steps,
            "cost_saved_usd": one.saved_micro_usd / MICRO,
        }
        for one in judged.reached
    ]
    session = judged.session
    return {
        "session": session.name,
        "group": session.group,
        "success": session.success,
        "steps": judged.steps,
        "rules": rules,
    }
