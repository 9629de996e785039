"""`/v1/responses`, read strictly."""

from proxy.admin.shapes import Json
from tests.faults.frames import Fields, Frame, entries, members, must, number, text
from tests.faults.said import Failed, Reader, Said, call

_ENDS = ("response.completed", "response.incomplete")
_DELTAS = {
    "response.output_text.delta": "message",
    "response.function_call_arguments.delta": "function_call",
}


class ResponsesReader(Reader):
    """Items, each of them its deltas; the end repeats them all. A failure is `response.failed`,
    `error`, or the first and then the second."""

    def __init__(self, said: Said) -> None:
        super().__init__(said)
        self._next = 0
        self._failed: Json = None
        self._grown: dict[int, str] = {}
        self._added: list[Fields] = []
        self._items: dict[int, Fields] = {}
        self._id = ""

    def event(self, frame: Frame) -> None:
        data = members(frame.data)
        kind = text(data["type"])
        must(frame.event == kind, f"event {frame.event!r} is of type {kind}")
        if kind == "error":
            raise Failed(data.get("error") or dict(data))
        sequence = number(data["sequence_number"])
        late = kind == "response.failed" and sequence > self._next  # of whoever cut the stream
        must(late or sequence == self._next, f"{kind} is out of sequence")
        begins = (self._next == 0) == (kind == "response.created")
        must(begins or kind == "response.failed", f"{kind} at the wrong end")
        must(self._failed is None, f"{kind} follows a failure")
        self._next += 1
        if "response" in data:
            self._response(kind, members(data["response"]))
        elif kind == "response.output_item.added":
            must(data["output_index"] == len(self._added), "items out of order")
            self._added.append(members(data["item"]))
            self._grown[len(self._added) - 1] = ""
        elif kind == "response.output_item.done":
            self._done(members(data["item"]), number(data["output_index"]))
        elif kind in _DELTAS:
            self._grow(kind, data)

    def _grow(self, kind: str, data: Fields) -> None:
        index = number(data["output_index"])
        must(index in self._grown, f"{kind} of no open item")
        item = self._added[index]
        must(item["type"] == _DELTAS[kind] and item["id"] == data["item_id"], f"a stray {kind}")
        self._grown[index] += text(data["delta"])
        if item["type"] == "message":
            self.said.text += text(data["delta"])

    def _done(self, item: Fields, index: int) -> None:
        must(index in self._grown and self._added[index]["id"] == item["id"], "a stray item")
        grown = self._grown.pop(index)
        if item["type"] == "message":
            must(_text_of(item) == grown, "a text that is not its deltas")
        if item["type"] == "function_call":
            must(item["arguments"] == grown, "arguments that are not their deltas")
        self._items[index] = item

    def _response(self, kind: str, response: Fields) -> None:
        self._id = self._id or text(response["id"])
        must(response["id"] == self._id, "the id has changed")
        if kind == "response.failed":
            must(response["status"] == "failed", "a failure of another status")
            self._failed = response["error"]
        elif kind in _ENDS:
            must(not self._grown, "an item is open")
            items = [self._items[index] for index in sorted(self._items)]
            must(response["output"] == items, "the end holds other items")
            self.said.calls = [_made(item) for item in items if item["type"] == "function_call"]
            _finish(response, self.said)
            self.ended = True

    def close(self) -> None:
        if self._failed is not None:
            raise Failed(self._failed)

    @staticmethod
    def whole(body: Fields, said: Said) -> None:
        must(body["object"] == "response" and bool(text(body["id"])), "another object")
        for entry in entries(body["output"]):
            item = members(entry)
            if item["type"] == "message":
                said.text += _text_of(item)
            elif item["type"] == "function_call":
                said.calls.append(_made(item))
        _finish(body, said)


def _text_of(item: Fields) -> str:
    parts = [members(part) for part in entries(item["content"])]
    return "".join(text(part["text"]) for part in parts if part["type"] == "output_text")


def _made(item: Fields) -> tuple[str, str]:
    must(bool(text(item["call_id"])), "a call without an id")
    return call(text(item["name"]), text(item["arguments"]))


def _finish(response: Fields, said: Said) -> None:
    must(response["status"] in ("completed", "incomplete"), f"status {response['status']}")
    said.finish = text(response["status"])
    usage = members(response["usage"])
    said.input_tokens = number(usage["input_tokens"])
    said.output_tokens = number(usage["output_tokens"])
