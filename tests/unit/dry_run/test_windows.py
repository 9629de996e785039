"""Budgets that many sessions share, as a ledger's sessions together filled them."""

import json

from proxy.config import parse_policy
from proxy.core.events import SessionOpened, StepSettled
from proxy.core.policy import Budget
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.windows import Filled, Windows

DAY = 86_400.0
START = 20_000 * DAY


def session(tenant: str, *spent: tuple[float, int], is_timed: bool = True) -> Recorded:
    events = [StepSettled(START + at, cost_micro_usd=cost) for at, cost in spent]
    return Recorded("s", "g", (SessionOpened(START), *events), tenant, "coder", is_timed=is_timed)


def filled(*sessions: Recorded, budgets: object) -> list[Filled]:
    policy = parse_policy(json.dumps({"budgets": budgets}), "p.yaml", {}).policy
    windows = Windows(policy)
    for one in sessions:
        windows.add(one)
    return windows.filled()


def test_sessions_fill_a_window_together() -> None:
    found = filled(
        session("a", (0, 300), (DAY, 50)),
        session("b", (9, 800)),
        budgets=[
            {"scope": "global", "cost_usd": 0.001, "window": "1d"},
            {"scope": "tenant", "cost_usd": 0.0004, "window": "1d"},
        ],
    )

    assert found == [
        Filled(Budget("global", "1d", 1000), 2, 1, 1100, 100),
        Filled(Budget("tenant", "1d", 400), 3, 1, 800, 400),
    ]


def test_what_has_no_true_times_fills_no_window() -> None:
    """Recorded runs: nobody knows which of them ran on one day."""
    day = [{"scope": "global", "cost_usd": 0.001, "window": "1d"}]

    assert filled(session("a", (0, 5000), is_timed=False), budgets=day) == []


def test_a_full_window_is_not_above() -> None:
    """What a budget allows may be spent."""
    day = [{"scope": "global", "cost_usd": 0.001, "window": "1d"}]

    assert filled(session("a", (0, 1000)), budgets=day)[0].over == 0
    assert filled(session("a", (0, 1001)), budgets=day)[0].over == 1
