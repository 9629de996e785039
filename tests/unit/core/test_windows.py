"""Calendar windows: which one a moment lies in, and whose account a call is charged to."""

from datetime import UTC, datetime

import pytest

from proxy.core.policy import Budget, Scope, Window
from proxy.core.windows import accounts_for, window_name


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "last", "first"),
    [
        ("1h", "2026-11-22T13:59:59.999", "2026-11-22T14:00:00"),
        ("1d", "2026-11-22T23:59:59.999", "2026-11-23T00:00:00"),
        ("1w", "2026-11-22T23:59:59.999", "2026-11-23T00:00:00"),
        ("1w", "2027-01-03T23:59:59.999", "2027-01-04T00:00:00"),
        ("1mo", "2026-11-30T23:59:59.999", "2026-12-01T00:00:00"),
    ],
)
def test_a_window_ends_with_its_last_moment_in_utc(window: Window, last: str, first: str) -> None:
    """Weeks begin on Monday, also where the year changes inside one."""
    assert window_name(window, at(last)) != window_name(window, at(first))


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        ("1h", "2026-11-22T13:00:00", "2026-11-22T13:59:59.999"),
        ("1d", "2026-11-22T00:00:00", "2026-11-22T23:59:59.999"),
        ("1w", "2026-12-28T00:00:00", "2027-01-03T23:59:59.999"),
        ("1mo", "2028-02-01T00:00:00", "2028-02-29T23:59:59.999"),
    ],
)
def test_a_window_has_one_name_from_end_to_end(window: Window, first: str, last: str) -> None:
    assert window_name(window, at(first)) == window_name(window, at(last))


@pytest.mark.parametrize("window", ["1w", "1mo"])
def test_the_same_window_of_another_year_is_another(window: Window) -> None:
    assert window_name(window, at("2026-06-15")) != window_name(window, at("2027-06-15"))


@pytest.mark.parametrize(
    ("scope", "same", "other"),
    [
        ("global", ("team-b", "coder"), None),
        ("tenant", ("team-a", "coder"), ("team-b", "triage")),
        ("agent", ("team-a", "triage"), ("team-b", "triage")),
        ("agent", ("team-a", "triage"), ("team-a", None)),
    ],
)
def test_a_scope_says_who_shares_an_account(
    scope: Scope,
    same: tuple[str, str | None],
    other: tuple[str, str | None] | None,
) -> None:
    """Tenants may name their agents alike and still share nothing."""
    budgets = (Budget(scope, "1d", 5),)

    (account,) = accounts_for(budgets, "team-a", "triage", 0.0)
    assert (account.scope, account.window, account.maximum_micro_usd) == (scope, "1d", 5)
    assert accounts_for(budgets, *same, 0.0) == (account,)
    assert other is None or accounts_for(budgets, *other, 0.0) != (account,)


def test_calls_that_name_no_agent_have_an_account_too() -> None:
    """Leaving the name out must not escape the budget."""
    budgets = (Budget("agent", "1h", 5),)

    assert [a.account for a in accounts_for(budgets, "team-a", None, 0.0)] == [
        "agent:team-a/-:1h:0"
    ]
