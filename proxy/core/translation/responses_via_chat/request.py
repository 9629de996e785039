"""A request of the Responses API as one of chat."""

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.chat_models import is_current_openais
from proxy.core.translation.json_values import ABSENT, Json, translated
from proxy.core.translation.responses_via_chat.tools import Chosen, Offer, Tool, choose
from proxy.core.translation.responses_via_chat.turns import Item, Turns, parts_of

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""What others take, who have no word for "none"; OpenAI's current models take all."""
_KEPT = ("previous_response_id", "conversation", "prompt")


class _Format(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: object = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Reasoning(msgspec.Struct):
    effort: object = None


class Asked(msgspec.Struct):
    """A request, as far as chat has words for it, and as far as its answer has to know."""

    model: str = ""
    input: str | list[msgspec.Raw] | None = None
    instructions: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Chosen | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: int | float | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: object = None
    conversation: object = None
    prompt: object = None


_ASKED = msgspec.json.Decoder(Asked)
_ITEM = msgspec.json.Decoder(Item)


def read(body: bytes) -> Asked:
    """Raises ValueError for what cannot be read as a request, as `items_of` does."""
    return _ASKED.decode(body)


def items_of(asked: Asked) -> list[Item]:
    return [_ITEM.decode(raw) for raw in asked.input] if isinstance(asked.input, list) else []


def offer_of(asked: Asked, items: list[Item]) -> Offer:
    """All that may be called; newer models of Codex are offered tools by an item of the input."""
    return Offer([*(asked.tools or ()), *(tool for item in items for tool in item.tools or ())])


def chat_request(body: bytes) -> bytes:
    """Raises Untranslatable."""
    return translated(lambda: _chat_request(read(body)))


def _chat_request(asked: Asked) -> bytes:
    for key in _KEPT:
        if getattr(asked, key) is not None:
            raise Untranslatable(f"Only its own provider has what the request goes on from: {key}.")
    if asked.background:
        raise Untranslatable("The request asks for an answer in the background.")
    items = items_of(asked)
    offer = offer_of(asked, items)
    turns = Turns(offer, asked.model)
    turns.instruct(asked.instructions or "")
    if isinstance(asked.input, str):
        turns.hear(parts_of(msgspec.Raw(msgspec.json.encode(asked.input))))
    for item in items:
        turns.take(item)
    told: Json = {"model": asked.model, "messages": turns.messages()}
    chosen = choose(offer, asked.tool_choice)
    if chosen and asked.parallel_tool_calls is not None:
        chosen["parallel_tool_calls"] = asked.parallel_tool_calls
    return msgspec.json.encode(told | chosen | _options(asked))


def _options(asked: Asked) -> Json:
    """How the answer is made. What only tells the provider's own store and accounts goes."""
    is_openais = is_current_openais(asked.model)
    told: Json = {}
    if asked.max_output_tokens is not None:
        key = "max_completion_tokens" if is_openais else "max_tokens"
        told[key] = int(asked.max_output_tokens)
    if not is_openais:
        given = {"temperature": asked.temperature, "top_p": asked.top_p}
        told |= {key: value for key, value in given.items() if value is not None}
    effort = asked.reasoning.effort if asked.reasoning else None
    if isinstance(effort, str) and (is_openais or effort in _EFFORTS):
        told["reasoning_effort"] = effort if is_openais else _EFFORTS[effort]
    if asked.text and asked.text.format:
        told |= _format(asked.text.format)
    if asked.stream:
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    return told


def _format(asked: _Format) -> Json:
    if asked.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    if asked.type != "json_schema":
        return {}
    told = {"name": asked.name, "description": asked.description, "strict": asked.strict}
    schema: Json = {key: value for key, value in told.items() if value is not None}
    if bytes(asked.schema).startswith(b"{"):
        schema["schema"] = asked.schema
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
