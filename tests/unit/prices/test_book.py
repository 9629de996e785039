"""A model costs what its upstream bills: never invented, looked up once, resolved again in time."""

import pytest

from proxy.core.exposure import PLAIN, Exposure
from proxy.core.policy import Policy, PriceOverride, Upstream
from proxy.core.pricing import (
    Price,
    affordable_output_tokens,
    cost_micro_usd,
    hold_cost,
)
from proxy.core.request import Request
from proxy.core.tariff import NO_TOKEN_BOUND
from proxy.core.usage import Extras, Usage
from proxy.prices.book import PriceBook
from proxy.prices.table import TABLE_PATH, PriceTable, Row, load_table
from tests.fakes import FakeClock

NOW = 1_795_370_400.0  # 2026-11-22, 18:00 UTC
POLICY = Policy(upstreams={}, routes=())
OPENAI = Upstream("openai", "https://api.openai.com/v1")
ANTHROPIC = Upstream("anthropic", "https://api.anthropic.com")
OPENROUTER = Upstream("router", "https://openrouter.ai/api/v1")
GROQ = Upstream("groq", "https://api.groq.com/openai/v1")
GATEWAY = Upstream("gateway", "http://127.0.0.1:4000/v1")
OLLAMA = Upstream("ollama", "http://127.0.0.1:11434/v1", free=True)


class CountingTable(PriceTable):
    """The real table, that counts how often it is asked."""

    asked = 0

    def find(self, provider_id: str, name: str) -> Row | None:
        self.asked += 1
        return super().find(provider_id, name)


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_table()


@pytest.fixture
def book(table: PriceTable) -> PriceBook:
    return PriceBook(table, FakeClock(NOW))


def usd(price: Price | None) -> tuple[float, float] | None:
    return (price.rates.input / 1e6, price.rates.output / 1e6) if price is not None else None


