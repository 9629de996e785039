"""Reads answers of `/v1/responses`: their usage, and what an unstreamed one says."""

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal

import msgspec

from proxy.core.dialects.base import Unstreamed
from proxy.core.dialects.reported import micro_usd, read_list, text_or_none, token_count
from proxy.core.dialects.responses_items import ITEM, Item, read_content
from proxy.core.usage import Answer, ToolCall, Usage

_ABSENT = msgspec.Raw()
_TICKS_PER_MICRO_USD = Decimal(10_000)
_TOLD_LENGTH = 1000


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | float | None = None
    cache_write_tokens: int | float | None = None
    audio_tokens: int | float | None = None


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | float | None = None
    audio_tokens: int | float | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    cost: object = None  # USD at OpenRouter, an object with a total at Perplexity
    cost_details: dict[str, object] | None = None
    is_byok: bool | None = None
    cost_in_usd_ticks: object = None  # 10**-10 USD at xAI


class Response(msgspec.Struct, frozen=True):
    """The response object, as events and unstreamed answers carry it.

    `object` and `Raw` where one odd value must not cost us the usage beside it.
    """

    id: object = None
    status: object = None
    output: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    error: object = None
    incomplete_details: object = None

    @property
    def finish_reason(self) -> str | None:
        """Why it ended: the reason that it is incomplete for, or its status."""
        return _member(self.incomplete_details, "reason") or text_or_none(self.status)

    @property
    def failure(self) -> str | None:
        """What its error says."""
        return failure_message(self.error)

    def items(self) -> list[Item] | None:
        """Its output as far as it can be read; None if it has none."""
        try:
            return read_list(self.output, _OUTPUT, ITEM)
        except (ValueError, RecursionError):
            return None


RESPONSE = msgspec.json.Decoder(Response)
_USAGE = msgspec.json.Decoder(_Usage | None)
_OUTPUT = msgspec.json.Decoder(list[Item])


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """The provider's figures, None where it gave none that can be read.

    `input_tokens` counts cached tokens in, `output_tokens` reasoning; ours are disjoint.
    """
    try:
        usage = _USAGE.decode(raw)
    except (ValueError, RecursionError):
        return None
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    given = usage.input_tokens_details or _InputDetails()
    made = usage.output_tokens_details or _OutputDetails()
    whole = token_count(usage.input_tokens)
    read = min(whole, token_count(given.cached_tokens))
    written = min(whole - read, token_count(given.cache_write_tokens))
    return Usage(
        input_tokens=whole - read - written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=token_count(usage.output_tokens),
        reasoning_tokens=token_count(made.reasoning_tokens),
        input_audio_tokens=token_count(given.audio_tokens),
        output_audio_tokens=token_count(made.audio_tokens),
        billed_cost_micro_usd=_billed(usage),
    )


def answer_of(items: Iterable[Item], response: Response) -> Answer:
    """What these items say; one that cannot be read says nothing."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for item in items:
        with suppress(ValueError, RecursionError):
            call = item.tool_call()
            if call is not None:
                calls.append(call)
            elif item.is_message:
                texts.append(read_content(item.content).text)
    return Answer("".join(texts), tuple(calls), text_or_none(response.id), response.finish_reason)


def read_answer(body: bytes) -> Unstreamed:
    """Meters an unstreamed answer. A response that failed is an answer, and may be billed."""
    try:
        response = RESPONSE.decode(body)
    except (ValueError, RecursionError) as error:
        return Unstreamed(Answer(), None, _malformed(body, error))
    items = response.items()
    answer = answer_of(items or (), response)
    missing = items is None and response.status not in ("failed", "cancelled")
    malformed = "it has no output" if missing else None
    return Unstreamed(answer, read_usage(response.usage), malformed)


def failure_message(error: object) -> str | None:
    """The human part of an error, which some providers send as a bare string."""
    told = text_or_none(error) or _member(error, "message") or _member(error, "code")
    return told[:_TOLD_LENGTH] if told else None


def _member(value: object, key: str) -> str | None:
    return text_or_none(value.get(key)) if isinstance(value, dict) else None


def _malformed(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "it is empty"
    return (
        "it is not of the type of an answer"
        if isinstance(error, msgspec.ValidationError)
        else "it is not JSON"
    )


def _billed(usage: _Usage) -> int | None:
    """With a caller's own key OpenRouter's cost is its fee, beside what the provider bills."""
    if usage.cost_in_usd_ticks is not None:
        return micro_usd(usage.cost_in_usd_ticks, _TICKS_PER_MICRO_USD)
    cost = usage.cost.get("total_cost") if isinstance(usage.cost, dict) else usage.cost
    billed = micro_usd(cost)
    if billed is None or not usage.is_byok or usage.cost_details is None:
        return billed
    return billed + (micro_usd(usage.cost_details.get("upstream_inference_cost")) or 0)
