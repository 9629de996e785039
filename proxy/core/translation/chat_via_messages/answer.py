"""An answer of the Messages API as one of chat."""

from collections.abc import Iterable

import msgspec

from proxy.core.dialects.messages_answer import BLOCK, read_figures
from proxy.core.dialects.messages_blocks import Block
from proxy.core.dialects.reported import read_list, text_or_none
from proxy.core.translation.finishes import chat_finish
from proxy.core.translation.json_values import ABSENT, Json
from proxy.core.translation.usages import chat_usage


class Told(msgspec.Struct):
    """What is told of a message beside its content, in an answer and at the head of a stream."""

    id: object = None
    model: object = None
    content: msgspec.Raw = ABSENT
    stop_reason: object = None
    usage: msgspec.Raw = ABSENT


class _Thought(msgspec.Struct):
    type: object = None
    thinking: object = None


TOLD = msgspec.json.Decoder(Told)
_BLOCKS = msgspec.json.Decoder(list[Block])
_THOUGHT = msgspec.json.Decoder(_Thought)
_THOUGHTS = msgspec.json.Decoder(list[_Thought])


def translate(body: bytes, created: int) -> bytes:
    """What is no answer is left as it is: it is none of chat either."""
    try:
        told = TOLD.decode(body)
        blocks = read_list(told.content, _BLOCKS, BLOCK)
        thoughts = read_list(told.content, _THOUGHTS, _THOUGHT)
    except (ValueError, RecursionError):
        return body
    message = _message(blocks, thoughts)
    finish = chat_finish(told.stop_reason, calls="tool_calls" in message)
    choice: Json = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    answer = head_of(told, "chat.completion", created) | {"choices": [choice]}
    usage = read_figures(told.usage).usage()
    return msgspec.json.encode(answer | ({"usage": chat_usage(usage)} if usage else {}))


def head_of(told: Told, kind: str, created: int) -> Json:
    """What stands at the head of an answer and of each chunk."""
    answer_id, model = text_or_none(told.id) or "", text_or_none(told.model) or ""
    return {"id": answer_id, "object": kind, "created": created, "model": model}


def call_of(block: Block, arguments: str) -> Json:
    function = {"name": block.name or "", "arguments": arguments}
    return {"id": block.id or "", "type": "function", "function": function}


def _message(blocks: Iterable[Block], thoughts: Iterable[_Thought]) -> Json:
    texts: list[str] = []
    calls: list[Json] = []
    for block in blocks:
        if (call := block.tool_call()) is not None:
            calls.append(call_of(block, call.arguments))
        elif block.type == "text":
            texts.append(block.text or "")
    thought = "".join([text_or_none(one.thinking) or "" for one in thoughts])
    message: Json = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    if thought:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message
