"""Costs are exact and rounded up; a hold is never less than what any usage within it can cost."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from proxy.core.exposure import ANYTHING, PLAIN, Exposure
from proxy.core.policy import PriceOverride
from proxy.core.pricing import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    FREE,
    UNKNOWN_MAX_OUTPUT_TOKENS,
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
from proxy.core.surcharges import Apart, Factor, Factors, Fees
from proxy.core.tariff import NO_TOKEN_BOUND
from proxy.core.usage import Extras, Usage

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
    writes_when_asked=True,
)

TERMS = ("flex", "priority", "geo:us", "new")
MODALITY = Price(
    Rates(1 * USD, 2 * USD, 100_000, 0, 0, 10 * USD, 20 * USD, 4 * USD),
    apart=Apart(cache_read_audio=500_000, input_image=3 * USD, output_image=30 * USD),
)

# Small and coarse, so that thresholds are met and single classes decide.
rate = st.sampled_from([0, 1, USD // 10, USD, 3 * USD, 20 * USD])
count = st.integers(0, 300)
few = st.integers(0, 6)
rates = st.builds(Rates, *(rate for _ in range(8)))
tiers = st.lists(st.tuples(count, rates), max_size=3, unique_by=lambda tier: tier[0]).map(
    lambda pairs: tuple(Tier(*pair) for pair in sorted(pairs, key=lambda pair: pair[0]))
)
fee = st.sampled_from([0, 1, 10**9])
fees = st.builds(
    Fees,
    *(fee for _ in range(4)),
    st.dictionaries(st.sampled_from(["low", "high"]), fee),
    st.sampled_from([0, 10]),
)
factors = st.dictionaries(
    st.sampled_from(TERMS[:3]), st.builds(Factor, *(st.integers(1, 9) for _ in range(3)))
).map(Factors)
prices = st.builds(
    Price,
    rates,
    tiers,
    fees,
    factors,
    st.none() | st.builds(Apart, rate, rate, rate),
    writes_when_asked=st.booleans(),
    hold_times=st.integers(1, 2),
)
terms = st.lists(st.sampled_from(TERMS), max_size=2, unique=True).map(tuple)
exposures = st.builds(Exposure, st.sampled_from(["none", "5m", "1h"]), st.booleans(), few, terms)


@st.composite
def usages(draw: st.DrawFn, within: Exposure = ANYTHING, *, asked: bool = False) -> Usage:
    """Any usage that a request of this exposure can come to; asked: at a provider that writes to a
    cache only when it is."""
    writes = {"none": () if asked else ("5m",), "5m": ("5m",), "1h": ("5m", "1h")}
    allowed = writes[within.cache_writes]
    fresh, generated, read = draw(count), draw(count), draw(count)
    heard = st.integers(0, fresh) if within.audio else st.just(0)
    said = st.integers(0, generated) if within.audio else st.just(0)
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read,
        cache_write_tokens=draw(count) if "5m" in allowed else 0,
        cache_write_1h_tokens=draw(count) if "1h" in allowed else 0,
        output_tokens=generated,
        reasoning_tokens=draw(st.integers(0, generated)),
        input_audio_tokens=draw(heard),
        output_audio_tokens=draw(said),
        extras=draw(st.none() | extras_of(read, fresh, generated, within)),
    )


def extras_of(read: int, fresh: int, generated: int, within: Exposure) -> st.SearchStrategy[Extras]:
    searches = within.searches
    return st.builds(
        Extras,
        st.integers(0, read) if within.audio else st.just(0),
        st.integers(0, fresh),
        st.integers(0, generated),
        st.integers(0, searches // 3),
        st.integers(0, searches // 3),
        st.integers(0, searches // 3),
        st.sampled_from([None, "low", "high"]),
        # served as asked for, or as usual
        st.sets(st.sampled_from(within.terms)).map(tuple) if within.terms else st.just(()),
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


def test_a_threshold_is_passed_by_one_sampling_and_not_by_the_sum_of_all() -> None:
    """After a compaction the model reads less: neither time was the prompt over 200,000."""
    each = (Usage(180_000, output_tokens=3500), Usage(23_000, output_tokens=1000))
    usage = Usage(203_000, output_tokens=4500, extras=Extras(iterations=each))

    assert cost_micro_usd(SONNET, usage) == 203_000 * 3 + 4500 * 15


def test_output_that_was_counted_beyond_the_iterations_is_billed_too() -> None:
    """A stream that is cut has no figure of the iteration that was running."""
    extras = Extras(iterations=(Usage(1000, output_tokens=10), Usage(1000)))
    usage = Usage(2000, output_tokens=50, extras=extras)

    assert cost_micro_usd(SONNET, usage) == 2000 * 3 + 50 * 15


def test_a_millionth_of_a_dollar_is_charged_rather_than_lost() -> None:
    cheap = replace(FREE, rates=replace(FREE.rates, input=1))

    assert cost_micro_usd(cheap, Usage(input_tokens=1)) == 1


@pytest.mark.parametrize(
    ("billed", "booked"),
    [
        (9_000_000, 9_000_000),  # another host, or a discount
        (180_000, 180_000),  # a hundredth of ours
        (1_800_000_000 + 5_000_000, 1_800_000_000 + 5_000_000),
        (0, 18_000_000),  # of a model that costs something
        (179_999, 18_000_000),
        (1_800_000_000 + 5_000_001, 18_000_000),
        (-9, 18_000_000),
    ],
)
def test_what_the_provider_says_it_billed_wins_if_it_can_be_true(billed: int, booked: int) -> None:
    """What is in another unit, or made up, neither frees the budget nor ends it."""
    usage = Usage(input_tokens=10**6, output_tokens=10**6, billed_cost_micro_usd=billed)
    price = replace(SONNET, tiers=())

    assert cost_micro_usd(price, usage) == booked


def test_a_model_without_a_price_of_its_own_costs_what_was_billed() -> None:
    """Even nothing: there are models in preview. At the dearest price all bills look small."""
    unknown = replace(SONNET, source="dearest")
    usage = Usage(input_tokens=10**6, output_tokens=10**6)

    for billed in (0, 17, 400_000):
        told = structs.replace(usage, billed_cost_micro_usd=billed)
        assert cost_micro_usd(unknown, told) == billed
    for billed in (10**12, -1):
        told = structs.replace(usage, billed_cost_micro_usd=billed)
        assert cost_micro_usd(unknown, told) == 10**6 * (6 + 22.5)


def test_a_fee_on_a_call_that_costs_no_tokens_is_believed() -> None:
    routed = replace(FREE, source="genai-prices")

    assert cost_micro_usd(routed, Usage(10, billed_cost_micro_usd=20_000)) == 20_000


def test_an_upstream_that_the_policy_calls_free_bills_nothing() -> None:
    """Some local servers report what their model would cost elsewhere."""
    assert cost_micro_usd(FREE, Usage(10, billed_cost_micro_usd=20_000)) == 0


def test_audio_and_reasoning_are_parts_and_not_charged_twice() -> None:
    usage = Usage(
        input_tokens=100,
        input_audio_tokens=40,
        output_tokens=50,
        output_audio_tokens=10,
        reasoning_tokens=30,
    )

    assert cost_micro_usd(MODALITY, usage) == 60 + 400 + 10 * 20 + 30 * 4 + 10 * 2


def test_images_and_cached_audio_are_parts_and_not_charged_twice() -> None:
    extras = Extras(cache_read_audio_tokens=40, input_image_tokens=30, output_image_tokens=1000)
    usage = Usage(100, cache_read_tokens=100, output_tokens=1010, extras=extras)
    thought = structs.replace(usage, reasoning_tokens=210)  # of 1,010 at most 800 were drawn

    assert cost_micro_usd(MODALITY, usage) == 70 + 90 + 6 + 20 + 30_000 + 20
    assert cost_micro_usd(MODALITY, thought) == 70 + 90 + 6 + 20 + 24_000 + 840


def test_a_call_is_billed_as_it_was_served() -> None:
    """Cache reads may have a factor of their own; terms multiply; no fee is multiplied."""
    factors = Factors({"flex": Factor(1, 2, 2), "speed:fast": Factor(2, 1, 2)})
    price = replace(SONNET, factors=factors, fees=Fees(web_search=10**10))
    usage = Usage(1000, cache_read_tokens=1000, output_tokens=100)
    usual = 3000 + 300 + 1500

    def cost(*terms: str) -> int:
        extras = Extras(web_searches=2, terms=terms)
        return cost_micro_usd(price, structs.replace(usage, extras=extras)) - 20_000

    assert cost() == usual
    assert cost("flex") == 1500 + 300 + 750
    assert cost("speed:fast") == 2 * usual
    assert cost("flex", "speed:fast") == 2 * (1500 + 300 + 750)
    assert cost("priority") == 2 * usual  # nobody published it
    assert cost("batch") == usual  # nor this, which would be cheaper


def test_a_fraction_that_a_factor_leaves_is_charged() -> None:
    third = replace(
        FREE, rates=replace(FREE.rates, input=1), factors=Factors({"t": Factor(1, 3, 1)})
    )

    assert cost_micro_usd(third, Usage(1, extras=Extras(terms=("t",)))) == 1


def test_cached_audio_has_the_factor_of_cache_reads() -> None:
    price = replace(MODALITY, factors=Factors({"flex": Factor(1, 2, 2)}))
    extras = Extras(cache_read_audio_tokens=100, terms=("flex",))

    assert cost_micro_usd(price, Usage(100, cache_read_tokens=100, extras=extras)) == 50 + 50


def test_fees_are_billed_beside_the_tokens() -> None:
    fees = Fees(1 * 10**9, 10 * 10**9, 25 * 10**8, 30 * 10**9, {"low": 5 * 10**9})
    price = replace(FREE, fees=fees)

    assert cost_micro_usd(price, Usage()) == 1000
    assert cost_micro_usd(price, Usage(extras=Extras(search_context="low"))) == 5000
    assert cost_micro_usd(price, Usage(extras=Extras(search_context="huge"))) == 1000
    used = Extras(web_searches=3, file_searches=2, containers=1)
    assert cost_micro_usd(price, Usage(extras=used)) == 1000 + 30_000 + 5000 + 30_000


def test_a_bill_that_is_rounded_is_rounded_here_too() -> None:
    """Perplexity's: 5,073 and 5,148 micro-USD were billed as 5,070 and 5,150."""
    price = replace(FREE, fees=Fees(5_073 * USD, step_micro_usd=10))
    other = replace(FREE, fees=Fees(5_148 * USD, step_micro_usd=10))

    assert cost_micro_usd(price, Usage()) == 5070
    assert cost_micro_usd(other, Usage()) == 5150


