"""An answer of chat as one of the Messages API.

Reasoning is left out: there, thinking is signed by the provider that it comes from, which refuses
any other when the client sends it back.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.chat_messages import TEXT_PARTS
from proxy.core.dialects.chat_parts import Call, Choice, Said, read_parts
from proxy.core.dialects.chat_usage import read_usage
from proxy.core.translation.calls import call_id_of, input_of
from proxy.core.translation.finishes import messages_stop
from proxy.core.translation.json_values import ABSENT, Json
from proxy.core.translation.usages import messages_usage, no_messages_usage
from proxy.core.usage import Usage

_THOUGHTS = frozenset({"thinking", "reasoning"})


class Groq(msgspec.Struct):
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Told(msgspec.Struct):
    """What is around an answer or a chunk, and its choices."""

    id: object = None
    model: object = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = ABSENT
    service_tier: object = None
    error: msgspec.Raw = ABSENT
    x_groq: Groq | None = None

    @property
    def used(self) -> Usage | None:
        usage = read_usage(self.usage, self.service_tier)
        return read_usage(self.x_groq.usage) if usage is None and self.x_groq else usage


TOLD = msgspec.json.Decoder(Told)


def translate(body: bytes, created: int) -> bytes:
    """What is no answer is left as it is: it is none of messages either."""
    try:
        told = TOLD.decode(body)
        if not told.choices:
            return body
        first = min(told.choices, key=lambda choice: choice.index or 0)
        if ended_in_error(first):
            return body
        content = _content(first, word_of(told.id), created)
    except (ValueError, RecursionError):
        return body
    calls = any(block["type"] == "tool_use" for block in content)
    stop = messages_stop(first.finish_reason, calls=calls)
    usage = told.used
    written = messages_usage(usage) if usage is not None else no_messages_usage()
    message = message_of(told) | {"content": content, "stop_reason": stop, "usage": written}
    return msgspec.json.encode(message)


def ended_in_error(choice: Choice) -> bool:
    """As OpenRouter says it, with or without an error beside; it is no end."""
    return choice.finish_reason == "error"


def word_of(told: object) -> str:
    """An id, which may be a number, or a model; "" for what is none."""
    return str(told) if isinstance(told, str | int) else ""


def message_of(told: Told) -> Json:
    """A message as it begins."""
    return {
        "id": word_of(told.id),
        "type": "message",
        "role": "assistant",
        "model": word_of(told.model),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": messages_usage(Usage()),
    }


def said_text(said: Said) -> str:
    """The text of a message or a delta, without what the model thought. Raises ValueError."""
    if isinstance(said.content, list):
        parts = read_parts(said.content)
        texts = [one.said for one, _ in parts if one.type in TEXT_PARTS - _THOUGHTS]
        return "".join(texts) or said.refusal or ""
    return said.content or said.refusal or ""


def _content(choice: Choice, answer_id: str, created: int) -> list[Json]:
    said = choice.message or Said()
    text = said_text(said) or choice.text or ""
    blocks: list[Json] = [{"type": "text", "text": text}] if text else []
    return blocks + _calls(said.tool_calls or (), answer_id, created)


def _calls(calls: Sequence[Call], answer_id: str, created: int) -> list[Json]:
    blocks: list[Json] = []
    for place, call in enumerate(calls):
        name, arguments = call.called
        call_id = call_id_of(call.id or "", answer_id, place, created)
        told = input_of(arguments)
        blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": told})
    return blocks
