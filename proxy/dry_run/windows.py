"""What all sessions of a ledger together came to in the windows of a policy's `budgets`."""

from dataclasses import dataclass

from proxy.core.events import StepSettled
from proxy.core.policy import Budget, Policy
from proxy.core.windows import accounts_for
from proxy.dry_run.recorded import Recorded


@dataclass(frozen=True, slots=True)
class Filled:
    """One budget. windows: in which anything was spent (of a tenant or an agent: each its own).
    over: of these, above the budget. peak_micro_usd: the fullest. above_micro_usd: beyond it."""

    budget: Budget
    windows: int
    over: int
    peak_micro_usd: int
    above_micro_usd: int


class Windows:
    """Sums of money, one for each window; of sessions no more than that. Only true times count."""

    def __init__(self, policy: Policy) -> None:
        self._budgets = policy.budgets
        self._spent: list[dict[str, int]] = [{} for _ in policy.budgets]

    def add(self, session: Recorded) -> None:
        if not session.is_timed:
            return
        for event in session.events:
            if isinstance(event, StepSettled) and event.cost_micro_usd:
                named = accounts_for(self._budgets, session.tenant, session.agent, event.at)
                for spent, account in zip(self._spent, named, strict=True):
                    before = spent.get(account.account, 0)
                    spent[account.account] = before + event.cost_micro_usd

    def filled(self) -> list[Filled]:
        """Each budget of the policy in its order, where anything was spent on it."""
        return [
            _filled(budget, list(spent.values()))
            for budget, spent in zip(self._budgets, self._spent, strict=True)
            if spent
        ]


def _filled(budget: Budget, spent: list[int]) -> Filled:
    above = [one - budget.cost_micro_usd for one in spent if one > budget.cost_micro_usd]
    return Filled(budget, len(spent), len(above), max(spent), sum(above))
