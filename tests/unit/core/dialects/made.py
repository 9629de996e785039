"""Streamed answers as providers of each dialect would send them, made of any texts and calls."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from proxy.core.dialects.base import Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.usage import ToolCall

Json = dict[str, Any]

TOOLS = ("mail", "look", "pay")
DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
_WORDS = ("So, ", "now. ", "é\u2028", '"{}"\\', "\n\n", "data: x", "👩‍🚀", "}")


@dataclass(slots=True)
class Made:
    """One stream. ordered: each call ends before the next begins. numbered: as SDKs expect it.
    thinks: it has reasoning items, which wait for what they lead to."""

    dialect: str
    events: list[bytes]
    calls: list[ToolCall]
    ordered: bool = True
    numbered: bool = True
    thinks: bool = False

    @property
    def stream(self) -> bytes:
        return b"".join(self.events)


@dataclass(slots=True)
class _Style:
    """What providers differ in. line: ends lines with."""

    chance: Random
    line: bytes = b"\n"
    interleaved: bool = False
    whole: bool = False
    numbering: str = "usual"
    finish_with_last: bool = False
    usage: str = "own"
    role_always: bool = False
    extra: bool = False


def made(dialect: str, chance: Random, tag: str = "1") -> Made:
    """A stream of this dialect; `tag` tells it from others."""
    style = _Style(
        chance,
        line=chance.choice([b"\n", b"\n", b"\r\n"]),
        interleaved=chance.random() < 0.2,
        whole=chance.random() < 0.3,
        numbering=chance.choice(["usual", "usual", "none", "zero"]),
        finish_with_last=chance.random() < 0.3,
        usage=chance.choice(["own", "last", "none"]),
        role_always=chance.random() < 0.2,
        extra=chance.random() < 0.3,
    )
    parts = _parts(chance, tag)
    return _MAKERS[dialect](style, parts, tag)


Part = tuple[str, Any]


def _parts(chance: Random, tag: str) -> list[Part]:
    """Texts, thoughts and calls, in the order that the model made them in."""
    parts: list[Part] = []
    for n in range(chance.randrange(6)):
        kind = chance.choice(["text", "thought", "call", "call"])
        if kind == "call":
            value = "".join(chance.choices(_WORDS, k=chance.randrange(4)))
            arguments = json.dumps({"n": n, "v": value}, ensure_ascii=chance.random() < 0.5)
            arguments = chance.choice([arguments, arguments, "{}"])
            parts.append(("call", ToolCall(f"call_{tag}_{n}", chance.choice(TOOLS), arguments)))
        else:
            parts.append((kind, "".join(chance.choices(_WORDS, k=chance.randrange(1, 4)))))
    return parts


def _cut(chance: Random, text: str) -> list[str]:
    places = sorted({0, len(text), *(chance.randrange(len(text) + 1) for _ in range(3))})
    return [text[a:b] for a, b in pairwise(places)] or [""]


def _event(style: _Style, data: Json | bytes, name: str = "") -> bytes:
    written = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    head = b"event: " + name.encode() + style.line if name else b""
    noise = style.chance.random()
    comment = b": keep-alive" + style.line * 2 if noise < 0.05 else b""
    return comment + head + b"data: " + written + style.line * 2


def _calls(parts: list[Part]) -> list[ToolCall]:
    return [value for kind, value in parts if kind == "call"]


def _chat(style: _Style, parts: list[Part], tag: str) -> Made:
    calls = _calls(parts)
    deltas = _deltas(style, parts)
    if style.whole and style.numbering == "usual" and len(calls) > 1 and not style.interleaved:
        deltas = _in_one_delta(deltas)
    if style.role_always:
        deltas = [{"role": "assistant", **delta} for delta in deltas]
    finish = "tool_calls" if calls else "stop"
    head = {"id": f"chatcmpl-{tag}", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    chunks: list[Json] = [{**head, "choices": [_choice(delta)]} for delta in deltas]
    if style.finish_with_last:
        chunks[-1]["choices"][0]["finish_reason"] = finish
    else:
        chunks.append({**head, "choices": [_choice({}, finish)]})
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    if style.usage == "last":
        chunks[-1]["usage"] = usage
    elif style.usage == "own":
        chunks.append({**head, "choices": [], "usage": usage})
    events = [_event(style, chunk) for chunk in chunks] + [_event(style, b"[DONE]")]
    ordered = not style.interleaved or len(calls) < 2
    numbered = style.numbering == "usual" or style.interleaved
    return Made("chat", events, calls, ordered, numbered)


def _deltas(style: _Style, parts: list[Part]) -> list[Json]:
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    queues: list[list[Json]] = []
    index = 0
    for kind, value in parts:
        if kind == "call":
            queues.append(_chat_call(style, value, index))
            index += 1
            if not style.interleaved:
                deltas += [{"tool_calls": [one]} for one in queues.pop()]
        else:
            key = "content" if kind == "text" else "reasoning_content"
            deltas += [{key: one} for one in _cut(style.chance, value)]
    return deltas + [{"tool_calls": [one]} for one in _shuffled(style.chance, queues)]


def _choice(delta: Json, finish: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _chat_call(style: _Style, call: ToolCall, index: int) -> list[Json]:
    numbered: Json = {"index": index} if style.numbering == "usual" or style.interleaved else {}
    if style.numbering == "zero" and not style.interleaved:
        numbered = {"index": 0}
    begun = {**numbered, "id": call.call_id, "type": "function"}
    if style.extra:
        begun["extra_content"] = {"google": {"thought_signature": call.call_id}}
    if style.whole:
        return [{**begun, "function": {"name": call.name, "arguments": call.arguments}}]
    first = {**begun, "function": {"name": call.name, "arguments": ""}}
    rest = [
        {**numbered, "function": {"arguments": one}} for one in _cut(style.chance, call.arguments)
    ]
    return [first, *rest]


def _shuffled(chance: Random, queues: list[list[Json]]) -> Iterator[Json]:
    """Of several calls in turn, beginning with each in order."""
    for queue in queues:
        yield queue.pop(0)
    while queues := [queue for queue in queues if queue]:
        yield chance.choice(queues).pop(0)


def _in_one_delta(deltas: list[Json]) -> list[Json]:
    """All calls in one delta, at the end."""
    others = [delta for delta in deltas if "tool_calls" not in delta]
    return [*others, {"tool_calls": [one for d in deltas for one in d.get("tool_calls", ())]}]


def _messages(style: _Style, parts: list[Part], tag: str) -> Made:
    chance, calls = style.chance, _calls(parts)
    usage = {"input_tokens": 10, "output_tokens": 1}
    message: Json = {"id": f"msg_{tag}", "type": "message", "role": "assistant", "content": []}
    message |= {"model": "m", "stop_reason": None, "stop_sequence": None, "usage": usage}
    events: list[Json] = [{"type": "message_start", "message": message}]
    for index, (kind, value) in enumerate(parts):
        at = {"index": index}
        block, key, delta_type = _BLOCKS[kind](value)
        events.append({"type": "content_block_start", **at, "content_block": block})
        if chance.random() < 0.2:
            events.append({"type": "ping"})
        written = value.arguments if kind == "call" else value
        for piece in [written] if style.whole else _cut(chance, written):
            delta = {"type": delta_type, key: piece}
            events.append({"type": "content_block_delta", **at, "delta": delta})
        if kind == "thought":
            delta = {"type": "signature_delta", "signature": f"s{index}"}
            events.append({"type": "content_block_delta", **at, "delta": delta})
        events.append({"type": "content_block_stop", **at})
    finish = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": finish, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    raw = [_event(style, event, event["type"]) for event in events]
    return Made("messages", raw, calls)


def _tool_use(call: ToolCall) -> tuple[Json, str, str]:
    block = {"type": "tool_use", "id": call.call_id, "name": call.name, "input": {}}
    return block, "partial_json", "input_json_delta"


_BLOCKS: dict[str, Callable[[Any], tuple[Json, str, str]]] = {
    "text": lambda _: ({"type": "text", "text": ""}, "text", "text_delta"),
    "thought": lambda _: (
        {"type": "thinking", "thinking": "", "signature": ""},
        "thinking",
        "thinking_delta",
    ),
    "call": _tool_use,
}


def _responses(style: _Style, parts: list[Part], tag: str) -> Made:
    calls = _calls(parts)
    response: Json = {"id": f"resp_{tag}", "object": "response", "created_at": 7, "model": "m"}
    response |= {"status": "in_progress", "output": [], "parallel_tool_calls": True}
    response |= {"tool_choice": "auto", "tools": []}
    events: list[Json] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
    ]
    output: list[Json] = []
    for index, (kind, value) in enumerate(parts):
        whole, between = _item(style, kind, value, f"{tag}_{index}")
        output.append(whole)
        empty: Json = {"arguments": "", "status": "in_progress"} if kind == "call" else {}
        empty |= {"content": []} if kind == "text" else {}
        empty |= {"summary": []} if kind == "thought" else {}
        begun = {**whole, **empty}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        events += [{"output_index": index, "item_id": whole["id"], **one} for one in between]
        events.append({"type": "response.output_item.done", "output_index": index, "item": whole})
    details = {"input_tokens_details": {"cached_tokens": 2}, "total_tokens": 15}
    usage = {"input_tokens": 10, "output_tokens": 5, **details}
    last = {**response, "status": "completed", "output": output, "usage": usage}
    events.append({"type": "response.completed", "response": last})
    numbered = [{**event, "sequence_number": n} for n, event in enumerate(events)]
    raw = [_event(style, event, event["type"]) for event in numbered]
    return Made("responses", raw, calls, thinks=any(kind == "thought" for kind, _ in parts))


def _item(style: _Style, kind: str, value: Any, tag: str) -> tuple[Json, list[Json]]:
    if kind == "call":
        item = {"type": "function_call", "id": f"fc_{tag}", "call_id": value.call_id}
        item |= {"name": value.name, "arguments": value.arguments, "status": "completed"}
        cut = [value.arguments] if style.whole else _cut(style.chance, value.arguments)
        named = "response.function_call_arguments"
        deltas: list[Json] = [{"type": f"{named}.delta", "delta": one} for one in cut]
        done = {"type": f"{named}.done", "arguments": value.arguments, "name": value.name}
        return item, [*deltas, done]
    if kind == "thought":
        item = {"type": "reasoning", "id": f"rs_{tag}", "summary": [], "encrypted_content": value}
        return item, _summary(item, value) if style.extra else []
    part = {"type": "output_text", "text": value, "annotations": []}
    item = {"type": "message", "id": f"msg_{tag}", "role": "assistant", "status": "completed"}
    item |= {"content": [part]}
    at = {"content_index": 0}
    deltas = [
        {"type": "response.output_text.delta", **at, "delta": one, "logprobs": []}
        for one in _cut(style.chance, value)
    ]
    return item, [
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *deltas,
        {"type": "response.output_text.done", **at, "text": value, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _summary(item: Json, value: str) -> list[Json]:
    """What can be read of a thought, as it comes; the item has it too."""
    part, named = {"type": "summary_text", "text": value}, "response.reasoning_summary"
    item["summary"] = [part]
    at = {"summary_index": 0}
    return [
        {"type": f"{named}_part.added", **at, "part": {**part, "text": ""}},
        {"type": f"{named}_text.delta", **at, "delta": value},
        {"type": f"{named}_text.done", **at, "text": value},
        {"type": f"{named}_part.done", **at, "part": part},
    ]


_MAKERS: dict[str, Callable[[_Style, list[Part], str], Made]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
}
