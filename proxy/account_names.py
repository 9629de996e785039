"""The shared accounts of a caller, named anew only when a window begins."""

from dataclasses import dataclass

from proxy.core.ask import Account
from proxy.core.policy import Budget
from proxy.core.windows import accounts_for

_HOUR_SECONDS = 3_600
"""Every window begins on an hour, in UTC."""
_CALLERS = 4_096


@dataclass(frozen=True, slots=True)
class _Named:
    budgets: tuple[Budget, ...]
    hour: float
    accounts: tuple[Account, ...]


class AccountNames:
    """Remembers the names of a few thousand callers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], _Named] = {}

    def accounts(
        self, budgets: tuple[Budget, ...], tenant: str, agent: str | None, now: float
    ) -> tuple[Account, ...]:
        """As `accounts_for`."""
        if not budgets:
            return ()
        hour, caller = now // _HOUR_SECONDS, (tenant, agent)
        named = self._known.get(caller)
        if named is None or named.hour != hour or named.budgets is not budgets:
            if len(self._known) >= _CALLERS:
                self._known.clear()
            named = _Named(budgets, hour, accounts_for(budgets, tenant, agent, now))
            self._known[caller] = named
        return named.accounts
