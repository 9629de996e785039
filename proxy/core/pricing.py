"""Money: what tokens of a model cost, in exact integers, rounded up at the end.

A tier is a cliff: past its threshold of total input tokens, *every* token of the call is billed at
its rates (https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing, read
2026-11-22; the price data says the same of every provider).
"""

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from proxy.core.exposure import ANYTHING, Exposure
from proxy.core.policy import PriceOverride
from proxy.core.surcharges import NO_FACTORS, NO_FEES, Apart, Factors, Fees
from proxy.core.tariff import PICO_PER_MICRO, Tariff
from proxy.core.usage import Extras, Usage

DEFAULT_MAX_OUTPUT_TOKENS = 128_000
"""For a model whose maximum nobody published here. 95 % of the 191 chat models in LiteLLM's table
of July 2026 have no larger one (32,768 would cover 40 %), and 128,000 tokens at 200 a second take
longer than the default deadline of a call."""

UNKNOWN_MAX_OUTPUT_TOKENS = 32_768
"""For a model without a price of its own. At the dearest price its default maximum would fill a
day's budget with a few calls; of 4,201 recorded answers the longest had 14,148 tokens."""

_CREDIBLE_TIMES = 100
_CREDIBLE_FEES_MICRO_USD = 5_000_000
"""A bill beyond a hundred times our own figure and $5 of fees, or below a hundredth of it, is in
another unit, or no bill. Those recorded are 0.9 to 1.6 times ours, without fees of tools."""

