"""Usage as OpenAI's chat family and its many imitators report it, normalised.

Sources: https://platform.openai.com/docs/api-reference/chat/object, OpenRouter's usage accounting
(https://openrouter.ai/docs/use-cases/usage-accounting) and recorded answers of 14 providers.
"""

from decimal import ROUND_CEILING, Decimal

import msgspec

from proxy.core.usage import Usage

# No call is larger: what a provider says beyond is kept from overflowing sums and stores.
_MAX_COST_USD = Decimal(1_000_000)
_MAX_TOKENS = 10**9


class _InputDetails(msgspec.Struct):
    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    audio_tokens: float | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: float | None = None
    audio_tokens: float | None = None


class _PerplexityCost(msgspec.Struct):
    total_cost: Decimal | None = None


class _CostDetails(msgspec.Struct):
    upstream_inference_cost: Decimal | None = None


class _ChatUsage(msgspec.Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: float | None = None  # DeepSeek
    cached_tokens: float | None = None  # Moonshot, Together
    reasoning_tokens: float | None = None  # Perplexity
    cost: msgspec.Raw = msgspec.Raw(b"null")  # OpenRouter: USD; Perplexity: an object
    cost_details: _CostDetails | None = None
    is_byok: bool | None = None


_NOTHING = (b"null", b"")
_USAGE = msgspec.json.Decoder(_ChatUsage)
_COST: msgspec.json.Decoder[Decimal | None] = msgspec.json.Decoder(Decimal | None)
_COST_OBJECT = msgspec.json.Decoder(_PerplexityCost)


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """The normalised record of a `usage` object; None where it says nothing or cannot be read.

    prompt_tokens includes what was read from and written to a cache, at every provider recorded.
    Reasoning is part of completion_tokens but at xAI and Gemini, where only total_tokens shows it.
    """
    if bytes(raw) in _NOTHING:  # in every chunk of OpenAI's
        return None
    try:
        found = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return None
    if found.prompt_tokens is None and found.completion_tokens is None:
        if found.total_tokens is None:
            return None
        found = msgspec.structs.replace(found, prompt_tokens=found.total_tokens)  # Voyage's
    return _normalised(found)


def _normalised(found: _ChatUsage) -> Usage:
    into = found.prompt_tokens_details or _InputDetails()
    out = found.completion_tokens_details or _OutputDetails()
    prompt = _whole(found.prompt_tokens)
    cached = _first(into.cached_tokens, found.prompt_cache_hit_tokens, found.cached_tokens)
    reads = min(prompt, _whole(cached))
    writes = min(prompt - reads, _whole(into.cache_write_tokens))
    fresh = prompt - reads - writes
    reasoning = _whole(_first(out.reasoning_tokens, found.reasoning_tokens))
    output = max(_whole(found.completion_tokens), _whole(found.total_tokens) - prompt)
    if found.total_tokens is None and reasoning > output:
        output += reasoning
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=reads,
        cache_write_tokens=writes,
        output_tokens=output,
        reasoning_tokens=min(output, reasoning),
        input_audio_tokens=min(fresh, _whole(into.audio_tokens)),
        output_audio_tokens=min(output, _whole(out.audio_tokens)),
        billed_cost_micro_usd=_billed(found),
    )


def _billed(found: _ChatUsage) -> int | None:
    """With a key of the caller's own (BYOK), OpenRouter's cost is only its fee."""
    cost, beside = _cost(found.cost), Decimal(0)
    if found.is_byok and found.cost_details is not None:
        beside = found.cost_details.upstream_inference_cost or beside
    if cost is None or not (_is_money(cost) and _is_money(beside)):
        return None
    return int(((cost + beside) * 1_000_000).to_integral_value(ROUND_CEILING))


def _is_money(amount: Decimal) -> bool:
    """Read from text it may be NaN, which does not even compare, or overflow a sum."""
    return amount.is_finite() and 0 <= amount <= _MAX_COST_USD


def _cost(raw: msgspec.Raw) -> Decimal | None:
    try:
        if bytes(raw).startswith(b"{"):
            return _COST_OBJECT.decode(raw).total_cost
        return _COST.decode(raw)
    except ValueError:
        return None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _whole(value: float | None) -> int:
    return 0 if value is None else int(min(max(0, value), _MAX_TOKENS))
