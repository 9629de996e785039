"""What a reading of a document keeps."""

from decimal import Decimal

import pytest

from proxy.config.problems import Place
from proxy.config.reading import Reading, resolve


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("", None), ("~", None), ("NULL", None), ("true", True), ("FALSE", False),
        ("yes", "yes"), ("Off", "Off"), ("12", Decimal(12)), ("-1.5e3", Decimal(-1500)),
        ("1_000", "1_000"), ("0x1F", "0x1F"), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"), ("1e1000", "1e1000"), ("1" * 24, Decimal("1" * 24)), ("1" * 25, "1" * 25),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text: str, typed: object) -> None:
    """And no number is longer than it can be computed with exactly."""
    assert resolve(text) == typed


def test_a_place_is_that_of_the_nearest_thing_around() -> None:
    """A key that is only in the defaults, or nowhere, still has a line to look at."""
    reading = Reading({})
    reading.places = {(): Place("f", 1, 1), ("limits",): Place("f", 2, 3)}

    assert reading.place(("limits", "per_tool", "a")) == Place("f", 2, 3)
    assert reading.place(("routes", 0)) == Place("f", 1, 1)


def test_children_are_the_good_ones_in_order() -> None:
    """Checks go by path, so that what was refused shifts nobody's number."""
    reading = Reading({})
    reading.values = {("a", 0): "x", ("a", 0, "b"): "deeper", ("a", 2): "y", ("a", 3): 4}

    assert list(reading.children(("a",), str)) == [(("a", 0), "x"), (("a", 2), "y")]
