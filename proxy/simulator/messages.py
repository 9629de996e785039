"""`/v1/messages` as Anthropic answers it.

https://docs.anthropic.com/en/api/messages-streaming, and recorded exchanges (read 2026-11-22).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from proxy.simulator.answer import AskedCall, Event, Reply, Usage, chunks
from proxy.simulator.ids import Ids

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_PING = Event(b'event: ping\ndata: {"type": "ping"}\n\n')


@dataclass(frozen=True, slots=True)
class _Block:
    """A content block as it grows: what it begins with, its deltas and their tokens."""

    start: dict[str, object]
    start_tokens: int
    deltas: Iterator[tuple[dict[str, object], int]]


def whole(reply: Reply) -> bytes:
    """The unstreamed answer."""
    answer = reply.answer
    content: list[object] = []
    if answer.reasoning:
        thinking, signature = "".join(answer.reasoning), _signature(reply.ids)
        content.append({"type": "thinking", "thinking": thinking, "signature": signature})
    if answer.text or not answer.calls:
        content.append({"type": "text", "text": "".join(answer.text)})
    content += [
        _tool_use(reply.ids, number, call, _parsed(call))
        for number, call in enumerate(answer.calls)
    ]
    message = _message(reply, answer.usage)
    message |= {"content": content, "stop_reason": _REASONS[answer.finish]}
    return msgspec.json.encode(message)


def stream(reply: Reply) -> Iterator[Event]:
    """The streamed answer: block by block, with a ping after the start of the first."""
    answer = reply.answer
    started = None if answer.usage is None else replace(answer.usage, output_tokens=1)
    yield _event("message_start", message=_message(reply, started))
    for index, block in enumerate(_blocks(reply)):
        name = "content_block_"
        yield _event(name + "start", block.start_tokens, index=index, content_block=block.start)
        if index == 0:
            yield _PING
        for delta, tokens in block.deltas:
            yield _event(name + "delta", tokens, index=index, delta=delta)
        yield _event(name + "stop", index=index)
    stop = {"stop_reason": _REASONS[answer.finish], "stop_sequence": None}
    usage: dict[str, object] = {} if answer.usage is None else {"usage": _counts(answer.usage)}
    yield _event("message_delta", delta=stop, **usage)
    yield _event("message_stop")


def _blocks(reply: Reply) -> Iterator[_Block]:
    answer, size = reply.answer, reply.answer.chunk_tokens
    if answer.reasoning:
        empty: dict[str, object] = {"type": "thinking", "thinking": "", "signature": ""}
        yield _Block(empty, 0, _thinking_deltas(reply))
    if answer.text or not answer.calls:
        yield _Block({"type": "text", "text": ""}, 0, _text_deltas(reply))
    for number, call in enumerate(answer.calls):
        start = _tool_use(reply.ids, number, call, {})
        yield _Block(start, call.head_tokens, _argument_deltas(call, size))


def _thinking_deltas(reply: Reply) -> Iterator[tuple[dict[str, object], int]]:
    for text, count in chunks(reply.answer.reasoning, reply.answer.chunk_tokens):
        yield {"type": "thinking_delta", "thinking": text}, count
    yield {"type": "signature_delta", "signature": _signature(reply.ids)}, 0


def _argument_deltas(call: AskedCall, size: int) -> Iterator[tuple[dict[str, object], int]]:
    yield {"type": "input_json_delta", "partial_json": ""}, 0
    for text, count in chunks(call.arguments, size):
        yield {"type": "input_json_delta", "partial_json": text}, count


def _text_deltas(reply: Reply) -> Iterator[tuple[dict[str, object], int]]:
    for text, count in chunks(reply.answer.text, reply.answer.chunk_tokens):
        yield {"type": "text_delta", "text": text}, count


def _message(reply: Reply, usage: Usage | None) -> dict[str, object]:
    message: dict[str, object] = {
        "model": reply.conversation.model,
        "id": reply.ids.base62("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    if usage is not None:
        writes = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        }
        tier = {"cache_creation": writes, "service_tier": "standard"}
        message["usage"] = _counts(usage) | tier | {"inference_geo": "not_available"}
    return message


def _counts(usage: Usage) -> dict[str, object]:
    """Anthropic's `input_tokens` are those that neither came from the cache nor went into it."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": usage.input_tokens - cached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }


def _tool_use(ids: Ids, number: int, call: AskedCall, given: object) -> dict[str, object]:
    call_id = ids.tool_call(number, lambda i: i.base62("toolu_01", 22))
    return {"type": "tool_use", "id": call_id, "name": call.name, "input": given}


def _parsed(call: AskedCall) -> object:
    """The input of a call; one that was cut by the bound has none."""
    try:
        return json.loads("".join(call.arguments) or "{}")
    except ValueError:
        return {}


def _signature(ids: Ids) -> str:
    return ids.base62("EqQB", 60)


def _event(event_type: str, tokens: int = 0, /, **fields: object) -> Event:
    data = msgspec.json.encode({"type": event_type, **fields})
    return Event(b"event: %b\ndata: %b\n\n" % (event_type.encode(), data), tokens, tokens > 0)
