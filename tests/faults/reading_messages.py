"""`/v1/messages`, read strictly."""

import json

from proxy.admin.shapes import Json
from tests.faults.frames import Fields, Frame, entries, members, must, number, text
from tests.faults.said import Failed, Reader, Said, call


class MessagesReader(Reader):
    """`/v1/messages`: blocks one after the other, a reason to stop, `message_stop`."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._began = False
        self._index = -1
        self._block: dict[str, Json] | None = None
        self._given = ""

    def event(self, frame: Frame) -> None:
        must(frame.data is not None, "[DONE]")
        data = members(frame.data)
        kind = text(data["type"])
        must(frame.event == kind, f"event {frame.event} is of type {kind}")
        if kind == "error":
            raise Failed(data["error"])
        if kind == "ping":
            return
        must(self._began == (kind != "message_start"), f"{kind} at the wrong end")
        self._began = True
        getattr(self, "_" + kind)(data)

    def _message_start(self, data: Fields) -> None:
        message = members(data["message"])
        must(message["role"] == "assistant" and message["type"] == "message", "another message")
        must(message["content"] == [], "content at the start")
        self.said.input_tokens = _input(members(message["usage"]))

    def _content_block_start(self, data: Fields) -> None:
        must(self._block is None and data["index"] == self._index + 1, "blocks out of order")
        self._index += 1
        self._block, self._given = dict(members(data["content_block"])), ""

    def _content_block_delta(self, data: Fields) -> None:
        must(self._block is not None and data["index"] == self._index, "a delta of no block")
        block, delta = members(self._block), members(data["delta"])
        if block["type"] == "text":
            must(delta["type"] == "text_delta", f"{delta['type']} of a text")
            self.said.text += text(delta["text"])
        elif block["type"] == "tool_use":
            must(delta["type"] == "input_json_delta", f"{delta['type']} of a call")
            self._given += text(delta["partial_json"])

    def _content_block_stop(self, data: Fields) -> None:
        must(self._block is not None and data["index"] == self._index, "the end of no block")
        block = members(self._block)
        if block["type"] == "tool_use":
            must(bool(text(block["id"])), "a call without an id")
            self.said.calls.append(call(text(block["name"]), self._given or "{}"))
        self._block = None

    def _message_delta(self, data: Fields) -> None:
        must(self._block is None and not self.said.finish, "an end in the middle")
        self.said.finish = text(members(data["delta"])["stop_reason"])
        usage = members(data["usage"])
        self.said.output_tokens = number(usage["output_tokens"])
        if "input_tokens" in usage:  # what is known at the end only
            self.said.input_tokens = _input(usage)

    def _message_stop(self, data: Fields) -> None:
        must(self._block is None and bool(self.said.finish), "a stop without a reason")
        self.ended = True

    @staticmethod
    def whole(body: Fields, said: Said) -> None:
        must(body["type"] == "message" and body["role"] == "assistant", "another object")
        must(bool(text(body["id"])), "no id")
        for entry in entries(body["content"]):
            block = members(entry)
            if block["type"] == "text":
                said.text += text(block["text"])
            elif block["type"] == "tool_use":
                must(bool(text(block["id"])), "a call without an id")
                said.calls.append(call(text(block["name"]), json.dumps(block["input"])))
        said.finish = text(body["stop_reason"])
        usage = members(body["usage"])
        said.input_tokens, said.output_tokens = _input(usage), number(usage["output_tokens"])


def _input(usage: Fields) -> int:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(number(usage.get(name) or 0) for name in names)
