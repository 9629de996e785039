"""Money: what tokens of a model cost, in exact integers, rounded up at the end.

A tier is a cliff: past its threshold of total input tokens, *every* token of the call is billed at
its rates (https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing, read
2026-11-22; the price data says the same of every provider).
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from proxy.core.policy import PriceOverride
from proxy.core.usage import Usage

PICO_PER_MICRO = 1_000_000
"""Rates are pico-USD per token: USD per million tokens to six places."""

NO_TOKEN_BOUND = 1_000_000_000
"""What `affordable_output_tokens` answers where output costs nothing."""

DEFAULT_MAX_OUTPUT_TOKENS = 128_000
"""For a model whose maximum nobody published here. 95 % of the 191 chat models in LiteLLM's table
of July 2026 have no larger one (32,768 would cover 40 %), and 128,000 tokens at 200 a second take
longer than the default deadline of a call."""

Source = Literal["policy", "genai-prices", "free", "dearest"]


@dataclass(frozen=True, slots=True)
class Rates:
    """pico-USD per token, one for each class of `Usage`. No class is ever missing: who builds this
    decides what it falls back to."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    output_audio: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a whole call whose input, cached or not, is above so many tokens."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs at one upstream. tiers: ascending. per_request_pico: on top of tokens.

    max_output_tokens, context_window: as published, None if not known here.
    provider, model: the entry of the price data that it was taken from.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    per_request_pico: int = 0
    max_output_tokens: int | None = None
    context_window: int | None = None
    source: Source = "genai-prices"
    provider: str = ""
    model: str = ""


FREE = Price(Rates(0, 0, 0, 0, 0, 0, 0, 0), source="free")


def cost_micro_usd(price: Price, usage: Usage) -> int:
    """Cost in micro-USD, rounded up: stop a session early by a millionth, never late.

    What the provider says it billed wins. A negative count, which only a broken provider sends,
    counts as nought.
    """
    if usage.billed_cost_micro_usd is not None:
        return max(0, usage.billed_cost_micro_usd)
    rates = _rates_at(price, usage.total_input_tokens)
    pico = (
        _input_pico(rates, usage)
        + _output_pico(rates, usage)
        + max(0, usage.cache_read_tokens) * rates.cache_read
        + max(0, usage.cache_write_tokens) * rates.cache_write
        + max(0, usage.cache_write_1h_tokens) * rates.cache_write_1h
        + price.per_request_pico
    )
    return _micro(pico)


def hold_cost(
    price: Price,
    input_tokens: int,
    output_tokens: int,
    *,
    audio: bool = True,
    one_hour_writes: bool = True,
) -> int:
    """The most that so many tokens can cost, in micro-USD: each at the dearest class it may be
    billed at, in the dearest tier up to this input. Monotone in both counts.

    audio, one_hour_writes: pass False where the request rules them out (no audio part or modality;
    no `cache_control` with a `ttl` of one hour) and the hold shrinks accordingly.
    """
    into, out = _dearest_rates(price, input_tokens, audio=audio, one_hour_writes=one_hour_writes)
    return _micro(input_tokens * into + output_tokens * out + price.per_request_pico)


def affordable_output_tokens(
    price: Price,
    input_tokens: int,
    room_micro_usd: int,
    *,
    audio: bool = True,
    one_hour_writes: bool = True,
) -> int:
    """The largest output whose `hold_cost` is within the room; -1 if not even the input fits."""
    into, out = _dearest_rates(price, input_tokens, audio=audio, one_hour_writes=one_hour_writes)
    left = room_micro_usd * PICO_PER_MICRO - input_tokens * into - price.per_request_pico
    if left < 0:
        return -1
    return min(left // out, NO_TOKEN_BOUND) if out else NO_TOKEN_BOUND


def max_output_tokens(price: Price | None) -> int:
    """The most that one choice can produce: as published, else a default within the window."""
    if price is None:
        return DEFAULT_MAX_OUTPUT_TOKENS
    if price.max_output_tokens is not None:
        return price.max_output_tokens
    return min(DEFAULT_MAX_OUTPUT_TOKENS, price.context_window or DEFAULT_MAX_OUTPUT_TOKENS)


def override_rates(override: PriceOverride) -> Rates:
    """The rates of a policy's price. Caching costs what fresh input does, unless it is named; a
    one-hour write twice the input where writes are named (Anthropic's ratio)."""
    into, out = pico_per_token(override.input), pico_per_token(override.output)
    write = into if override.cache_write is None else pico_per_token(override.cache_write)
    hour = write if override.cache_write is None else max(write, 2 * into)
    return Rates(
        input=into,
        output=out,
        cache_read=into if override.cache_read is None else pico_per_token(override.cache_read),
        cache_write=write,
        cache_write_1h=(
            hour if override.cache_write_1h is None else pico_per_token(override.cache_write_1h)
        ),
        input_audio=into,
        output_audio=out,
        reasoning=out,
    )


def pico_per_token(usd_per_million: str | Decimal) -> int:
    """USD per million tokens as pico-USD per token, rounded up."""
    pico = Decimal(usd_per_million) * PICO_PER_MICRO
    return int(pico.to_integral_value(rounding=ROUND_CEILING))


def _rates_at(price: Price, total_input_tokens: int) -> Rates:
    rates = price.rates
    for tier in price.tiers:
        if total_input_tokens <= tier.above_input_tokens:
            break
        rates = tier.rates
    return rates


def _input_pico(rates: Rates, usage: Usage) -> int:
    """Fresh input, of which audio is a part; audio beyond it was read from the cache."""
    fresh = max(0, usage.input_tokens)
    audio = min(max(0, usage.input_audio_tokens), fresh)
    return audio * rates.input_audio + (fresh - audio) * rates.input


def _output_pico(rates: Rates, usage: Usage) -> int:
    """All that was generated, of which audio and reasoning are parts."""
    whole = max(0, usage.output_tokens)
    audio = min(max(0, usage.output_audio_tokens), whole)
    reasoning = min(max(0, usage.reasoning_tokens), whole - audio)
    plain = whole - audio - reasoning
    return audio * rates.output_audio + reasoning * rates.reasoning + plain * rates.output


def _dearest_rates(
    price: Price, input_tokens: int, *, audio: bool, one_hour_writes: bool
) -> tuple[int, int]:
    """The dearest input and output rate over every tier that this much input can reach."""
    into = out = 0
    for rates in _reachable(price, input_tokens):
        into = max(into, rates.input, rates.cache_read, rates.cache_write)
        out = max(out, rates.output, rates.reasoning)
        if one_hour_writes:
            into = max(into, rates.cache_write_1h)
        if audio:
            into, out = max(into, rates.input_audio), max(out, rates.output_audio)
    return into, out


def _reachable(price: Price, input_tokens: int) -> tuple[Rates, ...]:
    tiers = (tier.rates for tier in price.tiers if input_tokens > tier.above_input_tokens)
    return (price.rates, *tiers)


def _micro(pico: int) -> int:
    return -(-pico // PICO_PER_MICRO)
