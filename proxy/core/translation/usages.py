"""Writes a normalised usage in the words of a dialect, so that its own meter reads the same of it.

Where a dialect has no word for a class (Anthropic's iterations in chat, images in messages), it
stands under the other one's, which its reader knows: nothing that is billed apart may be lost.
"""

from decimal import Decimal

import msgspec

from proxy.core.translation.json_values import Json
from proxy.core.usage import Extras, Usage

_NO_EXTRAS = Extras()
_MICRO_PER_USD = 1_000_000
_SPEED, _GEO = "speed:", "geo:"


def chat_usage(usage: Usage) -> Json:
    """As chat completions tell it: prompt_tokens are all of the input, cached or not."""
    extras = usage.extras or _NO_EXTRAS
    told: Json = {
        "prompt_tokens": usage.total_input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": _chat_input(usage, extras),
        "completion_tokens_details": _some(
            reasoning_tokens=usage.reasoning_tokens,
            audio_tokens=usage.output_audio_tokens,
            image_tokens=extras.output_image_tokens,
        ),
    }
    if extras.iterations:
        told["iterations"] = [chat_usage(one) for one in extras.iterations]
    return told | _beside(usage, extras)


def messages_usage(usage: Usage) -> Json:
    """As messages tell it: what was read from and written to a cache stands beside the input."""
    extras = usage.extras or _NO_EXTRAS
    if extras.iterations:  # its reader sums them up, and what stands beside says nothing more
        each = [messages_usage(one) for one in extras.iterations]
        return _messages_tokens(usage, extras) | {"iterations": each} | _beside(usage, extras)
    return _messages_tokens(usage, extras) | _beside(usage, extras)


def response_usage(usage: Usage) -> Json:
    """As responses tell it: input_tokens are all of the input, cached or not."""
    extras = usage.extras or _NO_EXTRAS
    told: Json = {
        "input_tokens": usage.total_input_tokens,
        "input_tokens_details": {"cache_write_tokens": 0} | _chat_input(usage, extras),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens}
        | _some(
            audio_tokens=usage.output_audio_tokens,
            image_tokens=extras.output_image_tokens,
        ),
        "total_tokens": usage.total_tokens,
    }
    if extras.iterations:
        told["iterations"] = [response_usage(one) for one in extras.iterations]
    return told | _beside(usage, extras)


def no_messages_usage() -> Json:
    """For what is not known: SDKs need numbers, and our meters must not take them for figures."""
    return messages_usage(Usage()) | {"unknown": True}


def _chat_input(usage: Usage, extras: Extras) -> Json:
    heard = extras.cache_read_audio_tokens
    hour, writes = usage.cache_write_1h_tokens, usage.cache_write_tokens
    told: Json = {"cached_tokens": usage.cache_read_tokens}
    told |= _some(
        cache_write_tokens=writes + hour,
        audio_tokens=usage.input_audio_tokens + heard,
        image_tokens=extras.input_image_tokens,
    )
    if hour:
        told["cache_creation"] = _creation(writes, hour)
    if heard:
        told["cached_tokens_details"] = {"audio_tokens": heard}
    return told


def _messages_tokens(usage: Usage, extras: Extras) -> Json:
    hour, writes = usage.cache_write_1h_tokens, usage.cache_write_tokens
    told: Json = {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": writes + hour,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }
    if hour:
        told["cache_creation"] = _creation(writes, hour)
    heard = _some(
        audio_tokens=usage.input_audio_tokens,
        image_tokens=extras.input_image_tokens,
        cached_audio_tokens=extras.cache_read_audio_tokens,
    )
    if heard:
        told["input_tokens_details"] = heard
    made = _some(audio_tokens=usage.output_audio_tokens, image_tokens=extras.output_image_tokens)
    if made or usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens} | made
    return told


def _beside(usage: Usage, extras: Extras) -> Json:
    """What both readers know under the same names."""
    told: Json = {}
    if usage.billed_cost_micro_usd is not None:
        told["cost"] = msgspec.Raw(_usd(usage.billed_cost_micro_usd))
    if extras.web_searches:
        told["server_tool_use"] = {"web_search_requests": extras.web_searches}
    if extras.search_context is not None:
        told["search_context_size"] = extras.search_context
    for term in extras.terms:
        if term.startswith(_SPEED):
            told["speed"] = term.removeprefix(_SPEED)
        elif term.startswith(_GEO):
            told["inference_geo"] = term.removeprefix(_GEO)
        else:
            told["service_tier"] = term
    return told


def _usd(micro: int) -> bytes:
    """A JSON number that says exactly this."""
    return format(Decimal(micro) / _MICRO_PER_USD, "f").encode()


def _creation(writes: int, hour: int) -> Json:
    return {"ephemeral_5m_input_tokens": writes, "ephemeral_1h_input_tokens": hour}


def _some(**counts: int) -> Json:
    return {name: count for name, count in counts.items() if count}
