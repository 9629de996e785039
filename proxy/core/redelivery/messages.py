"""Answers of `/v1/messages`: https://docs.anthropic.com/en/api/messages-streaming."""

from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.redelivery.events import Json, NotUnderstood, events_of, listed, member, text_of
from proxy.core.sse import encode_frame

_USES: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_GROWS: Final = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}


def whole(body: bytes) -> Json:
    """A stream's body as the message that an unstreamed call is answered. Raises
    NotUnderstood."""
    told = _Told()
    for event in events_of(body):
        told.take(event)
    return told.message()


class _Told:
    """A message, as far as its events have told it."""

    def __init__(self) -> None:
        self._message: Json | None = None
        self._blocks: list[Json] = []
        self._inputs: dict[int, str] = {}
        self._ended = False

    def take(self, event: Json) -> None:
        kind = event.get("type")
        if kind == "ping":
            return
        if self._ended or (self._message is None) != (kind == "message_start"):
            raise NotUnderstood("out of order")
        match kind:
            case "message_start":
                self._message = member(event, "message")
            case "content_block_start" | "content_block_delta" | "content_block_stop":
                self._in_block(str(kind), event)
            case "message_delta":
                self._changed(event)
            case "message_stop":
                self._ended = True
            case _:
                raise NotUnderstood(str(kind))

    def _in_block(self, kind: str, event: Json) -> None:
        """One follows the other."""
        if kind == "content_block_start":
            self._blocks.append(member(event, "content_block"))
        at = len(self._blocks) - 1
        if at < 0 or event["index"] != at:
            raise NotUnderstood("index")
        if kind == "content_block_delta":
            _grow(self._blocks[at], member(event, "delta"), self._inputs, at)

    def _changed(self, event: Json) -> None:
        assert self._message is not None
        used = member(event, "usage") if event.get("usage") else {}
        usage = member(self._message, "usage")
        self._message |= member(event, "delta")
        self._message |= {k: v for k, v in event.items() if k not in ("type", "delta")}
        self._message["usage"] = usage | {k: v for k, v in used.items() if v is not None}

    def message(self) -> Json:
        """All of it, once it has ended."""
        if self._message is None or not self._ended:
            raise NotUnderstood("no end")
        for at, written in self._inputs.items():
            said = msgspec.json.decode(written, type=Json) if written else {}
            self._blocks[at]["input"] = said
        return self._message | {"content": self._blocks}


def _grow(block: Json, delta: Json, inputs: dict[int, str], at: int) -> None:
    kind = str(delta.get("type"))
    if kind in _GROWS:
        name = _GROWS[kind]
        block[name] = text_of(block, name) + text_of(delta, name)
    elif kind == "input_json_delta" and block.get("type") in _USES:
        inputs[at] = inputs.get(at, "") + text_of(delta, "partial_json")
    elif kind == "citations_delta":
        block["citations"] = [*listed(block, "citations"), member(delta, "citation")]
    else:
        raise NotUnderstood(kind)


def streamed(message: Json) -> bytes:
    """A message as a stream's body. Raises NotUnderstood."""
    return b"".join(
        [
            encode_frame(msgspec.json.encode({"type": kind, **said}), kind)
            for kind, said in _events(message)
        ]
    )


def _events(message: Json) -> Iterator[tuple[str, Json]]:
    if message.get("type") != "message":
        raise NotUnderstood(str(message.get("type")))
    usage = member(message, "usage")
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": message.get("stop_sequence")}
    begun = message | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield "message_start", {"message": begun | {"usage": usage | {"output_tokens": 1}}}
    for index, block in enumerate(listed(message, "content")):
        empty, deltas = _taken_apart(block)
        yield "content_block_start", {"index": index, "content_block": empty}
        for delta in deltas:
            yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    yield "message_delta", {"delta": ended, "usage": usage}
    yield "message_stop", {}


def _taken_apart(block: Json) -> tuple[Json, list[Json]]:
    """As it begins, and what follows; what no deltas are known of comes at once."""
    kind = block.get("type")
    if kind == "text":
        cited: list[Json] = [
            {"type": "citations_delta", "citation": one} for one in listed(block, "citations")
        ]
        begun = block | {"text": ""} | ({"citations": []} if cited else {})
        return begun, [*cited, {"type": "text_delta", "text": text_of(block, "text")}]
    if kind == "thinking":
        said: Json = {"type": "thinking_delta", "thinking": text_of(block, "thinking")}
        signed: Json = {"type": "signature_delta", "signature": text_of(block, "signature")}
        return block | {"thinking": "", "signature": ""}, [said, signed]
    if kind in _USES:
        written = msgspec.json.encode(member(block, "input")).decode()
        return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": written}]
    return block, []
