"""Calendar windows in UTC, for budgets that many sessions share."""

from datetime import UTC, datetime

from proxy.core.ask import Account
from proxy.core.policy import Budget, Window

_SECONDS = {"1h": 3_600, "1d": 86_400}


def window_name(window: Window, now: float) -> str:
    """The window that `now` (epoch seconds) lies in: equal names, same window."""
    if window in _SECONDS:
        return str(int(now // _SECONDS[window]))
    date = datetime.fromtimestamp(now, tz=UTC)
    if window == "1w":
        year, week, _ = date.isocalendar()
        return f"{year}w{week:02d}"
    return f"{date.year}-{date.month:02d}"


def window_began(account: str) -> float | None:
    """When the window of an account began that `accounts_for` named, epoch seconds; None for any
    other."""
    scope, _, rest = account.partition(":")
    if scope not in ("tenant", "agent", "global") or rest.count(":") < 2:
        return None
    _, window, name = rest.rsplit(":", 2)
    try:
        if window in _SECONDS:
            return float(int(name) * _SECONDS[window])
        if window == "1w":
            year, _, week = name.partition("w")
            return datetime.fromisocalendar(int(year), int(week), 1).replace(tzinfo=UTC).timestamp()
        year, _, month = name.partition("-")
        return datetime(int(year), int(month), 1, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def accounts_for(
    budgets: tuple[Budget, ...], tenant: str, agent: str | None, now: float
) -> tuple[Account, ...]:
    """The shared accounts that a call is charged to now, with nothing on them yet.

    An agent's account lies inside its tenant: tenants may name their agents alike. Calls that name
    no agent share one account, so that leaving the name out escapes no budget.
    """
    accounts = []
    for budget in budgets:
        who = {"tenant": tenant, "agent": f"{tenant}/{agent or '-'}", "global": "-"}
        accounts.append(
            Account(
                account=f"{budget.scope}:{who[budget.scope]}:{budget.window}:"
                f"{window_name(budget.window, now)}",
                scope=budget.scope,
                window=budget.window,
                maximum_micro_usd=budget.cost_micro_usd,
            )
        )
    return tuple(accounts)
