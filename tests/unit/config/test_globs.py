"""Whether one glob takes all that another takes."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.config.globs import covers, is_literal

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

globs = st.text(alphabet="ab*?", max_size=5) | st.sampled_from(("[ab]", "a[!b]*", "[]a]", "[a"))


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("*", "*"), ("*", ""), ("*", "a?b*"), ("a*", "a*b*"), ("a*c", "abc"), ("?", "a"), ("??", "a?"),
     ("[ab]", "a"), ("[ab]*", "[ab]c"), ("a**", "a*"), ("*a*", "xa?"), ("gpt-*", "gpt-5*")],
)  # fmt: skip
def test_a_wide_glob_covers_a_narrow_one(wide: str, narrow: str) -> None:
    """The cases that people write."""
    assert covers(wide, narrow)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("a*", "*"), ("?", "*"), ("a", "?"), ("a?", "a"), ("gpt-5*", "gpt-*"), ("[ab]", "?"),
     ("", "a"), ("[ab]", "[abc]")],
)  # fmt: skip
def test_a_narrow_glob_does_not_cover_a_wide_one(wide: str, narrow: str) -> None:
    """A warning that is wrong is worse than none."""
    assert not covers(wide, narrow)


@law
@given(globs, globs, st.text(alphabet="ab", max_size=6))
@example("[a", "[a", "[a")
def test_what_is_covered_is_matched(wide: str, narrow: str, text: str) -> None:
    """The law: no text that the narrow takes escapes the wide."""
    if covers(wide, narrow) and fnmatchcase(text, narrow):
        assert fnmatchcase(text, wide)


def test_a_glob_without_wildcards_is_literal() -> None:
    """Only then can a name be looked up."""
    assert is_literal("team-a")
    assert not any(map(is_literal, ("a*", "a?", "[a]")))
