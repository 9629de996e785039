"""Figures of a provider that may be wrong, and must do no harm."""

from decimal import Decimal

import msgspec
import pytest

from proxy.core.dialects.reported import micro_usd, read_list, readable, text_or_none, token_count


@pytest.mark.parametrize(
    ("told", "tokens"), [(None, 0), (-5, 0), (7.9, 7), (12, 12), (10**30, 10**12)]
)
def test_a_count_is_held_within_reason(told: float | None, tokens: int) -> None:
    """A negative one would give a budget back."""
    assert token_count(told) == tokens


@pytest.mark.parametrize(
    ("told", "cost_micro_usd"),
    [
        (0, 0),
        (0.0000011, 2),
        (1.5, 1_500_000),
        (-0.1, None),
        (10**9, None),
        ("1", None),
        (True, None),
    ],
)
def test_money_is_rounded_up_and_nonsense_is_none(told: object, cost_micro_usd: int | None) -> None:
    """None is not nought: a call without a bill is priced by its tokens."""
    assert micro_usd(told) == cost_micro_usd


def test_money_can_be_told_in_another_unit() -> None:
    """xAI bills in ticks of a ten-thousandth of a micro-USD."""
    assert micro_usd(15_000, Decimal(10_000)) == 2


@pytest.mark.parametrize(("told", "text"), [("a", "a"), ("", None), (3, None), (None, None)])
def test_only_text_that_says_something_is_text(told: object, text: str | None) -> None:
    """An id of "" is none."""
    assert text_or_none(told) == text


def test_what_cannot_be_read_is_left_out() -> None:
    """Beside it the rest is told."""
    raws = [msgspec.Raw(raw) for raw in (b"1", b'"x"', b"[" * 5000, b"2")]

    assert list(readable(raws, msgspec.json.Decoder(int))) == [1, 2]


@pytest.mark.parametrize(
    ("raw", "read"), [(b"[1, 2]", [1, 2]), (b'[1, "x", 2]', [1, 2]), (b'["x"]', []), (b"[]", [])]
)
def test_a_list_is_read_as_far_as_it_can_be(raw: bytes, read: list[int]) -> None:
    """At once where all of it is known, one by one where something is new."""
    every, each = msgspec.json.Decoder(list[int]), msgspec.json.Decoder(int)

    assert read_list(msgspec.Raw(raw), every, each) == read


def test_what_is_no_list_is_refused() -> None:
    """An answer without its content is none."""
    with pytest.raises(msgspec.DecodeError):
        read_list(msgspec.Raw(b"{}"), msgspec.json.Decoder(list[int]), msgspec.json.Decoder(int))