_TARIFFS = 64
"""Exposures that clients make up must not grow the process."""

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
    """What one model costs at one upstream. tiers: ascending.

    apart: the same in every tier; None where all of it costs what it is counted with.
    writes_when_asked: its cache is written to only where the request has a marker.
    hold_times: how often this price may be billed: a router passes a call on to dearer hosts.
    max_output_tokens, context_window: as published, None if not known here.
    source: "free" by the policy, whatever is said to be billed.
    provider, model: the entry of the price data that it was taken from.
    tariffs: what `tariff` found, by exposure and how many tiers are reached.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    fees: Fees = NO_FEES
    factors: Factors = NO_FACTORS
    apart: Apart | None = None
    writes_when_asked: bool = False
    hold_times: int = 1
    max_output_tokens: int | None = None
    context_window: int | None = None
    source: Source = "genai-prices"
    provider: str = ""
    model: str = ""
    tariffs: dict[tuple[Exposure, int], Tariff] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )


FREE = Price(Rates(0, 0, 0, 0, 0, 0, 0, 0), source="free")


def cost_micro_usd(price: Price, usage: Usage) -> int:
    """Cost in micro-USD, rounded up: stop a session early by a millionth, never late.

    What the provider says it billed wins, if that can be true, and unless the policy says that its
    upstream is free. Negative counts, which only a broken provider sends, give nothing back.
    """
    pico = _own_pico(price, usage)
    if step := price.fees.step_micro_usd * PICO_PER_MICRO:
        pico = (pico + step // 2) // step * step
    own = -(-pico // PICO_PER_MICRO) if pico > 0 else 0
    billed = usage.billed_cost_micro_usd
    if billed is None or price.source == "free" or not _is_credible(price, own, billed):
        return own
    return billed


def hold_cost(
    price: Price, input_tokens: int, output_tokens: int, exposure: Exposure = ANYTHING
) -> int:
    """The most that so many tokens can cost, in micro-USD (see `tariff`). Monotone in both."""
    return tariff(price, input_tokens, exposure).cost(input_tokens, output_tokens)


def affordable_output_tokens(
    price: Price, input_tokens: int, room_micro_usd: int, exposure: Exposure = ANYTHING
) -> int:
    """The largest output whose `hold_cost` is within the room; -1 if not even the input fits."""
    return tariff(price, input_tokens, exposure).affordable(input_tokens, room_micro_usd)


def tariff(price: Price, input_tokens: int, exposure: Exposure = ANYTHING) -> Tariff:
    """At what so much input, and any output, is held: each token at the dearest class that the
    request can be billed at, in the dearest tier up to this input."""
    tiers = 0
    for tier in price.tiers:
        tiers += input_tokens > tier.above_input_tokens
    known = price.tariffs.get((exposure, tiers))
    if known is None:
        into, out = _dearest_rates(price, price.tiers[:tiers], exposure)
        times, per = _dearest_factor(price, exposure)
        known = Tariff(into, out, times, per, price.fees.most(exposure))
        if len(price.tariffs) >= _TARIFFS:
            price.tariffs.clear()
        price.tariffs[exposure, tiers] = known
    return known


def max_output_tokens(price: Price | None) -> int:
    """The most that one choice can produce: as published, else a default within the window."""
    if price is not None and price.max_output_tokens is not None:
        return price.max_output_tokens
    if price is None or price.source == "dearest":
        return UNKNOWN_MAX_OUTPUT_TOKENS
    return min(DEFAULT_MAX_OUTPUT_TOKENS, price.context_window or DEFAULT_MAX_OUTPUT_TOKENS)


def override_rates(override: PriceOverride) -> Rates:
    """The rates of a policy's price. Caching costs what fresh input does, unless it is named; a
    one-hour write twice the input where writes are named (Anthropic's ratio)."""
    into, out = pico_per_token(override.input), pico_per_token(override.output)
    read = into if override.cache_read is None else pico_per_token(override.cache_read)
    write = into if override.cache_write is None else pico_per_token(override.cache_write)
    hour = write if override.cache_write is None else max(write, 2 * into)
    if override.cache_write_1h is not None:
        hour = pico_per_token(override.cache_write_1h)
    return Rates(
        input=into,
        output=out,
        cache_read=read,
        cache_write=write,
        cache_write_1h=hour,
        input_audio=into,
        output_audio=out,
        reasoning=out,
    )


def pico_per_token(usd_per_million: str | Decimal) -> int:
    """USD per million tokens as pico-USD per token, rounded up."""
    pico = Decimal(usd_per_million) * PICO_PER_MICRO
    return int(pico.to_integral_value(rounding=ROUND_CEILING))


def _own_pico(price: Price, usage: Usage) -> int:
    """What usage and price come to, rounded up where a factor leaves a fraction."""
    extras = usage.extras
    if extras is None:
        rates = _rates_at(price, usage) if price.tiers else price.rates
        return _tokens_pico(rates, usage) + price.fees.request
    pico = 0
    for one in _parts(usage, extras.iterations):
        rates = _rates_at(price, one)
        whole, reads = _tokens_pico(rates, one), one.cache_read_tokens * rates.cache_read
        if price.apart is not None and one.extras is not None:
            heard = _heard_pico(price.apart, rates, one, one.extras)
            whole += heard + _seen_pico(price.apart, rates, one, one.extras)
            reads += heard
        pico += _factored(price.factors, extras.terms, whole - reads, reads)
    return pico + price.fees.of(extras)


def _parts(usage: Usage, iterations: tuple[Usage, ...]) -> tuple[Usage, ...]:
    """What was sampled, each on its own; and output that was counted beyond what they say."""
    if not iterations:
        return (usage,)
    beyond = usage.output_tokens - sum(one.output_tokens for one in iterations)
    return (*iterations, Usage(output_tokens=beyond)) if beyond > 0 else iterations


def _tokens_pico(rates: Rates, usage: Usage) -> int:
    pico = (
        usage.input_tokens * rates.input
        + usage.cache_read_tokens * rates.cache_read
        + usage.cache_write_tokens * rates.cache_write
        + usage.cache_write_1h_tokens * rates.cache_write_1h
        + usage.output_tokens * rates.output
    )
    if usage.reasoning_tokens and rates.reasoning != rates.output:
        reasoning = min(usage.reasoning_tokens, usage.output_tokens - usage.output_audio_tokens)
        pico += max(0, reasoning) * (rates.reasoning - rates.output)
    if usage.input_audio_tokens:
        audio = min(usage.input_audio_tokens, usage.input_tokens)
        pico += audio * (rates.input_audio - rates.input)
    if usage.output_audio_tokens:
        audio = min(usage.output_audio_tokens, usage.output_tokens)
        pico += audio * (rates.output_audio - rates.output)
    return pico


def _heard_pico(apart: Apart, rates: Rates, usage: Usage, extras: Extras) -> int:
    """How much more audio from the cache costs than the text it is counted with."""
    heard = min(extras.cache_read_audio_tokens, usage.cache_read_tokens)
    return heard * (apart.cache_read_audio - rates.cache_read)


def _seen_pico(apart: Apart, rates: Rates, usage: Usage, extras: Extras) -> int:
    """How much more images cost than the text they are counted with."""
    into = min(extras.input_image_tokens, usage.input_tokens - usage.input_audio_tokens)
    plain = usage.output_tokens - usage.output_audio_tokens - usage.reasoning_tokens
    out = min(extras.output_image_tokens, plain)
    return max(0, into) * (apart.input_image - rates.input) + max(0, out) * (
        apart.output_image - rates.output
    )


def _factored(factors: Factors, terms: tuple[str, ...], others: int, reads: int) -> int:
    """Both by the factor of each term: cache reads may have one of their own."""
    per = 1
    for term in terms:
        factor = factors.of(term)
        others, reads, per = others * factor.times, reads * factor.reads, per * factor.per
    return -(-(others + reads) // per)


def _rates_at(price: Price, usage: Usage) -> Rates:
    rates = price.rates
    for tier in price.tiers:
        if usage.total_input_tokens <= tier.above_input_tokens:
            break
        rates = tier.rates
    return rates


def _dearest_rates(price: Price, tiers: tuple[Tier, ...], exposure: Exposure) -> tuple[int, int]:
    """The dearest input and output rate without a tier and over these."""
    into, out = _dearest_of(price, price.rates, exposure)
    for tier in tiers:
        tier_into, tier_out = _dearest_of(price, tier.rates, exposure)
        into, out = max(into, tier_into), max(out, tier_out)
    if (apart := price.apart) is not None:
        into, out = max(into, apart.input_image), max(out, apart.output_image)
        if exposure.audio:
            into = max(into, apart.cache_read_audio)
    return into, out


def _dearest_of(price: Price, rates: Rates, exposure: Exposure) -> tuple[int, int]:
    into, out = max(rates.input, rates.cache_read), max(rates.output, rates.reasoning)
    writes = exposure.cache_writes
    if writes == "1h":
        into = max(into, rates.cache_write, rates.cache_write_1h)
    elif writes == "5m" or not price.writes_when_asked:
        into = max(into, rates.cache_write)
    if exposure.audio:
        into, out = max(into, rates.input_audio), max(out, rates.output_audio)
    return into, out


def _dearest_factor(price: Price, exposure: Exposure) -> tuple[int, int]:
    """Numerator and denominator. A provider may serve a call at less than was asked for, and bill
    its usual price: nothing is held below that."""
    times, per = price.hold_times, 1
    for term in exposure.terms:
        factor = price.factors.of(term)
        times, per = times * max(factor.times, factor.reads, factor.per), per * factor.per
    return times, per


def _is_credible(price: Price, own: int, billed: int) -> bool:
    """Of a model without a price of its own, any bill up to the dearest is."""
    if not 0 <= billed <= own * _CREDIBLE_TIMES + _CREDIBLE_FEES_MICRO_USD:
        return False
    return price.source == "dearest" or billed * _CREDIBLE_TIMES >= own
