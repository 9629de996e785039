"""Usage as the Responses API and its imitators report it, normalised: tokens, and what the
provider's own tools did.

Sources: https://platform.openai.com/docs/api-reference/responses/object and
https://developers.openai.com/api/docs/pricing (read 2026-11-22), recorded answers of 8 providers.
"""

import msgspec

from proxy.core.dialects.reported import (
    billed_micro_usd,
    counted,
    member,
    readable,
    some,
    terms_of,
    text_or_none,
    token_count,
    value_of,
)
from proxy.core.usage import Extras, Usage

_ABSENT = msgspec.Raw()


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | float | None = None
    cached_tokens_details: object = None
    cache_write_tokens: int | float | None = None
    cache_creation: object = None  # of a chat model that answers in the stead of one
    audio_tokens: int | float | None = None
    image_tokens: object = None


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | float | None = None
    audio_tokens: int | float | None = None
    image_tokens: object = None


class _Usage(msgspec.Struct, frozen=True):
    """`object` where one odd value must not cost us the figures beside it."""

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cost: msgspec.Raw = _ABSENT
    cost_details: msgspec.Raw = _ABSENT
    is_byok: object = None
    cost_in_usd_ticks: msgspec.Raw = _ABSENT
    server_tool_use_details: object = None  # OpenRouter
    server_tool_use: object = None
    service_tier: object = None
    search_context_size: object = (
        None  # of another API's model, asked in the stead; so are the next
    )
    speed: object = None
    inference_geo: object = None
    iterations: msgspec.Raw = _ABSENT


class _Call(msgspec.Struct, frozen=True):
    """What the provider's own tool did, as an item of the output. action: of a web search."""

    type: str = ""
    action: object = None
    container_id: object = None


_USAGE = msgspec.json.Decoder(_Usage | None)
_USAGES = msgspec.json.Decoder(list[_Usage])
_OUTPUT = msgspec.json.Decoder(list[msgspec.Raw])
_CALL = msgspec.json.Decoder(_Call)
_NO_INPUT, _NO_OUTPUT = _InputDetails(), _OutputDetails()
_SEARCHES, _INTERPRETED = b"_search_call", b"code_interpreter_call"


def read_usage(
    raw: msgspec.Raw, output: msgspec.Raw, service_tier: object = None, tool_usage: object = None
) -> Usage | None:
    """The provider's figures, None where it gave none that can be read.

    `input_tokens` counts cached tokens in, `output_tokens` reasoning; ours are disjoint.
    output, service_tier, tool_usage: of the response that the usage stands in.
    """
    try:
        usage = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return None
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    routed = usage.server_tool_use_details or usage.server_tool_use
    uses = _tool_uses(output, tool_usage, routed)
    return _normalised(usage, uses, service_tier)


def _normalised(usage: _Usage, uses: tuple[int, int, int], service_tier: object) -> Usage:
    given = usage.input_tokens_details or _NO_INPUT
    made = usage.output_tokens_details or _NO_OUTPUT
    whole = token_count(usage.input_tokens)
    read = min(whole, token_count(given.cached_tokens))
    written = min(whole - read, token_count(given.cache_write_tokens))
    hour = min(written, counted(member(given.cache_creation, "ephemeral_1h_input_tokens")))
    extras = _extras(usage, uses, service_tier)
    heard = 0 if extras is None else extras.cache_read_audio_tokens
    return Usage(
        input_tokens=whole - read - written,
        cache_read_tokens=read,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
        output_tokens=token_count(usage.output_tokens),
        reasoning_tokens=token_count(made.reasoning_tokens),
        input_audio_tokens=max(0, token_count(given.audio_tokens) - heard),
        output_audio_tokens=token_count(made.audio_tokens),
        billed_cost_micro_usd=_billed(usage),
        extras=extras,
    )


def _extras(usage: _Usage, uses: tuple[int, int, int], service_tier: object) -> Extras | None:
    given = usage.input_tokens_details or _NO_INPUT
    made = usage.output_tokens_details or _NO_OUTPUT
    terms = terms_of(service_tier or usage.service_tier, usage.speed, usage.inference_geo)
    web_searches, file_searches, containers = uses
    told = given.cached_tokens_details or given.image_tokens or made.image_tokens
    told = told or usage.search_context_size or usage.iterations is not _ABSENT
    if not (told or terms or any(uses)):
        return None
    return some(
        Extras(
            cache_read_audio_tokens=counted(member(given.cached_tokens_details, "audio_tokens")),
            input_image_tokens=counted(given.image_tokens),
            output_image_tokens=counted(made.image_tokens),
            web_searches=web_searches,
            file_searches=file_searches,
            containers=containers,
            search_context=text_or_none(usage.search_context_size),
            terms=terms,
            iterations=_iterations(usage.iterations),
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
    alone = [msgspec.structs.replace(one, iterations=_ABSENT) for one in each]
    return tuple([_normalised(one, (0, 0, 0), None) for one in alone]) if len(each) > 1 else ()


def _billed(usage: _Usage) -> int | None:
    if usage.cost is _ABSENT and usage.cost_in_usd_ticks is _ABSENT:
        return None
    return billed_micro_usd(
        value_of(usage.cost),
        value_of(usage.cost_in_usd_ticks),
        is_byok=usage.is_byok,
        details=value_of(usage.cost_details),
    )


def _tool_uses(output: msgspec.Raw, tool_usage: object, routed: object) -> tuple[int, int, int]:
    """Web searches, searches in files, containers: what the provider's tools did that is billed by
    the use. Of web searches the provider's own count, else the items that searched: those that open
    a page or look in one cost nothing."""
    told = member(member(tool_usage, "web_search"), "num_requests")
    told = member(routed, "web_search_requests") if told is None else told
    written = bytes(output)
    if _SEARCHES not in written and _INTERPRETED not in written:
        return counted(told), 0, 0
    try:
        calls = list(readable(_OUTPUT.decode(output), _CALL))
    except (ValueError, RecursionError):
        calls = []
    searched = sum(
        call.type == "web_search_call" and member(call.action, "type") in (None, "search")
        for call in calls
    )
    return (
        searched if told is None else counted(told),
        sum(call.type == "file_search_call" for call in calls),
        len({str(c.container_id) for c in calls if c.type == "code_interpreter_call"}),
    )
