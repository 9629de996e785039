"""What `holdfast handoffs` says of the API's answer."""

import pytest

from proxy.cli.handoffs import _age


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59.4, "59s"), (60, "1m"), (3_599, "59m"), (7_200.5, "2h"), (172_800, "2d")],
)
def test_an_age_is_told_in_the_largest_unit_that_fits(seconds: float, shown: str) -> None:
    """At three in the morning nobody divides by 3,600."""
    assert _age(seconds) == shown
