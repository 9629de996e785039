"""What streams hold at first: what 95 % of the newest answers stayed within."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.usual import UsualOutput


def learned(*tokens: int, agent: str | None = "a") -> UsualOutput:
    usual = UsualOutput()
    for one in tokens:
        usual.observe("t", "m", agent, one)
    return usual


@given(st.lists(st.integers(0, 500), min_size=1, max_size=150))
def test_it_is_what_the_newest_answers_say(tokens: list[int]) -> None:
    """They are kept in order, not sorted for each call: the same must come of it."""
    newest = sorted(tokens[-64:])
    expected = newest[(len(newest) - 1) * 95 // 100] if len(newest) >= 8 else None

    assert learned(*tokens).tokens("t", "m", "a") == expected


def test_an_agent_that_is_not_known_yet_is_like_the_models_others() -> None:
    usual = learned(*range(10))

    assert usual.tokens("t", "m", "b") == usual.tokens("t", "m", None) == 8
    usual.observe("t", "m", "b", 500)
    assert usual.tokens("t", "m", "b") == 9


def test_nobody_hears_of_another_tenants_answers() -> None:
    assert learned(*range(10)).tokens("other", "m", "a") is None


def test_names_that_clients_make_up_are_not_kept_for_ever() -> None:
    usual = UsualOutput()
    for number in range(3_000):
        usual.observe("t", f"m{number}", "a", 1)

    assert len(usual._samples) <= 4_096
