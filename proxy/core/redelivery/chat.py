"""Answers of `/v1/chat/completions`:
https://platform.openai.com/docs/api-reference/chat-streaming."""

from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.redelivery.events import (
    Json,
    NotUnderstood,
    events_of,
    listed,
    member,
    only,
    text_of,
)
from proxy.core.sse import encode_frame
from proxy.core.usage import Usage

_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")
_CALL: Final = ("index", "id", "type", "function")


def whole(body: bytes) -> Json:
    """A stream's body as the chat completion that an unstreamed call is answered. Raises
    NotUnderstood."""
    answer: Json = {}
    choices: dict[int, Json] = {}
    for event in events_of(body):
        answer |= {k: v for k, v in event.items() if k != "choices" and v is not None}
        for part in listed(event, "choices"):
            only(part, "index", "delta", "finish_reason", "logprobs", "native_finish_reason")
            index = part["index"]
            if not isinstance(index, int):
                raise NotUnderstood("index")
            _grow(choices.setdefault(index, _begun(index)), part)
    if not choices or any(one["finish_reason"] is None for one in choices.values()):
        raise NotUnderstood("no end")
    answer.pop("obfuscation", None)
    said = [_ended(choices[index]) for index in sorted(choices)]
    return answer | {"object": "chat.completion", "choices": said}


def _begun(index: int) -> Json:
    message: Json = {"role": "assistant", "content": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _grow(choice: Json, part: Json) -> None:
    message, delta = member(choice, "message"), member(part, "delta")
    only(delta, "role", "tool_calls", *_TEXTS)
    for name in _TEXTS:
        if delta.get(name) is not None:
            message[name] = text_of(message, name) + text_of(delta, name)
    for one in listed(delta, "tool_calls"):
        _call(message, one)
    for name in ("finish_reason", "native_finish_reason"):
        if part.get(name) is not None:
            choice[name] = part[name]
    if part.get("logprobs") is not None:
        known = choice["logprobs"] = choice["logprobs"] or {}
        assert isinstance(known, dict)
        for name, said in member(part, "logprobs").items():
            more = [*listed(known, name), *listed({name: said}, name)]
            known[name] = more if said is not None else known.get(name)


def _call(message: Json, part: Json) -> None:
    only(part, *_CALL)
    calls = message.setdefault("tool_calls", {})
    assert isinstance(calls, dict)  # by index, until its end
    call = calls.setdefault(part["index"], {"type": "function", "function": {"arguments": ""}})
    for name in ("id", "type"):
        if part.get(name):
            call[name] = part[name]
    function, said = call["function"], member(part, "function")
    only(said, "name", "arguments")
    if said.get("name"):
        function["name"] = said["name"]
    function["arguments"] += text_of(said, "arguments")


def _ended(choice: Json) -> Json:
    message = member(choice, "message")
    calls = message.get("tool_calls")
    if isinstance(calls, dict):
        if not all("id" in one and "name" in one["function"] for one in calls.values()):
            raise NotUnderstood("a call without a name")
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return choice


def usage_of(usage: Usage) -> Json:
    """As an unstreamed answer says it, where its stream was not asked to."""
    said = usage.total_input_tokens
    return {
        "prompt_tokens": said,
        "completion_tokens": usage.output_tokens,
        "total_tokens": said + usage.output_tokens,
    }


def streamed(answer: Json, *, include_usage: bool) -> bytes:
    """A chat completion as a stream's body. include_usage: a chunk of its usage ends it. Raises
    NotUnderstood."""
    frames = [encode_frame(msgspec.json.encode(chunk)) for chunk in _chunks(answer, include_usage)]
    return b"".join([*frames, encode_frame(b"[DONE]")])


def _chunks(answer: Json, include_usage: bool) -> Iterator[Json]:
    head = {k: v for k, v in answer.items() if k not in ("choices", "usage", "object")}
    head["object"] = "chat.completion.chunk"
    choices = listed(answer, "choices")
    if not choices:
        raise NotUnderstood("no choices")
    for choice in choices:
        delta, ends = _delta(member(choice, "message")), choice["finish_reason"]
        index, logprobs = choice["index"], choice.get("logprobs")
        said = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        yield head | {"choices": [said]}
        end = {"index": index, "delta": {}, "logprobs": None, "finish_reason": ends}
        yield head | {"choices": [end]}
    if include_usage:
        yield head | {"choices": [], "usage": member(answer, "usage")}


def _delta(message: Json) -> Json:
    known = {k: v for k, v in message.items() if v != []}
    only(known, "role", "tool_calls", *_TEXTS)
    delta: Json = {name: message[name] for name in ("role", *_TEXTS) if name in message}
    for name in _TEXTS:
        text_of(message, name)
    calls = listed(message, "tool_calls")
    if calls:
        delta["tool_calls"] = [{"index": n, **call} for n, call in enumerate(calls)]
        for call in calls:
            only(call, *_CALL)
            only(member(call, "function"), "name", "arguments")
    return delta
