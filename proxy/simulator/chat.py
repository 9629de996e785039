"""`/v1/chat/completions` as OpenAI answers it.

https://platform.openai.com/docs/api-reference/chat, and recorded exchanges (read 2026-11-22).
"""

from collections.abc import Iterator

import msgspec

from proxy.simulator.answer import Answer, Event, Reply, Usage, chunks
from proxy.simulator.conversation import mapping
from proxy.simulator.ids import Ids
from proxy.simulator.tokens import Json

DONE = Event(b"data: [DONE]\n\n")
_FINGERPRINT = "fp_5150ab1e00"


def whole(reply: Reply) -> bytes:
    """The unstreamed answer."""
    choices = [_choice(reply, index) for index in range(reply.conversation.choices)]
    body: dict[str, object] = {
        "id": reply.ids.base62("chatcmpl-", 29),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.conversation.model,
        "choices": choices,
    }
    if reply.answer.usage is not None:
        body["usage"] = usage_of(reply.answer.usage)
    body |= {"service_tier": "default", "system_fingerprint": _FINGERPRINT}
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def stream(reply: Reply) -> Iterator[Event]:
    """The streamed answer; usage comes in a chunk of its own, only to those who asked for it."""
    wants_usage = wants(reply.conversation.body, "include_usage")
    chunk = _Chunks(reply, wants_usage)
    for index in range(reply.conversation.choices):
        yield from _choice_events(reply, index, chunk)
    if wants_usage and reply.answer.usage is not None:
        yield chunk.make((), usage=usage_of(reply.answer.usage))
    yield DONE


def wants(body: Json | None, option: str) -> bool:
    """Whether `stream_options` asks for something."""
    return mapping((body or {}).get("stream_options")).get(option) is True


def usage_of(usage: Usage) -> dict[str, object]:
    """The usage object, with the zeros that OpenAI spells out."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def call_id(ids: Ids, index: int) -> str:
    """A tool-call id in OpenAI's form."""
    return ids.tool_call(index, lambda i: i.base62("call_", 24))


def shows_reasoning(model: str) -> bool:
    """OpenAI bills reasoning and hides it; DeepSeek and those who follow it show it."""
    return "deepseek" in model or "sim-think" in model


def _choice(reply: Reply, index: int) -> dict[str, object]:
    answer = reply.answer
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(answer.text) if answer.text or not answer.calls else None,
    }
    if answer.reasoning and shows_reasoning(reply.conversation.model):
        message["reasoning_content"] = "".join(answer.reasoning)
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call_id(reply.ids, number),
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for number, call in enumerate(answer.calls)
        ]
    message |= {"refusal": None, "annotations": []}
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": answer.finish,
    }


class _Chunks:
    """Makes the chunks of one stream."""

    def __init__(self, reply: Reply, with_usage: bool) -> None:
        self._head: dict[str, object] = {
            "id": reply.ids.base62("chatcmpl-", 29),
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.conversation.model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }
        self._with_usage = with_usage
        self._ids = reply.ids if wants(reply.conversation.body, "include_obfuscation") else None

    def make(self, choices: tuple[object, ...], tokens: int = 0, usage: object = None) -> Event:
        body = self._head | {"choices": choices}
        if self._with_usage:
            body["usage"] = usage
        if self._ids is not None:
            body["obfuscation"] = self._ids.base62("", 8)
        data = b"data: " + msgspec.json.encode(body) + b"\n\n"
        return Event(data, tokens, tokens > 0)

    def delta(self, index: int, delta: Json, tokens: int = 0, finish: str | None = None) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self.make((choice,), tokens)


def _choice_events(reply: Reply, index: int, chunk: _Chunks) -> Iterator[Event]:
    answer = reply.answer
    opening: dict[str, object] = {"role": "assistant", "content": "" if answer.text else None}
    alone = len(answer.calls) == 1 and not answer.text and not answer.reasoning
    if not answer.calls:
        opening["content"] = ""
    if not alone:  # a call that is all of the answer is announced with the role, in one chunk
        yield chunk.delta(index, opening | {"refusal": None})
    yield from _reasoning_events(reply, index, chunk)
    for text, tokens in chunks(answer.text, answer.chunk_tokens):
        yield chunk.delta(index, {"content": text}, tokens)
    yield from _call_events(answer, index, chunk, reply.ids, opening if alone else {})
    yield chunk.delta(index, {}, finish=answer.finish)


def _reasoning_events(reply: Reply, index: int, chunk: _Chunks) -> Iterator[Event]:
    answer = reply.answer
    if shows_reasoning(reply.conversation.model):
        for text, tokens in chunks(answer.reasoning, answer.chunk_tokens):
            yield chunk.delta(index, {"reasoning_content": text}, tokens)
    else:
        for _, tokens in chunks(answer.reasoning, answer.chunk_tokens):
            yield Event(b"", tokens, content=True)  # thought and billed, never sent


def _call_events(
    answer: Answer, index: int, chunk: _Chunks, ids: Ids, role: Json
) -> Iterator[Event]:
    for number, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        opening: dict[str, object] = {
            "index": number,
            "id": call_id(ids, number),
            "type": "function",
            "function": function,
        }
        delta = {**role, "tool_calls": [opening]} | ({"refusal": None} if role else {})
        yield chunk.delta(index, delta, call.head_tokens)
        for text, tokens in chunks(call.arguments, answer.chunk_tokens):
            part = {"index": number, "function": {"arguments": text}}
            yield chunk.delta(index, {"tool_calls": [part]}, tokens)