def test_a_broken_providers_negative_counts_give_no_money_back() -> None:
    usage = Usage(input_tokens=-5, output_tokens=-5, cache_read_tokens=-5)

    assert cost_micro_usd(SONNET, usage) == 0


@given(prices, st.data())
def test_no_usage_costs_more_than_the_hold_for_its_tokens(
    price: Price, data: st.DataObject
) -> None:
    """In every tier, cache class, modality, service tier, with every fee that the request allows:
    what it rules out is not held, and what it does not is."""
    exposure = data.draw(exposures)
    usage = data.draw(usages(exposure, asked=price.writes_when_asked))

    held = hold_cost(price, usage.total_input_tokens, usage.output_tokens, exposure)

    assert cost_micro_usd(price, usage) <= held


@given(prices, usages(), st.data())
def test_more_tokens_never_cost_less(price: Price, usage: Usage, data: st.DataObject) -> None:
    """In each class, below the threshold of the next tier (whose rates may be lower)."""
    price = replace(price, tiers=())
    name = data.draw(
        st.sampled_from(
            ["input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"]
        )
    )
    usage = structs.replace(usage, extras=None)
    more = structs.replace(usage, **{name: getattr(usage, name) + data.draw(count)})

    assert cost_micro_usd(price, usage) <= cost_micro_usd(price, more)