@pytest.mark.parametrize(
    ("upstream", "model", "rates"),
    [
        (OPENAI, "gpt-4o-2024-08-06", (2.5, 10)),
        (OPENAI, "gpt-4o-2024-05-13", (5, 15)),
        (OPENAI, "gpt-5.1-2099-01-01", (1.25, 10)),
        (Upstream("eu", "https://eu.api.openai.com/v1"), "gpt-5.1", (1.25, 10)),
        (ANTHROPIC, "claude-sonnet-4-5-20250929", (3, 15)),
        (OPENROUTER, "anthropic/claude-4.5-sonnet-20250929", (3, 15)),
        (OPENROUTER, "openai/gpt-5:nitro", (1.25, 10)),
        (OPENROUTER, "google/gemini-3-pro-preview", (2, 12)),
        (GATEWAY, "gpt-5", (1.25, 10)),
        (GATEWAY, "openai/gpt-5", (1.25, 10)),
        (GATEWAY, "anthropic/claude-opus-4.5", (5, 25)),
        (GATEWAY, "models/gemini-2.5-pro", (1.25, 10)),
        (GATEWAY, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", (3.3, 16.5)),
        (GATEWAY, "llama-3.3-70b-versatile", (0.59, 0.79)),
    ],
)
def test_a_model_is_found_under_the_names_it_goes_by(
    book: PriceBook, upstream: Upstream, model: str, rates: tuple[float, float]
) -> None:
    price = book.price_for(POLICY, upstream, model)

    assert usd(price) == rates
    assert price is not None
    assert price.source == "genai-prices"


@pytest.mark.parametrize(
    ("upstream", "model"),
    [
        (OPENAI, "claude-sonnet-4-5"),
        (GROQ, "gpt-5"),
        (OPENAI, "gpt-next"),
        (GATEWAY, "my-own-model"),
        (GATEWAY, "claude-next-9"),
        (OPENAI, "whisper-1"),
        (OPENAI, ""),
    ],
)
def test_a_price_that_nobody_published_is_not_invented(
    book: PriceBook, upstream: Upstream, model: str
) -> None:
    """Nor is what is billed by the hour given a price of nought for its tokens."""
    assert book.price_for(POLICY, upstream, model) is None


def test_the_policys_price_comes_first_and_the_first_glob_that_matches_wins(
    book: PriceBook,
) -> None:
    prices = {"gpt-5*": PriceOverride("9", "90"), "*": PriceOverride("1", "2")}
    policy = Policy(upstreams={}, routes=(), prices=prices)

    price = book.price_for(policy, OPENAI, "gpt-5.1")
    other = book.price_for(policy, OLLAMA, "qwen3:8b")

    assert usd(price) == (9, 90)
    assert price is not None
    assert (price.source, price.max_output_tokens) == ("policy", 128_000)
    assert price.context_window is not None
    assert usd(other) == (1, 2)


def test_a_free_upstream_bills_nothing_and_its_models_keep_their_bounds(book: PriceBook) -> None:
    price = book.price_for(POLICY, OLLAMA, "gpt-oss:20b")

    assert price is not None
    assert (price.source, price.max_output_tokens) == ("free", 131_072)
    assert affordable_output_tokens(price, 10**6, 0) == NO_TOKEN_BOUND


def test_openrouters_free_variants_are_free_whether_listed_or_not(book: PriceBook) -> None:
    for model in ("deepseek/deepseek-r1:free", "somebody/brand-new:free"):
        price = book.price_for(POLICY, OPENROUTER, model)

        assert price is not None
        assert (usd(price), price.source) == ((0, 0), "genai-prices")
    assert book.price_for(POLICY, OPENAI, "gpt-5:free") is None


def test_a_look_up_is_made_once_until_the_policy_changes() -> None:
    table = CountingTable(TABLE_PATH.read_bytes())
    book = PriceBook(table, FakeClock(NOW))
    changed = Policy(upstreams={}, routes=(), prices={"*": PriceOverride("1", "2")})
    first = book.price_for(POLICY, OPENAI, "gpt-5.1")
    asked = table.asked

    assert book.price_for(POLICY, OPENAI, "gpt-5.1") is first
    assert table.asked == asked
    assert usd(book.price_for(changed, OPENAI, "gpt-5.1")) == (1, 2)


def test_an_announced_price_takes_over_on_its_day(table: PriceTable) -> None:
    """Gemini 4 Argon: $2/$10 until the end of November 2026, then $4/$20."""
    clock = FakeClock(NOW)
    book = PriceBook(table, clock)
    google = Upstream("google", "https://generativelanguage.googleapis.com/v1beta/openai")
    before = usd(book.price_for(POLICY, google, "gemini-4-argon"))

    clock.advance(14 * 86_400)

    assert before == (2, 10)
    assert usd(book.price_for(POLICY, google, "gemini-4-argon")) == (4, 20)


def test_names_that_clients_make_up_do_not_fill_the_memory(book: PriceBook) -> None:
    for number in range(5000):
        book.price_for(POLICY, OPENAI, f"x{number}")
        book.dearest(OPENAI, f"x{number}")

    assert len(book._known) <= 4096
    assert len(book._dearest) <= 4096


@pytest.mark.parametrize(
    ("upstream", "model", "rates"),
    [
        (OPENAI, "gpt-next", (10, 50)),
        (OPENAI, "gpt-next-pro", (30, 180)),
        (OPENAI, "gpt-next-nano", (0.2, 1.25)),
        (ANTHROPIC, "claude-next", (10, 50)),
        (ANTHROPIC, "claude-sonnet-9", (3, 15)),
        (ANTHROPIC, "claude-haiku-9", (1, 5)),
        (ANTHROPIC, "other", (10, 50)),
        (OPENROUTER, "qwen/qwen9-max", (4, 12)),
        (OPENROUTER, "stealth/horizon", (10, 50)),
        (GATEWAY, "claude-sonnet-9", (3.3, 16.5)),
        (GATEWAY, "grok-9", (2, 6)),
        (GATEWAY, "somebody", (10, 50)),
    ],
)
def test_an_unknown_model_is_held_at_the_dearest_that_it_may_be(
    book: PriceBook, upstream: Upstream, model: str, rates: tuple[float, float]
) -> None:
    """Its name tells maker, family and class; models of years ago, which were dearer, do not count
    (Claude Opus 4.1 at $15 and $75, o1-pro at $150 and $600)."""
    price = book.dearest(upstream, model)

    assert usd(price) == rates
    assert price.source == "dearest"
    assert book.dearest(upstream, model) is price


def test_many_calls_of_an_unknown_model_fit_the_default_budget_of_a_day(book: PriceBook) -> None:
    """$100; they were ten when its output was held at 128,000 tokens of the dearest model ever."""
    price = book.dearest(GATEWAY, "somebody")
    bound = book.max_output_tokens("somebody", price)

    held = hold_cost(price, 10_000, bound, PLAIN)

    assert 100_000_000 // held >= 50


def test_a_provider_that_sells_no_chat_model_lends_the_dearest_of_the_makers(
    book: PriceBook,
) -> None:
    voyage = Upstream("voyage", "https://api.voyageai.com/v1")

    assert usd(book.dearest(voyage)) == (10, 50)


def test_claude_is_held_at_a_cache_write_only_where_the_request_asks_for_one(
    book: PriceBook,
) -> None:
    """A gateway may put markers into requests; and OpenAI's newer models write by themselves."""
    at_home = book.price_for(POLICY, ANTHROPIC, "claude-opus-5")
    routed = book.price_for(POLICY, OPENROUTER, "anthropic/claude-opus-4.5")
    behind = book.price_for(POLICY, GATEWAY, "claude-opus-5")
    gpt = book.price_for(POLICY, OPENAI, "gpt-6-sol")
    assert at_home
    assert routed
    assert behind
    assert gpt

    assert hold_cost(at_home, 1000, 0, PLAIN) == 5000
    assert hold_cost(at_home, 1000, 0, Exposure("1h")) == 10_000
    assert hold_cost(routed, 1000, 0, PLAIN) == 5000
    assert hold_cost(behind, 1000, 0, PLAIN) == 6250
    assert hold_cost(gpt, 1000, 0, PLAIN) == 2500


def test_an_unknown_claude_behind_a_gateway_may_be_cached_too(book: PriceBook) -> None:
    assert book.dearest(ANTHROPIC, "claude-next").writes_when_asked
    assert not book.dearest(GATEWAY, "claude-next").writes_when_asked


def test_the_policys_price_keeps_the_fees_and_factors_that_are_known(book: PriceBook) -> None:
    """They come on top of tokens, whatever those cost."""
    named = PriceOverride("1", "2", service_tiers={"flex": 0.35})
    policy = Policy(upstreams={}, routes=(), prices={"gpt-*": named})
    price = book.price_for(policy, OPENAI, "gpt-5.5")
    assert price is not None

    def cost(term: str) -> int:
        extras = Extras(web_searches=1, terms=(term,))
        return cost_micro_usd(price, Usage(1000, output_tokens=1000, extras=extras))

    assert cost("priority") == 2500 + 5000 + 10_000
    assert cost("flex") == 350 + 700 + 10_000
    assert not price.tiers


def test_a_router_may_pass_open_weights_on_to_a_dearer_host(book: PriceBook) -> None:
    open_weights = book.price_for(POLICY, OPENROUTER, "openai/gpt-oss-20b")
    closed = book.price_for(POLICY, OPENROUTER, "openai/gpt-5")

    assert open_weights is not None
    assert closed is not None
    assert (open_weights.hold_times, closed.hold_times) == (2, 1)


def test_the_largest_output_comes_from_the_maker_else_a_default(book: PriceBook) -> None:
    price = book.price_for(POLICY, OPENAI, "gpt-4.1")

    assert book.max_output_tokens("gpt-4.1", price) == 32_768
    assert book.max_output_tokens("gpt-4.1", None) == 32_768
    assert book.max_output_tokens("somebody", None) == 32_768


def test_settled_calls_calibrate_their_model_alone(book: PriceBook) -> None:
    request = Request("chat", "gpt-5.1", False, (), None, 1, 100_000)
    for _ in range(16):
        book.observe("gpt-5.1", request, Usage(input_tokens=5_000, cache_read_tokens=20_000))

    calibration = book.calibration("gpt-5.1")

    assert calibration is not None
    assert calibration.learned == 287
    assert book.calibration("gpt-5") is None


def test_what_one_tenant_sends_teaches_nothing_about_anothers(book: PriceBook) -> None:
    """Dense text, made for it, would have every other tenant hold three times as much."""
    request = Request("chat", "m", False, (), None, 1, 10_000)
    for _ in range(16):
        book.observe("m", request, Usage(input_tokens=15_000), "hostile")

    assert book.calibration("m", "hostile") is not None
    assert book.calibration("m", "quiet") is None
    assert book.calibration("m") is None


def test_a_call_that_teaches_nothing_takes_no_room(book: PriceBook) -> None:
    request = Request("chat", "m", False, (), None, 1, 100)
    book.observe("m", request, Usage(input_tokens=50))

    assert book.calibration("m") is None


def test_calibrations_of_models_that_are_not_met_again_make_room(book: PriceBook) -> None:
    request = Request("chat", "m", False, (), None, 1, 10_000)
    for number in range(4100):
        book.observe("kept", request, Usage(input_tokens=1000))
        book.observe(f"x{number}", request, Usage(input_tokens=1000))

    assert book.calibration("kept") is not None
    assert book.calibration("x0") is None
