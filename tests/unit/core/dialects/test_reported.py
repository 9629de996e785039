"""Figures of a provider that may be wrong, and must do no harm."""

import msgspec
import pytest

from proxy.core.dialects.reported import (
    billed_micro_usd,
    counted,
    member,
    read_list,
    readable,
    some,
    terms_of,
    text_or_none,
    token_count,
    value_of,
)
from proxy.core.usage import Extras


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
        (float("nan"), None),
        (float("inf"), None),
        ("1", None),
        (True, None),
        ([1], None),
        ({"total_cost": 0.5}, 500_000),
        ({"total_cost": "0.5"}, None),
        ({}, None),
    ],
)
def test_money_is_rounded_up_and_nonsense_is_none(told: object, cost_micro_usd: int | None) -> None:
    """None is not nought: a call without a bill is priced by its tokens."""
    assert billed_micro_usd(told) == cost_micro_usd


def test_a_bill_in_a_providers_own_unit_wins() -> None:
    """xAI bills in ticks of a ten-thousandth of a micro-USD."""
    assert billed_micro_usd(None, 15_000) == 2
    assert billed_micro_usd(1, 15_000) == 2
    assert billed_micro_usd(1, "many") == 1_000_000


def test_with_the_callers_own_key_both_bills_count_or_none() -> None:
    """A fee alone, which may be nought, would have the call look free. Added before rounding."""
    upstream = {"upstream_inference_cost": 0.0000004}

    assert billed_micro_usd(0.0000005, is_byok=True, details=upstream) == 1
    assert billed_micro_usd(0, is_byok=True, details={"upstream_inference_cost": None}) is None
    assert billed_micro_usd(0, is_byok=True, details="odd") is None
    assert billed_micro_usd(0.5, is_byok=False, details=upstream) == 500_000
    assert billed_micro_usd(0.5, is_byok="yes", details=upstream) == 500_000


@pytest.mark.parametrize(
    ("told", "terms"),
    [
        ((None,), ()),
        (("default",), ()),
        (("auto", "standard", "global"), ()),
        (("on_demand",), ()),
        (("",), ()),
        ((5, [], {}), ()),
        (("Priority",), ("priority",)),
        (("standard", "fast", "not_available"), ("speed:fast",)),
        (("flex", None, "eu"), ("flex", "geo:eu")),
        (("x" * 100,), ("x" * 32,)),
    ],
)
def test_only_what_is_not_as_usual_is_a_term(
    told: tuple[object, ...], terms: tuple[str, ...]
) -> None:
    assert terms_of(*told) == terms


def test_extras_that_say_nothing_are_none() -> None:
    assert some(Extras()) is None
    assert some(Extras(web_searches=1)) == Extras(web_searches=1)


def test_a_value_of_any_kind_does_no_harm() -> None:
    assert value_of(msgspec.Raw()) is None
    assert value_of(msgspec.Raw(b"1e99999")) is None
    assert value_of(msgspec.Raw(b"[" * 5000)) is None
    assert value_of(msgspec.Raw(b'{"a":1}')) == {"a": 1}
    assert member({"a": 1}, "a") == 1
    assert member([1], "a") is None
    assert [counted(value) for value in (3, 2.5, "3", None, -1)] == [3, 2, 0, 0, 0]


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
