"""Two usages are told as one."""

import json

import pytest

from proxy.core.dialects.held_usage import summed


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 4, "d": 5}}, {"a": 4, "b": {"c": 6, "d": 5}}),
        ({"a": 1, "gone": 2}, {"a": 0.5}, {"a": 1.5, "gone": 2}),
        (
            {"a": 1, "t": "x", "f": True},
            {"a": None, "t": "y", "f": True},
            {"a": 1, "t": "y", "f": True},
        ),
        ({"a": None, "l": [1]}, {"a": 2, "l": [2]}, {"a": 2, "l": [2]}),
        ({"a": {"b": 1}}, {"a": 7}, {"a": 7}),
        (7, 8, 15),
    ],
)
def test_counts_are_added_at_any_depth(first: object, second: object, expected: object) -> None:
    told = summed(json.dumps(first).encode(), json.dumps(second).encode())

    assert json.loads(told) == expected


@pytest.mark.parametrize("first", [b"", b"{", b"\xff", b"[" * 100_000, b"1" + b"0" * 400])
def test_what_cannot_be_added_leaves_the_second(first: bytes) -> None:
    assert summed(first, b"9.5") == b"9.5"
