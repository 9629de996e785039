"""Usage as OpenAI's chat family and its many imitators report it, normalised.

Sources: https://platform.openai.com/docs/api-reference/chat/object, OpenRouter's usage accounting
(https://openrouter.ai/docs/use-cases/usage-accounting) and recorded answers of 20 providers.
"""

import msgspec

from proxy.core.dialects.reported import (
    billed_micro_usd,
    counted,
    member,
    some,
    terms_of,
    text_or_none,
    value_of,
)
from proxy.core.usage import Extras, Usage

# No call is larger: what a provider says beyond is kept from overflowing sums and stores.
_MAX_TOKENS = 10**9
_ABSENT = msgspec.Raw()


class _InputDetails(msgspec.Struct):
    cached_tokens: float | None = None
    cached_tokens_details: object = None
    cache_write_tokens: float | None = None
    cache_creation_input_tokens: float | None = None  # Qwen
    cache_creation_tokens: float | None = None  # LiteLLM
    cache_creation: object = None  # Qwen: by the time it is kept for
    cache_creation_token_details: object = None  # LiteLLM: the same
    audio_tokens: float | None = None
    image_tokens: object = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: float | None = None
    audio_tokens: float | None = None
    image_tokens: object = None


class _ChatUsage(msgspec.Struct):
    """`object` where one odd value must not cost us the figures beside it."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_token_details: _InputDetails | None = None  # Writer
    completion_token_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: float | None = None  # DeepSeek
    cached_tokens: float | None = None  # Moonshot, Together
    num_cached_tokens: float | None = None  # Mistral
    cache_read_input_tokens: float | None = None  # Claude's names, at LiteLLM and Databricks
    cache_creation_input_tokens: float | None = None
    reasoning_tokens: float | None = None  # Perplexity
    cost: msgspec.Raw = _ABSENT
    cost_details: msgspec.Raw = _ABSENT
    is_byok: object = None
    cost_in_usd_ticks: msgspec.Raw = _ABSENT
    server_tool_use: object = None
    server_tool_use_details: object = None  # OpenRouter
    num_search_queries: object = None  # Perplexity
    search_context_size: object = None
    service_tier: object = None  # Mistral; beside the usage elsewhere
    speed: object = None  # Anthropic's, asked in the stead of a chat model; so are the next
    inference_geo: object = None
    iterations: msgspec.Raw = _ABSENT


_NOTHING = (b"null", b"")
_USAGE = msgspec.json.Decoder(_ChatUsage)
_USAGES = msgspec.json.Decoder(list[_ChatUsage])
_NO_INPUT, _NO_OUTPUT = _InputDetails(), _OutputDetails()


def read_usage(raw: msgspec.Raw, service_tier: object = None) -> Usage | None:
    """The normalised record of a `usage` object; None where it says nothing or cannot be read.

    prompt_tokens includes what was read from and written to a cache, at every provider recorded.
    Reasoning is part of completion_tokens but at xAI and Gemini, where only total_tokens shows it.
    service_tier: as it stands beside the usage.
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
        found.prompt_tokens = found.total_tokens  # Voyage's
    return _normalised(found, service_tier)


def _normalised(found: _ChatUsage, service_tier: object) -> Usage:
    into = found.prompt_tokens_details or found.prompt_token_details or _NO_INPUT
    out = found.completion_tokens_details or found.completion_token_details or _NO_OUTPUT
    prompt, reads, writes, hour = _input(found, into)
    fresh = prompt - reads - writes
    given = out.reasoning_tokens
    reasoning = _whole(found.reasoning_tokens if given is None else given)
    output = max(_whole(found.completion_tokens), _whole(found.total_tokens) - prompt)
    if found.total_tokens is None and reasoning > output:
        output += reasoning
    extras = _extras(found, into, out, service_tier)
    heard = 0 if extras is None else extras.cache_read_audio_tokens
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=reads,
        cache_write_tokens=writes - hour,
        cache_write_1h_tokens=hour,
        output_tokens=output,
        reasoning_tokens=min(output, reasoning),
        input_audio_tokens=min(fresh, max(0, _whole(into.audio_tokens) - heard)),
        output_audio_tokens=min(output, _whole(out.audio_tokens)),
        billed_cost_micro_usd=_billed(found),
        extras=extras,
    )


def _input(found: _ChatUsage, into: _InputDetails) -> tuple[int, int, int, int]:
    """All of the input, what of it was read from and written to a cache, what for an hour."""
    prompt = _whole(found.prompt_tokens)
    cached, written = into.cached_tokens, into.cache_write_tokens
    if cached is None:
        cached = _first(
            found.prompt_cache_hit_tokens,
            found.cached_tokens,
            found.num_cached_tokens,
            found.cache_read_input_tokens,
        )
    if written is None:
        written = _first(
            into.cache_creation_input_tokens,
            into.cache_creation_tokens,
            found.cache_creation_input_tokens,
        )
    if found.cache_read_input_tokens is not None and _whole(cached) + _whole(written) > prompt:
        prompt += _whole(cached) + _whole(written)  # as Claude counts: beside the prompt
    reads = min(prompt, _whole(cached))
    if not written:
        return prompt, reads, 0, 0
    writes = min(prompt - reads, _whole(written))
    kept = into.cache_creation or into.cache_creation_token_details
    return prompt, reads, writes, min(writes, counted(member(kept, "ephemeral_1h_input_tokens")))


def _billed(found: _ChatUsage) -> int | None:
    if found.cost is _ABSENT and found.cost_in_usd_ticks is _ABSENT:
        return None
    return billed_micro_usd(
        value_of(found.cost),
        value_of(found.cost_in_usd_ticks),
        is_byok=found.is_byok,
        details=value_of(found.cost_details),
    )


def _extras(
    found: _ChatUsage, into: _InputDetails, out: _OutputDetails, service_tier: object
) -> Extras | None:
    terms = terms_of(service_tier or found.service_tier, found.speed, found.inference_geo)
    tools = found.server_tool_use_details or found.server_tool_use
    told = tools or found.num_search_queries or found.search_context_size
    counts = into.cached_tokens_details or into.image_tokens or out.image_tokens
    if not (terms or told or counts) and found.iterations is _ABSENT:
        return None
    searches = member(tools, "web_search_requests") if tools else found.num_search_queries
    return some(
        Extras(
            cache_read_audio_tokens=counted(member(into.cached_tokens_details, "audio_tokens")),
            input_image_tokens=counted(into.image_tokens),
            output_image_tokens=counted(out.image_tokens),
            web_searches=counted(searches),
            search_context=text_or_none(found.search_context_size),
            terms=terms,
            iterations=_iterations(found.iterations),
        )
    )


def _iterations(raw: msgspec.Raw) -> tuple[Usage, ...]:
    """Where the model sampled more than once; what stands beside is their sum."""
    if raw is _ABSENT:
        return ()
    try:
        each = _USAGES.decode(raw)
    except (ValueError, RecursionError):
        return ()
    for one in each:
        one.iterations = _ABSENT
    return tuple([_normalised(one, None) for one in each]) if len(each) > 1 else ()


def _first(*values: float | None) -> float | None:
    for value in values:
        if value is not None:
            return value
    return None


def _whole(value: float | None) -> int:
    if not value or value < 0:
        return 0
    return int(value) if value < _MAX_TOKENS else _MAX_TOKENS
