"""What a chat model says, in pieces: the same of whole answers and of streams."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from proxy.core.dialects.chat_parts import Call, Choice, Said, read_parts
from proxy.core.dialects.reported import text_or_none
from proxy.core.translation.json_values import ABSENT

Kind = Literal["reasoning", "text", "refusal"]

_LEGACY_INDEX = -1  # of `function_call`, which has none


class _Groq(msgspec.Struct):
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Envelope(msgspec.Struct):
    """What is around an answer: read even where the answer is not as it should be."""

    model: object = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    x_groq: _Groq | None = None
    service_tier: object = None


class Chunk(Envelope):
    """A chunk of a stream or a whole answer."""

    choices: list[Choice] | None = None


CHUNK = msgspec.json.Decoder(Chunk)
ENVELOPE = msgspec.json.Decoder(Envelope)


class _Thought(msgspec.Struct):
    text: object = None


_THOUGHT = msgspec.json.Decoder(_Thought)


def pieces_of(said: Said) -> Iterator[tuple[Kind, str]]:
    """Raises ValueError for content parts that are none."""
    if thought := said.reasoning_content or said.reasoning:
        yield "reasoning", thought
    if isinstance(said.content, str):
        yield "text", said.content
    else:
        for part, _ in read_parts(said.content or ()):
            if part.thinking:
                yield "reasoning", _thought(part.thinking)
            elif part.refusal:
                yield "refusal", part.refusal
            elif part.text:
                yield "text", part.text
    if said.refusal:
        yield "refusal", said.refusal


def calls_of(said: Said) -> list[Call]:
    calls = list(said.tool_calls or ())
    if said.function_call and any(Call(function=said.function_call).called):  # Snowflake's is empty
        calls.append(Call(index=_LEGACY_INDEX, function=said.function_call))
    return calls


def _thought(parts: list[msgspec.Raw] | str) -> str:
    """Mistral's parts inside of a part."""
    if isinstance(parts, str):
        return parts
    return "".join([text_or_none(_THOUGHT.decode(one).text) or "" for one in parts])
