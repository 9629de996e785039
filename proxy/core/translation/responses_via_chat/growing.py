"""Output items of a response while they are streamed: what is told as they begin, grow and end."""

from collections.abc import Iterator

import msgspec

from proxy.core.translation.json_values import Json
from proxy.core.translation.responses_via_chat.custom_input import CustomInput
from proxy.core.translation.responses_via_chat.items import (
    call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)
from proxy.core.translation.responses_via_chat.said import Kind
from proxy.core.translation.responses_via_chat.tools import Called

Event = tuple[str, Json]

_PARTS = {"reasoning": reasoning_part, "text": text_part, "refusal": refusal_part}
_NAMES = {"reasoning": "reasoning_text", "text": "output_text", "refusal": "refusal"}


class GrowingText:
    """A reasoning item, or a message of texts and refusals. It grows by one kind at least."""

    __slots__ = ("_at", "_item_id", "_parts", "_pieces", "is_reasoning", "kind", "status")

    def __init__(self, item_id: str, at: int, *, is_reasoning: bool) -> None:
        self.is_reasoning = is_reasoning
        self.kind: Kind | None = None
        self.status = "in_progress"
        self._item_id = item_id
        self._at = at
        self._parts: list[Json] = []
        self._pieces: list[str] = []

    def item(self) -> Json:
        """As far as it has come."""
        parts = [*self._parts, *self._open_part()]
        if not self.is_reasoning:
            return message_item(self._item_id, parts, self.status)
        text = "".join(str(part["text"]) for part in parts)
        return reasoning_item(self._item_id, text if parts else None, self.status)

    def begin(self) -> Iterator[Event]:
        yield "response.output_item.added", {"output_index": self._at, "item": self.item()}

    def grow(self, kind: Kind, piece: str) -> Iterator[Event]:
        if kind != self.kind:
            yield from self._end_part()
            self.kind = kind
            part = _PARTS[kind]("")
            yield "response.content_part.added", self._place() | {"part": part}
        self._pieces.append(piece)
        yield f"response.{_NAMES[kind]}.delta", self._told(kind, "delta", piece)

    def end(self, status: str) -> Iterator[Event]:
        yield from self._end_part()
        self.status = status
        yield "response.output_item.done", {"output_index": self._at, "item": self.item()}

    def _open_part(self) -> list[Json]:
        return [] if self.kind is None else [_PARTS[self.kind]("".join(self._pieces))]

    def _end_part(self) -> Iterator[Event]:
        if self.kind is None:
            return
        kind, place, (part,) = self.kind, self._place(), self._open_part()
        text = "".join(self._pieces)
        written = "refusal" if kind == "refusal" else "text"
        yield f"response.{_NAMES[kind]}.done", self._told(kind, written, text)
        yield "response.content_part.done", place | {"part": part}
        self._parts.append(part)
        self._pieces = []
        self.kind = None

    def _told(self, kind: Kind, key: str, text: str) -> Json:
        told = self._place() | {key: text}
        return told | {"logprobs": []} if kind == "text" else told

    def _place(self) -> Json:
        return {
            "item_id": self._item_id,
            "output_index": self._at,
            "content_index": len(self._parts),
        }


class GrowingCall:
    """A call of a function, or of a custom tool."""

    __slots__ = ("_at", "_called", "_input", "_item_id", "_pieces", "call_id", "status")

    def __init__(self, item_id: str, at: int, called: Called, call_id: str) -> None:
        self.call_id = call_id
        self.status = "in_progress"
        self._item_id = item_id
        self._at = at
        self._called = called
        self._pieces: list[str] = []
        self._input = CustomInput() if called.is_custom else None

    def item(self) -> Json:
        """As far as it has come."""
        written = "".join(self._pieces)
        return call_item(self._item_id, self._called, self.call_id, written, self.status)

    def begin(self) -> Iterator[Event]:
        yield "response.output_item.added", {"output_index": self._at, "item": self.item()}

    def grow(self, piece: str) -> Iterator[Event]:
        new = piece if self._input is None else self._input.feed(piece)
        yield from self._grown(new)

    def is_whole(self) -> bool:
        """Whether it can be complete as it is."""
        if self._input is not None:
            return self._input.is_whole
        try:
            msgspec.json.decode("".join(self._pieces))
        except (ValueError, RecursionError):
            return False
        return True

    def end(self, status: str) -> Iterator[Event]:
        """status "incomplete": it was cut short, and is not told as done."""
        if self._input is not None:
            yield from self._grown(self._input.close())
        self.status = status
        if status != "completed":
            return
        key = "arguments" if self._input is None else "input"
        told = self._place() | {key: "".join(self._pieces)}
        if self._input is None:
            told["name"] = self._called.name
        yield f"{self._kind()}.done", told
        yield "response.output_item.done", {"output_index": self._at, "item": self.item()}

    def _grown(self, new: str) -> Iterator[Event]:
        if new:
            self._pieces.append(new)
            yield f"{self._kind()}.delta", self._place() | {"delta": new}

    def _kind(self) -> str:
        if self._input is None:
            return "response.function_call_arguments"
        return "response.custom_tool_call_input"

    def _place(self) -> Json:
        return {"item_id": self._item_id, "output_index": self._at}
