"""How a problem reads."""

import pytest

from proxy.config.problems import Path, Place, PolicyInvalid, Problem, by_place, key_of


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), ""),
        (("limits", "steps"), "limits.steps"),
        (("routes", 0, "to", 1), "routes[0].to[1]"),
        (("prices", "gpt-4.1*", "input"), 'prices["gpt-4.1*"].input'),
        (("a b",), '["a b"]'),
    ],
)
def test_a_key_is_written_as_in_the_file(path: Path, key: str) -> None:
    """So that it can be found there."""
    assert key_of(path) == key


def test_problems_are_sorted_by_place_with_the_defaults_last_and_each_once() -> None:
    """From top to bottom, as they will be repaired."""
    first, second = Place("f", 2, 1), Place("f", 10, 1)
    problems = [
        Problem(Place("default", 1, 1), "a", "m"),
        Problem(second, "b", "m"),
        Problem(first, "c", "m"),
        Problem(second, "b", "m"),
    ]

    assert [problem.key for problem in by_place(problems, "f")] == ["c", "b", "a"]


def test_the_error_says_all_of_them() -> None:
    """A caller that only prints it loses nothing."""
    problems = (Problem(Place("f", 1, 2), "a", "x"), Problem(Place("f"), "", "y"))

    assert str(PolicyInvalid(problems)) == "f:1:2: a: x\nf: y"