@given(prices, count, count, count, count, exposures)
def test_a_hold_grows_with_either_count(
    price: Price, into: int, out: int, more_in: int, more_out: int, exposure: Exposure
) -> None:
    """Also where a provider's tier for large inputs is the cheaper one."""
    more = hold_cost(price, into + more_in, out + more_out, exposure)

    assert hold_cost(price, into, out, exposure) <= more


@given(prices, count, st.integers(0, 30_000), exposures)
def test_the_affordable_output_is_the_largest_that_fits(
    price: Price, into: int, room: int, exposure: Exposure
) -> None:
    output = affordable_output_tokens(price, into, room, exposure)

    if output < 0:
        assert hold_cost(price, into, 0, exposure) > room
    else:
        assert hold_cost(price, into, output, exposure) <= room
        assert output == NO_TOKEN_BOUND or hold_cost(price, into, output + 1, exposure) > room


def test_what_was_held_before_changes_no_hold() -> None:
    """Rates are found once for each exposure and tier; one price serves many calls."""
    calls = [(size, out, e) for e in (PLAIN, ANYTHING) for size in (300_000, 1) for out in (0, 5)]
    alone = [hold_cost(replace(SONNET), *call) for call in calls]
    price = replace(SONNET)

    assert [hold_cost(price, *call) for call in calls * 2] == alone * 2


def test_exposures_that_clients_make_up_are_not_kept_for_ever() -> None:
    price = replace(SONNET)
    for searches in range(1_000):
        hold_cost(price, 10, 10, Exposure(searches=searches))

    assert len(price.tariffs) <= 64


