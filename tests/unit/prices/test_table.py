"""The table that is shipped says what genai-prices says, for every model, name and time."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices import types as genai
from genai_prices.data import providers
from msgspec import structs

from proxy.core.pricing import Price, Rates, Tier, cost_micro_usd
from proxy.core.surcharges import Apart, Factor, Factors, Fees
from proxy.core.usage import Extras, Usage
from proxy.prices.build import alternatives, build, factors_of, sheet
from proxy.prices.table import (
    TABLE_PATH,
    Period,
    PriceTable,
    Rare,
    Row,
    Sheet,
    clause_matches,
    load_table,
    sheet_at,
)

TIMES = (
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2025, 6, 1, 3, tzinfo=UTC),
    datetime(2026, 11, 22, 17, 30, tzinfo=UTC),
)
USAGES = (
    Usage(input_tokens=1000, output_tokens=500),
    Usage(100, cache_read_tokens=40, cache_write_tokens=30, output_tokens=77, reasoning_tokens=11),
    Usage(input_tokens=100, cache_read_tokens=530_000, output_tokens=3),
    Usage(input_tokens=50, cache_write_1h_tokens=3000, cache_write_tokens=20, output_tokens=5),
    Usage(900, output_tokens=90, input_audio_tokens=300, output_audio_tokens=40),
    Usage(
        900,
        cache_read_tokens=500,
        output_tokens=2000,
        input_audio_tokens=200,
        extras=Extras(300, 400, 1200, web_searches=3, file_searches=2),
    ),
)


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_table()


def names_of(model: genai.ModelInfo) -> Iterator[str]:
    yield model.id
    for conjunction in alternatives(model.match):
        for operation, text in conjunction:
            if operation != "regex":
                yield from (text, text.upper(), f"{text}-20250929", f"x{text}")


def price_of(found: Sheet) -> Price:
    tiers = tuple(Tier(above, Rates(*rates)) for above, rates in found.tiers)
    rare = found.rare or Rare()
    fees = Fees(found.per_request_pico, rare.web_search, rare.file_search)
    apart = Apart(*rare.apart) if rare.apart else None
    return Price(Rates(*found.rates), tiers, fees, apart=apart)


def genai_usage(usage: Usage) -> genai_prices.Usage:
    extras = usage.extras or Extras()
    heard = extras.cache_read_audio_tokens
    return genai_prices.Usage(
        input_tokens=usage.total_input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        input_audio_tokens=usage.input_audio_tokens + heard,
        output_audio_tokens=usage.output_audio_tokens,
        cache_audio_read_tokens=heard,
        input_image_tokens=extras.input_image_tokens,
        cache_image_read_tokens=0,
        output_image_tokens=extras.output_image_tokens,
        web_searches=extras.web_searches,
        storage_searches=extras.file_searches,
    )


def micro(usd: Decimal) -> int:
    return math.ceil(round(usd, 12) * 10**6)


def test_the_shipped_table_is_what_building_it_writes(table: PriceTable, tmp_path: Path) -> None:
    if table.genai_prices_version != genai_prices.__version__:
        pytest.skip(f"built from genai-prices {table.genai_prices_version}, another is installed")
    built = tmp_path / "table.msgpack"

    build(built)

    assert built.read_bytes() == TABLE_PATH.read_bytes()


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_every_name_means_the_model_that_it_means_to_genai_prices(
    table: PriceTable, provider: genai.Provider
) -> None:
    names = {name for model in provider.models for name in names_of(model)}

    wrong = {
        name
        for name in names
        for want in (provider.find_model(name, all_providers=providers),)
        for got in (table.find(provider.id, name),)
        if (want.id if want else None) != (got.model if got else None)
    }

    assert not wrong


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_every_model_costs_what_it_costs_with_genai_prices(
    table: PriceTable, provider: genai.Provider
) -> None:
    """But for one-hour cache writes of Claude where the data has no price: twice the input here;
    and a rate such as 1/12 is rounded up at the millionth, which may add a micro-dollar."""
    compiled = table.provider(provider.id)
    assert compiled is not None
    for index, model in enumerate(provider.models):
        for at in TIMES:
            found, _ = sheet_at(compiled.row(index), at.timestamp())
            prices = model.get_prices(at)
            for usage in USAGES:
                want = micro(prices.calc_price(genai_usage(usage))["total_price"])
                if found is None:
                    assert want == 0
                elif not (usage.cache_write_1h_tokens and "claude" in model.id):
                    got = cost_micro_usd(price_of(found), usage)
                    assert want <= got <= want + 1, (model.id, at, usage)


def test_every_call_costs_what_it_costs_with_genai_prices_under_each_term(
    table: PriceTable,
) -> None:
    """Service tiers, speeds, batches: 111 models of 7 providers."""
    at = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)
    usage = Usage(1000, cache_read_tokens=4000, cache_write_tokens=700, output_tokens=501)
    told = {"flex": "service_tier", "priority": "service_tier", "fast": "service_tier"}
    told |= {"batch": "processing", "speed:fast": "speed"}
    compared = 0
    for provider in providers:
        compiled = table.provider(provider.id)
        assert compiled is not None
        for index, model in enumerate(provider.models):
            for term, numbers in compiled.row(index).factors.items():
                found, _ = sheet_at(compiled.row(index), at.timestamp())
                assert found is not None
                price = replace(price_of(found), factors=Factors({term: Factor(*numbers)}))
                context = {told[term]: term.removeprefix("speed:")}
                want = model.get_prices(at, context).calc_price(genai_usage(usage))
                got = cost_micro_usd(price, structs.replace(usage, extras=Extras(terms=(term,))))
                assert micro(want["total_price"]) <= got <= micro(want["total_price"]) + 1, model.id
                compared += 1

    assert compared > 150


def test_a_term_that_changes_classes_differently_has_no_factor() -> None:
    usual = genai.ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(4))
    flex = {"service_tier": "flex"}
    odd = genai.PriceVariant(flex, genai.ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(3)))
    half = genai.PriceVariant(flex, genai.ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2)))
    routed = genai.PriceVariant({"route": "eu"}, genai.ModelPrice(input_mtok=Decimal(3)))
    same = genai.PriceVariant({"service_tier": "default"}, usual)

    def factors(*variants: genai.PriceVariant) -> dict[str, tuple[int, int, int]]:
        match = genai.ClauseEquals(equals="m")
        return factors_of(genai.ModelInfo("m", match, prices=usual, price_variants=list(variants)))

    assert factors(odd) == {}
    assert factors(same, half, routed) == {"flex": (1, 2, 1)}


def test_a_one_hour_write_of_claude_costs_twice_the_input_where_no_price_is_known() -> None:
    prices = genai.ModelPrice(input_mtok=Decimal(3), cache_write_mtok=Decimal("3.75"))

    of_claude, of_another = sheet(prices, "claude-x"), sheet(prices, "gpt-x")

    assert of_claude is not None
    assert of_another is not None
    assert of_claude.rates[4] == 6_000_000
    assert of_another.rates[4] == 3_750_000


def test_nothing_known_is_not_nought() -> None:
    """An empty price means free only where the name says so."""
    empty = genai.ModelPrice()

    assert sheet(empty, "gpt-4o") is None
    assert sheet(genai.ModelPrice(audio_hours=Decimal(1)), "whisper") is None
    assert sheet(empty, "some-model:free") == Sheet((0,) * 8)


def test_a_provider_is_known_by_its_url_or_by_the_names_it_claims(table: PriceTable) -> None:
    assert table.provider_of_url("https://api.openai.com/v1") == "openai"
    assert table.provider_of_url("https://me.openai.azure.com/openai/v1") == "azure"
    assert table.provider_of_url("http://127.0.0.1:11434/v1") is None
    assert table.provider_of_model("claude-next") == "anthropic"
    assert table.provider_of_model("nobody-1") is None
    assert table.provider("nobody") is None
    assert table.find("nobody", "gpt-5") is None


def test_a_compact_date_is_tried_with_dashes(table: PriceTable) -> None:
    row = table.find("openai", "gpt-4o-20240513")

    assert row is not None
    assert row.model == "gpt-4o-2024-05-13"


def row_of(*periods: Period) -> Row:
    return Row("m", None, periods)


def at_rate(rate: int) -> Sheet:
    return Sheet((rate,) * 8)


def test_an_announced_price_begins_on_its_day_and_the_answer_says_until_when_it_is_sure() -> None:
    row = row_of(Period(at_rate(1)), Period(at_rate(2), 1_000_000))

    assert sheet_at(row, 999_999.9) == (at_rate(1), 1_000_000)
    assert sheet_at(row, 1_000_000) == (at_rate(2), float("inf"))


def test_a_daily_price_holds_over_midnight_too() -> None:
    day = 86_400
    row = row_of(Period(at_rate(1)), Period(at_rate(2), None, (80_000, 10_000)))

    assert sheet_at(row, 5 * day + 79_999) == (at_rate(1), 5 * day + 80_000)
    assert sheet_at(row, 5 * day + 80_000) == (at_rate(2), 6 * day + 10_000)
    assert sheet_at(row, 6 * day + 9_999) == (at_rate(2), 6 * day + 10_000)
    assert sheet_at(row, 6 * day + 10_000) == (at_rate(1), 6 * day + 80_000)


def test_the_first_period_holds_where_none_does() -> None:
    assert sheet_at(row_of(Period(at_rate(1), 100)), 50) == (at_rate(1), 100)
    assert sheet_at(row_of(), 50) == (None, float("inf"))


@pytest.mark.parametrize(
    ("operation", "text", "name", "matches"),
    [
        ("equals", "a", "a", True),
        ("equals", "a", "ab", False),
        ("starts_with", "a", "ab", True),
        ("ends_with", "b", "ab", True),
        ("contains", "b", "abc", True),
        ("regex", "^o[134]", "o3-mini", True),
        ("regex", "^o[134]", "gpt-o3", False),
    ],
)
def test_clauses_compare_as_they_say(operation: str, text: str, name: str, matches: bool) -> None:
    assert clause_matches((operation, text), name) is matches  # type: ignore[arg-type] # literals


def test_a_conjunction_of_alternatives_is_spread_out() -> None:
    both = genai.ClauseAnd(
        and_=[
            genai.ClauseContains(contains="X"),
            genai.ClauseOr(or_=[genai.ClauseEquals(equals="ax"), genai.ClauseEquals(equals="bx")]),
        ]
    )

    assert list(alternatives(both)) == [
        (("contains", "x"), ("equals", "ax")),
        (("contains", "x"), ("equals", "bx")),
    ]


def test_a_kind_of_match_that_is_new_stops_the_build() -> None:
    """Better no new table than one that reads a rule wrongly."""
    with pytest.raises(TypeError, match="does not know"):
        list(alternatives("a new kind"))  # type: ignore[arg-type] # that is the point
