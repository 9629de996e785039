"""When a run is low on money, and which target is cheaper."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.downgrade import first_cheaper, money_left
from proxy.core.policy import Limits
from proxy.core.pricing import FREE, Price, Rates, hold_cost
from proxy.core.session import EMPTY
from proxy.core.state import SessionState


def price(input_: int, output: int) -> Price:
    return Price(Rates(input_, output, input_, input_, input_, input_, output, output))


def spent(micro_usd: int, **fields: object) -> SessionState:
    return replace(EMPTY, cost_micro_usd=micro_usd, **fields)


amounts = st.integers(0, 10**9)
prices = st.lists(st.none() | st.just(FREE) | st.builds(price, amounts, amounts), max_size=5)


def test_what_is_left_is_of_the_limit_and_of_what_a_human_added() -> None:
    limits = Limits(cost_micro_usd=100)

    assert money_left(limits, spent(0)) == 1
    assert money_left(limits, spent(75)) == 0.25
    assert money_left(limits, spent(75, extended={"cost_usd": 200})) == 0.75
    assert money_left(limits, spent(300)) == 0


def test_what_is_left_is_of_the_budget_that_a_run_brought_along() -> None:
    """Whichever is the smaller."""
    limits = Limits(cost_micro_usd=100)

    assert money_left(limits, spent(25, budget_micro_usd=50)) == 0.5
    assert money_left(limits, spent(25, budget_micro_usd=500)) == 0.75
    assert money_left(Limits(cost_micro_usd=None), spent(25, budget_micro_usd=50)) == 0.5


def test_nothing_is_ever_low_without_a_bound() -> None:
    assert money_left(Limits(cost_micro_usd=None), spent(10**9)) is None


def test_what_calls_in_flight_hold_is_not_spent() -> None:
    """A fan-out of sub-agents holds much for a moment, and gives most of it back."""
    assert money_left(Limits(cost_micro_usd=100), spent(10, held_micro_usd=90)) == 0.9


def test_a_limit_of_nothing_is_low() -> None:
    assert money_left(Limits(cost_micro_usd=0), spent(0)) == 0


@given(amounts, amounts, amounts)
def test_spending_never_leaves_more(limit: int, before: int, more: int) -> None:
    limits = Limits(cost_micro_usd=limit)

    earlier, later = money_left(limits, spent(before)), money_left(limits, spent(before + more))

    assert earlier is not None
    assert later is not None
    assert 0 <= later <= earlier <= 1


def test_the_first_cheaper_target_is_taken_not_the_cheapest() -> None:
    """The order is the policy's: what comes first was preferred."""
    dear, cheap, free = price(3_000_000, 15_000_000), price(1_000_000, 5_000_000), FREE

    assert first_cheaper([dear, cheap, free], 1_000, 100) == 1
    assert first_cheaper([dear, dear, free, cheap], 1_000, 100) == 2
    assert first_cheaper([free, cheap], 1_000, 100) is None
    assert first_cheaper([cheap, dear], 1_000, 100) is None


def test_which_is_cheaper_depends_on_the_call() -> None:
    """One with cheap input and dear output is for those who read much and write little."""
    one, other = price(3_000_000, 15_000_000), price(1_000_000, 40_000_000)

    assert first_cheaper([one, other], 10_000, 100) == 1
    assert first_cheaper([one, other], 100, 10_000) is None


def test_what_has_no_price_is_not_cheaper() -> None:
    assert first_cheaper([price(3, 15), None], 1_000, 100) is None
    assert first_cheaper([None, FREE], 1_000, 100) is None
    assert first_cheaper([], 1_000, 100) is None


@given(prices, st.integers(0, 10**6), st.integers(0, 10**5))
def test_what_is_taken_costs_less_and_nothing_before_it_does(
    of: list[Price | None], input_tokens: int, output_tokens: int
) -> None:
    taken = first_cheaper(of, input_tokens, output_tokens)
    first = of[0] if of else None
    costs = [None if one is None else hold_cost(one, input_tokens, output_tokens) for one in of]
    cheaper = [
        index for index, one in enumerate(costs)
        if first is not None and one is not None and costs[0] is not None and one < costs[0]
    ]  # fmt: skip

    assert taken == (cheaper[0] if cheaper else None)