def test_a_hold_covers_each_class_where_that_one_is_the_dearest() -> None:
    """At the first token past a threshold as well."""
    cheap = Rates(*(USD,) * 8)

    def held(exposure: Exposure = PLAIN, **dear: int) -> int:
        return hold_cost(Price(replace(cheap, **dear)), 100, 10, exposure)

    assert held() == 110
    assert held(cache_read=5 * USD) == 500 + 10
    assert held(reasoning=5 * USD) == 100 + 50
    assert held(cache_write=5 * USD) == 500 + 10
    assert held(cache_write_1h=5 * USD) == 110
    assert held(Exposure("1h"), cache_write_1h=5 * USD) == 500 + 10
    assert held(input_audio=5 * USD, output_audio=5 * USD) == 110
    assert held(Exposure(audio=True), input_audio=5 * USD) == 500 + 10
    assert held(Exposure(audio=True), output_audio=5 * USD) == 100 + 50
    heard = Price(cheap, apart=Apart(5 * USD, USD, USD))
    assert hold_cost(heard, 100, 10, Exposure(audio=True)) == 500 + 10
    assert hold_cost(heard, 100, 10, PLAIN) == 110
    tiered = Price(cheap, (Tier(99, Rates(*(7 * USD,) * 8)),))
    assert hold_cost(tiered, 99, 0, PLAIN) == 99
    assert hold_cost(tiered, 100, 0, PLAIN) == 700


def test_a_hold_covers_every_fee_and_what_rounding_adds() -> None:
    """Whichever of the provider's tools the model uses, and however large its search context."""
    fees = Fees(10**9, 2 * 10**9, 3 * 10**9, 5 * 10**9, {"low": 10**9, "high": 7 * 10**9})
    rounded = replace(FREE, fees=Fees(5_075 * USD, step_micro_usd=10))

    assert hold_cost(replace(FREE, fees=fees), 0, 0, PLAIN) == 7000
    assert hold_cost(replace(FREE, fees=fees), 0, 0, Exposure(searches=4)) == 7000 + 20_000
    one = replace(FREE, fees=Fees(web_search=2 * 10**9))
    assert hold_cost(one, 0, 0, Exposure(searches=4)) == 8000
    assert cost_micro_usd(rounded, Usage()) == 5080
    assert hold_cost(rounded, 0, 0, PLAIN) >= 5080


def test_a_hold_is_not_dearer_than_the_request_can_be() -> None:
    """A plain request to Claude is held at the price of its input, not at twice that."""
    price = replace(SONNET, tiers=())

    assert hold_cost(price, 1000, 0, PLAIN) == 3000
    assert hold_cost(price, 1000, 0, Exposure("5m")) == 3750
    assert hold_cost(price, 1000, 0, Exposure("1h")) == 6000
    assert hold_cost(price, 1000, 0) == 6000  # of a request that was not looked at
    assert hold_cost(replace(price, writes_when_asked=False), 1000, 0, PLAIN) == 3750
    assert hold_cost(MODALITY, 0, 1000, PLAIN) == 30_000  # what image models may always make
    assert hold_cost(MODALITY, 1000, 0, PLAIN) == 3000
    assert hold_cost(MODALITY, 1000, 0, Exposure(audio=True)) == 10_000


def test_a_discount_that_was_asked_for_is_not_counted_on() -> None:
    """A provider out of flex capacity serves the call at its usual price."""
    factors = Factors({"flex": Factor(1, 2, 2), "priority": Factor(5, 2, 5)})
    price = replace(SONNET, tiers=(), factors=factors, hold_times=2)

    assert hold_cost(price, 1000, 0, Exposure(terms=("flex",))) == 2 * 3000
    assert hold_cost(price, 1000, 0, Exposure(terms=("priority",))) == 2 * 7500
    dear_reads = replace(price, factors=Factors({"odd": Factor(1, 1, 3)}))
    assert hold_cost(dear_reads, 1000, 0, Exposure(terms=("odd",))) == 2 * 3 * 3000


def test_what_is_held_under_a_factor_is_what_can_be_afforded() -> None:
    """Fees are no part of what is multiplied."""
    factors = Factors({"priority": Factor(5, 2, 5)})
    price = Price(Rates(*(USD,) * 8), factors=factors, fees=Fees(10**9))
    exposure = Exposure(terms=("priority",))

    assert hold_cost(price, 100, 100, exposure) == 500 + 1000
    assert affordable_output_tokens(price, 100, 1500, exposure) == 100
    assert affordable_output_tokens(price, 100, 1499, exposure) == 99


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
    assert max_output_tokens(FREE) == DEFAULT_MAX_OUTPUT_TOKENS
    assert max_output_tokens(replace(FREE, context_window=8192)) == 8192
    assert max_output_tokens(replace(FREE, context_window=8192, max_output_tokens=4096)) == 4096


def test_a_model_without_a_price_is_not_held_at_the_largest_maximum_there_is() -> None:
    """Ten calls of an unknown model would fill the default budget of a day."""
    unknown = replace(SONNET, source="dearest")

    assert max_output_tokens(None) == UNKNOWN_MAX_OUTPUT_TOKENS
    assert max_output_tokens(unknown) == UNKNOWN_MAX_OUTPUT_TOKENS
    assert max_output_tokens(replace(unknown, max_output_tokens=64_000)) == 64_000
