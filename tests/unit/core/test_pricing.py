"""Costs are exact and rounded up; a hold is never less than what any usage within it can cost."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.policy import PriceOverride
from proxy.core.pricing import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    FREE,
    NO_TOKEN_BOUND,
    Price,
    Rates,
    Tier,
    affordable_output_tokens,
    cost_micro_usd,
    hold_cost,
    max_output_tokens,
    override_rates,
    pico_per_token,
)
from proxy.core.usage import Usage

USD = 1_000_000
SONNET = Price(
    Rates(3 * USD, 15 * USD, 300_000, 3_750_000, 6 * USD, 3 * USD, 15 * USD, 15 * USD),
    tiers=(
        Tier(
            200_000,
            Rates(
                6 * USD, 22_500_000, 600_000, 7_500_000, 12 * USD, 6 * USD, 22_500_000, 22_500_000
            ),
        ),
    ),
)

rate = st.integers(0, 600 * USD)
count = st.integers(0, 2_000_000)
rates = st.builds(Rates, *(rate for _ in range(8)))
tiers = st.lists(st.tuples(count, rates), max_size=3, unique_by=lambda tier: tier[0]).map(
    lambda pairs: tuple(Tier(*pair) for pair in sorted(pairs, key=lambda pair: pair[0]))
)
prices = st.builds(Price, rates, tiers, st.integers(0, 10**11))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    fresh, generated = draw(count), draw(count)
    audio = draw(st.integers(0, generated))
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=draw(count),
        cache_write_tokens=draw(count),
        cache_write_1h_tokens=draw(count),
        output_tokens=generated,
        reasoning_tokens=draw(st.integers(0, generated)),
        input_audio_tokens=draw(st.integers(0, fresh)),
        output_audio_tokens=audio,
    )


def test_every_class_of_token_is_billed_at_its_own_rate() -> None:
    usage = Usage(
        input_tokens=1000,
        cache_read_tokens=10_000,
        cache_write_tokens=2000,
        cache_write_1h_tokens=500,
        output_tokens=100,
    )

    assert cost_micro_usd(SONNET, usage) == 3000 + 3000 + 7500 + 3000 + 1500


def test_past_a_threshold_the_whole_call_is_dearer() -> None:
    """Cached input counts toward the threshold too."""
    at = Usage(input_tokens=1, cache_read_tokens=199_999)
    past = Usage(input_tokens=1, cache_read_tokens=200_000)

    assert cost_micro_usd(SONNET, at) == 3 + 60_000
    assert cost_micro_usd(SONNET, past) == 6 + 120_000


def test_a_millionth_of_a_dollar_is_charged_rather_than_lost() -> None:
    cheap = replace(FREE, rates=replace(FREE.rates, input=1))

    assert cost_micro_usd(cheap, Usage(input_tokens=1)) == 1


def test_what_the_provider_says_it_billed_wins() -> None:
    usage = Usage(input_tokens=10**6, output_tokens=10**6, billed_cost_micro_usd=0)

    assert cost_micro_usd(SONNET, usage) == 0


def test_audio_and_reasoning_are_parts_and_not_charged_twice() -> None:
    price = Price(Rates(1 * USD, 2 * USD, 0, 0, 0, 10 * USD, 20 * USD, 4 * USD))
    usage = Usage(
        input_tokens=100,
        input_audio_tokens=40,
        output_tokens=50,
        output_audio_tokens=10,
        reasoning_tokens=30,
    )

    assert cost_micro_usd(price, usage) == 60 + 400 + 10 * 20 + 30 * 4 + 10 * 2


def test_a_broken_providers_negative_counts_give_no_money_back() -> None:
    usage = Usage(input_tokens=-5, output_tokens=-5, cache_read_tokens=-5, billed_cost_micro_usd=-9)

    assert cost_micro_usd(SONNET, usage) == 0
    assert cost_micro_usd(SONNET, replace(usage, billed_cost_micro_usd=None)) == 0


@given(prices, usages())
def test_no_usage_costs_more_than_the_hold_for_its_tokens(price: Price, usage: Usage) -> None:
    assert cost_micro_usd(price, usage) <= hold_cost(
        price, usage.total_input_tokens, usage.output_tokens
    )


@given(prices, usages())
def test_a_hold_without_audio_covers_every_usage_without_audio(price: Price, usage: Usage) -> None:
    """What a request rules out need not be held."""
    plain = replace(usage, input_audio_tokens=0, output_audio_tokens=0, cache_write_1h_tokens=0)

    assert cost_micro_usd(price, plain) <= hold_cost(
        price, plain.total_input_tokens, plain.output_tokens, audio=False, one_hour_writes=False
    )


@given(prices, count, count, count, count)
def test_a_hold_grows_with_either_count(
    price: Price, into: int, out: int, more_in: int, more_out: int
) -> None:
    """Also where a provider's tier for large inputs is the cheaper one."""
    assert hold_cost(price, into, out) <= hold_cost(price, into + more_in, out + more_out)


@given(prices, count, st.integers(0, 10**9))
def test_the_affordable_output_is_the_largest_that_fits(price: Price, into: int, room: int) -> None:
    output = affordable_output_tokens(price, into, room)

    if output < 0:
        assert hold_cost(price, into, 0) > room
    else:
        assert hold_cost(price, into, output) <= room
        assert output == NO_TOKEN_BOUND or hold_cost(price, into, output + 1) > room


def test_output_that_costs_nothing_has_no_bound() -> None:
    assert affordable_output_tokens(FREE, 10**6, 0) == NO_TOKEN_BOUND
    assert affordable_output_tokens(FREE, 0, -1) == -1


def test_an_override_names_what_it_changes_and_the_rest_follows_input_and_output() -> None:
    plain = override_rates(PriceOverride("3.0", "15"))
    cached = override_rates(PriceOverride("3", "15", cache_read="0.3", cache_write="3.75"))
    named = override_rates(PriceOverride("3", "15", cache_write="3.75", cache_write_1h="5"))

    assert plain == Rates(*(3 * USD, 15 * USD), *(3 * USD,) * 4, *(15 * USD,) * 2)
    assert (cached.cache_read, cached.cache_write, cached.cache_write_1h) == (
        300_000,
        3_750_000,
        6 * USD,
    )
    assert named.cache_write_1h == 5 * USD


def test_a_rate_finer_than_a_pico_dollar_is_rounded_up() -> None:
    assert pico_per_token("0.0000001") == 1
    assert pico_per_token(Decimal("0.15")) == 150_000


def test_an_unpublished_maximum_is_the_default_within_the_window() -> None:
    assert max_output_tokens(None) == DEFAULT_MAX_OUTPUT_TOKENS
    assert max_output_tokens(FREE) == DEFAULT_MAX_OUTPUT_TOKENS
    assert max_output_tokens(replace(FREE, context_window=8192)) == 8192
    assert max_output_tokens(replace(FREE, context_window=8192, max_output_tokens=4096)) == 4096
