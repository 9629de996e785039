"""`/v1/chat/completions`, read strictly."""

from proxy.admin.shapes import Json
from tests.faults.frames import Fields, Frame, entries, members, must, number, text
from tests.faults.said import Failed, Reader, Said, call


class ChatReader(Reader):
    """`/v1/chat/completions`: one choice; its end is a finish reason and then `[DONE]`."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._calls: list[list[str]] = []
        self._id = ""

    def event(self, frame: Frame) -> None:
        if frame.data is None:
            must(bool(self.said.finish), "[DONE] without a finish reason")
            self.ended = True
            return
        if "error" in frame.data:
            raise Failed(frame.data["error"])
        must(frame.event == "", f"event {frame.event}")
        must(frame.data["object"] == "chat.completion.chunk", "another object")
        self._id = self._id or text(frame.data["id"])
        must(self._id == frame.data["id"], "the id has changed")
        for choice in entries(frame.data["choices"]):
            self._choice(members(choice))
        if frame.data.get("usage") is not None:
            _chat_usage(frame.data["usage"], self.said)

    def _choice(self, choice: Fields) -> None:
        must(not self.said.finish, "a choice goes on after its finish reason")
        delta = members(choice["delta"])
        self.said.text += text(delta.get("content") or "")
        for part in entries(delta.get("tool_calls") or []):
            self._part(members(part))
        if choice.get("finish_reason"):
            self.said.finish = text(choice["finish_reason"])
            self.said.calls = [call(name, given) for name, given in self._calls]

    def _part(self, part: Fields) -> None:
        index, function = number(part["index"]), members(part["function"])
        if index == len(self._calls):
            must(part["type"] == "function" and bool(text(part["id"])), "a call without a head")
            self._calls.append([text(function["name"]), ""])
        else:
            must(not part.get("id"), "a call with two heads")
        self._calls[index][1] += text(function.get("arguments") or "")

    @staticmethod
    def whole(body: Fields, said: Said) -> None:
        must(body["object"] == "chat.completion" and bool(text(body["id"])), "another object")
        choices = entries(body["choices"])
        must(len(choices) == 1, f"{len(choices)} choices")
        choice = members(choices[0])
        message = members(choice["message"])
        must(message["role"] == "assistant", "not the assistant's")
        said.text = text(message["content"] or "")
        for entry in entries(message.get("tool_calls") or []):
            made = members(entry)
            must(made["type"] == "function" and bool(text(made["id"])), "a call without a head")
            function = members(made["function"])
            said.calls.append(call(text(function["name"]), text(function["arguments"])))
        said.finish = text(choice["finish_reason"])
        _chat_usage(body["usage"], said)


def _chat_usage(usage: Json, said: Said) -> None:
    told = members(usage)
    said.input_tokens = number(told["prompt_tokens"])
    said.output_tokens = number(told["completion_tokens"])
