"""The retry budget: no number of calls can make a storm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.retrying import FLOOR, RECENT_CALLS, RetryBudget

ratios = st.sampled_from((0.05, 0.1, 0.5, 1.0))


@given(ratios, st.lists(st.booleans(), max_size=300))
def test_retries_are_never_more_than_a_few_and_their_share_of_the_calls(
    ratio: float, steps: list[bool]
) -> None:
    """The law, over every order of calls (True) and retries."""
    budget, calls, retries = RetryBudget(), 0, 0

    for is_call in steps:
        if is_call:
            budget.called("up", ratio)
            calls += 1
        else:
            retries += budget.take("up", ratio)

        assert retries <= FLOOR + ratio * calls + 1e-9


@given(ratios, st.integers(0, 300))
def test_all_that_the_law_allows_is_given(ratio: float, calls: int) -> None:
    budget = RetryBudget()
    for _ in range(calls):
        budget.called("up", ratio)

    given = sum(budget.take("up", ratio) for _ in range(1_000))

    assert given == pytest.approx(int(FLOOR + ratio * calls + 1e-6), abs=1)


def test_a_quiet_day_does_not_save_up_for_a_storm() -> None:
    budget = RetryBudget()
    for _ in range(100 * RECENT_CALLS):
        budget.called("up", 0.1)

    assert budget.left("up") == FLOOR + 0.1 * RECENT_CALLS


def test_one_upstream_does_not_spend_what_another_has() -> None:
    budget = RetryBudget()
    while budget.take("dead", 0.1):
        pass

    assert budget.take("well", 0.1)
    assert budget.left("dead") < 1
    assert budget.left("well") == FLOOR - 1


def test_with_a_ratio_of_nothing_there_are_no_retries() -> None:
    assert not RetryBudget().take("up", 0.0)


def test_names_of_policies_that_went_do_not_pile_up() -> None:
    budget = RetryBudget()
    for number in range(10_000):
        budget.called(f"up-{number}", 0.1)
        budget.take(f"up-{number}", 0.1)

    assert len(budget._tokens) <= 4_096
