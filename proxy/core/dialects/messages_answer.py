"""Reads answers of `/v1/messages`: their usage, and what an unstreamed one says."""

import msgspec

from proxy.core.dialects.base import Unstreamed
from proxy.core.dialects.messages_blocks import Block, said
from proxy.core.dialects.reported import (
    billed_micro_usd,
    counted,
    member,
    read_list,
    some,
    terms_of,
    text_or_none,
    token_count,
)
from proxy.core.usage import Answer, Extras, Usage

_ABSENT = msgspec.Raw()
_TOLD_LENGTH = 1000


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: int | float | None = None
    ephemeral_1h_input_tokens: int | float | None = None


class _OutputDetails(msgspec.Struct, frozen=True):
    """The last two only where we translate: Anthropic's models make nothing but text."""

    thinking_tokens: int | float | None = None
    audio_tokens: object = None
    image_tokens: object = None


class Figures(msgspec.Struct, frozen=True):
    """A `usage` object as it was sent: None is absent, and not nought.

    iterations: of a call that sampled more than once (compaction, advisor). The figures beside it
    leave some of them out, and all are billed
    (https://docs.anthropic.com/en/docs/build-with-claude/compaction, read 2026-11-22).
    XXX an advisor's are billed at the rates of its own model; here at those of the call.
    cost: USD, where OpenRouter serves this dialect.
    input_tokens_details, search_context_size: of a chat model that was asked in its stead.
    unknown: it told no figures, and those here are only there because SDKs need numbers.
    """

    input_tokens: int | float | None = None
    output_tokens: int | float | None = None
    cache_creation_input_tokens: int | float | None = None
    cache_read_input_tokens: int | float | None = None
    cache_creation: _CacheCreation | None = None
    input_tokens_details: object = None
    output_tokens_details: _OutputDetails | None = None
    iterations: "list[Figures] | None" = None
    cost: object = None
    cost_details: object = None
    is_byok: object = None
    server_tool_use: object = None
    service_tier: object = None
    speed: object = None
    inference_geo: object = None
    search_context_size: object = None
    unknown: object = None

    def updated(self, later: "Figures") -> "Figures":
        """Later figures win; what they do not mention stands."""
        told = {
            name: value
            for name in later.__struct_fields__
            if (value := getattr(later, name)) is not None
        }
        return msgspec.structs.replace(self, **told)

    def usage(self) -> Usage | None:
        """The figures normalised; None where there are none."""
        if (self.input_tokens is None and self.output_tokens is None) or self.unknown is True:
            return None
        each = [_disjoint(one) for one in self.iterations or (self,)]
        heard, made = self.input_tokens_details, self.output_tokens_details
        return Usage(
            input_tokens=sum(one.input_tokens for one in each),
            cache_read_tokens=sum(one.cache_read_tokens for one in each),
            cache_write_tokens=sum(one.cache_write_tokens for one in each),
            cache_write_1h_tokens=sum(one.cache_write_1h_tokens for one in each),
            output_tokens=sum(one.output_tokens for one in each),
            reasoning_tokens=token_count(made.thinking_tokens) if made else 0,
            input_audio_tokens=counted(member(heard, "audio_tokens")),
            output_audio_tokens=counted(made.audio_tokens) if made else 0,
            billed_cost_micro_usd=billed_micro_usd(
                self.cost, is_byok=self.is_byok, details=self.cost_details
            ),
            extras=self._extras(each),
        )

    def so_far(self) -> Usage | None:
        """The same of a stream so far. Nothing but noughts is nothing known: servers that only know
        at the end begin so, and a stream that breaks off before would have cost nothing."""
        usage = self.usage()
        if usage is None or usage.total_tokens or usage.billed_cost_micro_usd is not None:
            return usage
        return None

    def _extras(self, each: list[Usage]) -> Extras | None:
        heard, made = self.input_tokens_details, self.output_tokens_details
        return some(
            Extras(
                cache_read_audio_tokens=counted(member(heard, "cached_audio_tokens")),
                input_image_tokens=counted(member(heard, "image_tokens")),
                output_image_tokens=counted(made.image_tokens) if made else 0,
                web_searches=counted(member(self.server_tool_use, "web_search_requests")),
                search_context=text_or_none(self.search_context_size),
                terms=terms_of(self.service_tier, self.speed, self.inference_geo),
                iterations=tuple(each) if len(each) > 1 else (),
            )
        )


class Whole(msgspec.Struct, frozen=True):
    """The message object, as `message_start` and unstreamed answers carry it."""

    id: object = None
    content: msgspec.Raw = _ABSENT
    stop_reason: object = None
    usage: msgspec.Raw = _ABSENT
    error: object = None


WHOLE = msgspec.json.Decoder(Whole)
BLOCK = msgspec.json.Decoder(Block)
_FIGURES = msgspec.json.Decoder(Figures)
_BLOCKS = msgspec.json.Decoder(list[Block])


def read_figures(raw: msgspec.Raw) -> Figures:
    """A `usage` object; what cannot be read says nothing."""
    try:
        return _FIGURES.decode(raw)
    except (ValueError, RecursionError):
        return Figures()


def read_answer(body: bytes) -> Unstreamed:
    """Meters an unstreamed answer."""
    try:
        whole = WHOLE.decode(body)
        blocks = read_list(whole.content, _BLOCKS, BLOCK)
    except (ValueError, RecursionError) as error:
        return Unstreamed(Answer(), None, _malformed(body, error))
    text, calls = said(blocks)
    answer = Answer(text, calls, text_or_none(whole.id), text_or_none(whole.stop_reason))
    return Unstreamed(answer, read_figures(whole.usage).usage())


def failure_message(error: object) -> str:
    """The human part of an error object, whatever has become of it."""
    told = text_or_none(error)
    if isinstance(error, dict):
        told = text_or_none(error.get("message")) or text_or_none(error.get("type"))
    return (told or "the provider reported an error")[:_TOLD_LENGTH]


def _malformed(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "it is empty"
    if isinstance(error, msgspec.ValidationError):
        return "it is not of the type of an answer"
    return "it has no content" if body.lstrip().startswith(b"{") else "it is not JSON"


def _disjoint(figures: Figures) -> Usage:
    split = figures.cache_creation or _CacheCreation()
    long = token_count(split.ephemeral_1h_input_tokens)
    short = token_count(split.ephemeral_5m_input_tokens)
    if figures.cache_creation_input_tokens is not None:
        whole = token_count(figures.cache_creation_input_tokens)
        long = min(long, whole)
        short = whole - long
    return Usage(
        input_tokens=token_count(figures.input_tokens),
        cache_read_tokens=token_count(figures.cache_read_input_tokens),
        cache_write_tokens=short,
        cache_write_1h_tokens=long,
        output_tokens=token_count(figures.output_tokens),
    )
