"""An entry of the table is found under many names, and costs what its host bills."""

from proxy.prices.entries import at_host, price_of, spellings
from proxy.prices.table import Period as When
from proxy.prices.table import Rare, Row, Sheet, load_table

NOW = 1_795_370_400.0  # 2026-11-22, 18:00 UTC
RATES = (10, 20, 1, 12, 15, 10, 20, 20)


def test_spellings_go_from_the_name_as_sent_to_the_plainest() -> None:
    assert list(spellings("openai/gpt-5-2025-08-07:nitro")) == [
        "openai/gpt-5-2025-08-07:nitro",
        "openai/gpt-5-2025-08-07",
        "openai/gpt-5",
        "gpt-5-2025-08-07:nitro",
        "gpt-5-2025-08-07",
        "gpt-5",
    ]


def test_a_row_becomes_a_price_with_all_that_it_has() -> None:
    sheet = Sheet(RATES, ((100, RATES),), 5, Rare(6, 7, (1, 2, 3)))
    found = price_of(Row("m", 1000, (When(sheet),)), "meta", NOW)
    assert found is not None

    price, until = found

    assert until == float("inf")
    assert price.tiers[0].above_input_tokens == 100
    assert (price.fees.request, price.fees.web_search, price.fees.file_search) == (5, 6, 7)
    assert price.apart is not None
    assert price.apart.output_image == 3
    assert (price.context_window, price.provider, price.model) == (1000, "meta", "m")


def test_a_row_that_is_not_billed_by_the_token_has_no_price() -> None:
    assert price_of(Row("m", None, (When(None),)), "meta", NOW) is None


def test_claudes_prompts_are_written_to_a_cache_when_asked_at_those_that_say_so() -> None:
    row = Row("claude-opus-5", None, (When(Sheet(RATES)),))

    def asked(row: Row, provider: str) -> bool:
        found = price_of(row, provider, NOW)
        assert found is not None
        return found[0].writes_when_asked

    assert asked(row, "anthropic")
    assert not asked(row, "github-copilot")
    assert not asked(Row("gpt-6", None, row.periods), "openrouter")


def test_processing_in_one_region_costs_a_tenth_more() -> None:
    """Of OpenAI's models since GPT-5.4."""
    table = load_table()
    for model, dearer in (("gpt-5.5", True), ("gpt-5.1", False)):
        row = table.find("openai", model)
        assert row is not None
        found = price_of(row, "openai", NOW)
        assert found is not None
        price = found[0]

        there = at_host(price, "https://eu.api.openai.com/v1", is_known=True)
        here = at_host(price, "https://api.openai.com/v1", is_known=True)

        assert here is price
        times = 11 if dearer else 10
        assert there.rates.output * 10 == price.rates.output * times
        assert [t.rates.input * 10 for t in there.tiers] == [
            t.rates.input * times for t in price.tiers
        ]
