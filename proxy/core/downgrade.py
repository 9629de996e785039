"""A run that is low on money, and the first target that is cheaper."""

from collections.abc import Sequence

from proxy.core.exposure import ANYTHING, Exposure
from proxy.core.limits import cost
from proxy.core.limits.base import maximum
from proxy.core.policy import Limits
from proxy.core.pricing import Price, hold_cost
from proxy.core.session import SessionState
from proxy.core.tree import lowered


def money_left(limits: Limits, state: SessionState) -> float | None:
    """The share of a session's money that is not spent, from 0 to 1: of its limit, of what a human
    added to that, and of the budget that it brought along. None: nothing bounds it.

    What calls in flight hold is not spent: most of it comes back.
    """
    own = lowered(limits, state.budget_micro_usd, None)
    if maximum(own.cost_micro_usd, state, cost.COST) is None:
        return None
    return max(0.0, 1.0 - cost.share(own, state))


def first_cheaper(
    prices: Sequence[Price | None],
    input_tokens: int,
    output_tokens: int,
    exposure: Exposure = ANYTHING,
) -> int | None:
    """Which of the targets after the first is the first to cost less for such a call; None: none
    does, or it is not known. prices: of the targets in order, None where one has none."""
    costs = [
        None if price is None else hold_cost(price, input_tokens, output_tokens, exposure)
        for price in prices
    ]
    if not costs or costs[0] is None:
        return None
    for index, one in enumerate(costs[1:], 1):
        if one is not None and one < costs[0]:
            return index
    return None
