"""What is published beside the price of tokens is found by the entry of a model."""

from fractions import Fraction

import pytest

from proxy.core.surcharges import NO_FEES, Factor, Fees
from proxy.prices.surcharges import factors_for, fees_for, hold_times_for, is_regionally_dearer

BILLION = 10**9


@pytest.mark.parametrize(
    ("provider", "model", "term", "factor", "of_reads"),
    [
        ("openai", "gpt-6-astra", "ultrafast", "60/10", "6/1"),
        ("openai", "gpt-9", "flex", "1/2", "1/2"),
        ("azure", "gpt-9", "priority", "2", "2"),
        ("openrouter", "openai/gpt-5.5", "flex", "1/2", "1/2"),
        ("openrouter", "qwen/qwen3", "flex", "1", "1"),
        ("anthropic", "claude-opus-9", "speed:fast", "2", "2"),
        ("anthropic", "claude-opus-4-6", "speed:fast", "6", "6"),
        ("anthropic", "claude-opus-5", "geo:us", "1.1", "1.1"),
        ("anthropic", "claude-opus-5", "priority", "1", "1"),
        ("google", "gemini-2.5-pro", "flex", "0.625/1.25", "0.125/0.125"),
        ("google", "gemini-3.1-pro-preview", "flex", "1/2", "1"),
        ("google", "gemini-3.5-flash", "flex", "0.75/1.5", "0.08/0.15"),
        ("google", "gemini-3.5-flash-lite", "flex", "0.15/0.3", "0.02/0.03"),
        ("google", "gemini-3.8-flash", "flex", "1/2", "1/2"),
        ("google", "gemini-3.8-flash", "priority", "1.8", "1.8"),
        ("aws", "openai.gpt-oss-120b-1:0", "priority", "1.75", "1.75"),
        ("groq", "openai/gpt-oss-120b", "flex", "1", "1"),
        ("nobody", "gpt-5", "flex", "1", "1"),
        ("nobody", "gpt-5", "priority", "2", "2"),
    ],
)
def test_a_factor_is_the_ratio_of_the_published_prices(
    provider: str, model: str, term: str, factor: str, of_reads: str
) -> None:
    found = factors_for(provider, model, {}).of(term)

    assert Fraction(found.times, found.per) == ratio(factor)
    assert Fraction(found.reads, found.per) == ratio(of_reads)


def test_a_factor_of_the_data_comes_before_one_of_ours() -> None:
    found = factors_for("aws", "m", {"flex": Factor(1, 3, 1), "new": Factor(7, 1, 7)})

    assert found.of("flex") == Factor(1, 3, 1)
    assert found.of("new") == Factor(7, 1, 7)
    assert found.of("priority") == Factor(7, 4, 7)
    assert factors_for("nobody", "m", {"new": Factor(7, 1, 7)}).of("new") == Factor(7, 1, 7)


def ratio(text: str) -> Fraction:
    over, _, under = text.partition("/")
    return Fraction(over) / Fraction(under or "1")


@pytest.mark.parametrize(
    ("provider", "model", "fees"),
    [
        ("openai", "gpt-5", Fees(web_search=7, container=30 * BILLION)),
        ("openai", "gpt-4o-search-preview", Fees(25 * BILLION, 7, container=30 * BILLION)),
        ("openrouter", "openai/gpt-5", Fees(web_search=7)),
        ("anthropic", "claude-opus-5", Fees(web_search=7)),
    ],
)
def test_fees_that_the_data_has_not_are_put_beside_those_it_has(
    provider: str, model: str, fees: Fees
) -> None:
    assert fees_for(provider, model, Fees(web_search=7)) == fees


def test_a_search_that_a_router_runs_has_its_own_fee() -> None:
    assert fees_for("openrouter", "qwen/qwen3", NO_FEES).web_search == 10 * BILLION


@pytest.mark.parametrize(
    ("provider", "model", "by_size"),
    [
        ("perplexity", "sonar", (5, 8, 12)),
        ("perplexity", "sonar-pro", (6, 10, 14)),
        ("perplexity", "sonar-reasoning-pro", (6, 10, 14)),
        ("openrouter", "perplexity/sonar", (5, 8, 12)),
    ],
)
def test_a_request_to_perplexity_costs_by_the_size_of_its_context(
    provider: str, model: str, by_size: tuple[int, int, int]
) -> None:
    fees = fees_for(provider, model, Fees(12 * BILLION))

    assert tuple(fees.by_context.values()) == tuple(usd * BILLION for usd in by_size)
    assert fees.request == fees.by_context["low"]
    assert fees.step_micro_usd == 10


def test_without_fees_there_are_none() -> None:
    """Told by identity, so that a hold need not add them up."""
    assert fees_for("groq", "llama", Fees()) is NO_FEES


def test_open_weights_behind_a_router_are_held_twice() -> None:
    assert hold_times_for("openrouter", "qwen/qwen3-30b-a3b") == 2
    assert hold_times_for("openrouter", "openai/gpt-oss-20b") == 2
    assert hold_times_for("openrouter", "google/gemma-3") == 2
    assert hold_times_for("openrouter", "google/gemini-3-pro-preview") == 1
    assert hold_times_for("openrouter", "openai/gpt-5") == 1
    assert hold_times_for("groq", "qwen/qwen3-32b") == 1


def test_only_newer_models_are_dearer_in_one_region() -> None:
    assert is_regionally_dearer("https://us.api.openai.com/v1", "gpt-6-sol")
    assert not is_regionally_dearer("https://us.api.openai.com/v1", "gpt-4.1")
    assert not is_regionally_dearer("https://api.openai.com/v1", "gpt-6-sol")
