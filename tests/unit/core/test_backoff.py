"""How long is waited before the same provider is asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.backoff import backoff_seconds


@pytest.mark.parametrize(
    ("retry", "most"), [(0, 0.25), (1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (10**9, 4.0)]
)
def test_a_wait_doubles_up_to_four_seconds(retry: int, most: float) -> None:
    assert backoff_seconds(retry, 1.0) == most
    assert backoff_seconds(retry, 0.5) == most / 2


@given(st.integers(), st.floats(allow_nan=False))
def test_a_wait_is_never_negative_and_never_long(retry: int, chance: float) -> None:
    assert 0 <= backoff_seconds(retry, chance) <= 4


@given(st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_the_whole_of_it_is_used(retry: int, one: float, other: float) -> None:
    """Full jitter: who failed together does not come back together."""
    assert (backoff_seconds(retry, one) < backoff_seconds(retry, other)) <= (one < other)
    assert backoff_seconds(retry, 0.0) == 0
