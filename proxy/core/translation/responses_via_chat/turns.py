"""The items of a Responses request as messages of chat.

Theory of operation. An answer is spread over items (reasoning, texts, calls); chat has one message
for it, and wants the result of each of its calls right behind. So items are gathered into answers,
results are put behind the answer that asked for them, and what else was said comes after. Templates
of open models want one system message, at the beginning, and roles that alternate: what developers
say at the beginning is joined, later it is a user's; users' messages in a row are joined.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from proxy.core.dialects.chat_bound import BRIDGE, bridges, id_for, unbound_answer, wants_more
from proxy.core.dialects.responses_items import OWN_WORK, TEXT_TYPES, as_text
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.calls import Unanswered
from proxy.core.translation.json_values import ABSENT, Json
from proxy.core.translation.responses_via_chat.tools import (
    Offer,
    Tool,
    arguments_of_text,
)

_IGNORED = OWN_WORK | {
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "compaction_trigger",
}
"""Tools are read apart."""
_NO_RESULT = "(no result)"
_IMAGES_FOLLOW = "(the images follow)"
_PARTED = "\n\n"


class Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT
    tools: list[Tool] | None = None


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class _Answer:
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    results: list["_Result"] = field(default_factory=list)


@dataclass(slots=True)
class _Result:
    """What a call came to; None: it has no result."""

    call_id: str
    parts: list[Json] | None = None


@dataclass(slots=True)
class _Heard:
    parts: list[Json]


_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_PART = msgspec.json.Decoder(_Part)


class Turns:
    """Takes items in their order; `messages` is what they come to. model: the one that is asked.

    Raises Untranslatable for what chat has no words for.
    """

    def __init__(self, offer: Offer, model: str) -> None:
        self._offer = offer
        self._model = model
        self._wants_more = wants_more(model)
        self._instructions: list[str] = []
        self._turns: list[_Answer | _Heard] = []
        self._unanswered = Unanswered[_Result]()
        self._open: _Answer | None = None

    def instruct(self, text: str) -> None:
        if text:
            self._instructions.append(text)

    def hear(self, parts: Sequence[Json]) -> None:
        self._open = None
        if parts:
            self._turns.append(_Heard(list(parts)))

    def take(self, item: Item) -> None:
        if item.type == "message" or (item.type is None and item.role is not None):
            self._take_message(item)
        elif item.type == "function_call":
            self._take_call(item, as_text(item.arguments) or "{}")
        elif item.type == "custom_tool_call":
            self._take_call(item, arguments_of_text(as_text(item.input)))
        elif item.type in ("function_call_output", "custom_tool_call_output"):
            self._take_result(item)
        elif item.type == "reasoning":
            self._answer().thoughts += _texts(parts_of(item.content))
        elif item.type not in _IGNORED:
            what = item.type or "item_reference"
            raise Untranslatable(f"The request holds an item that chat has no word for: {what}.")

    def messages(self) -> list[object]:
        said: list[object] = []
        if self._instructions:
            said.append({"role": "system", "content": _PARTED.join(self._instructions)})
        heard: list[Json] = []
        last = ""
        for turn in self._turns:
            if isinstance(turn, _Heard):
                heard += turn.parts
            elif turn.texts or turn.calls:
                said += self._user(heard, last)
                said.append(self._answered(turn))
                results, heard = _results(turn)
                said += results
                last = "tool" if results else "assistant"
        return said + self._user(heard, last)

    def _user(self, heard: Sequence[Json], last: str) -> list[object]:
        """last: the role of what was said before."""
        told = _user(heard)
        return [msgspec.Raw(BRIDGE), *told] if told and bridges(last, "user", self._model) else told

    def _take_message(self, item: Item) -> None:
        parts = parts_of(item.content)
        if item.role == "assistant":
            self._answer().texts += _texts(parts)
        elif item.role in ("system", "developer") and not self._turns:
            self.instruct("".join(_texts(parts)))
        else:
            self.hear(parts)

    def _take_call(self, item: Item, arguments: str) -> None:
        answer, call_id = self._answer(), self._call_id(item)
        name = self._offer.alias(item.namespace, item.name or "")
        function = {"name": name, "arguments": arguments}
        answer.calls.append({"id": call_id, "type": "function", "function": function})
        answer.results.append(_Result(call_id))
        self._unanswered.called(call_id, answer.results[-1])

    def _take_result(self, item: Item) -> None:
        call_id, parts = self._call_id(item), parts_of(item.output)
        result = self._unanswered.call_of(call_id)
        self._open = None
        if result is None:
            self.hear(parts)  # of a call that is no longer told
        else:
            result.parts = result.parts or []
            result.parts += parts  # Codex's scripts tell on the way

    def _call_id(self, item: Item) -> str:
        return id_for(item.call_id or item.id or "", self._model)

    def _answer(self) -> _Answer:
        if self._open is None:
            self._open = _Answer()
            self._turns.append(self._open)
        return self._open

    def _answered(self, turn: _Answer) -> object:
        text = "".join(turn.texts)
        message: Json = {"role": "assistant", "content": text or None}
        if turn.calls:
            message["tool_calls"] = turn.calls
        if not self._wants_more:
            return message
        if turn.thoughts:
            message["reasoning_content"] = "".join(turn.thoughts)
        return msgspec.Raw(unbound_answer(msgspec.json.encode(message), self._model))


def parts_of(content: msgspec.Raw) -> list[Json]:
    """Content as parts of chat. Raises Untranslatable."""
    written = bytes(content)
    if written.startswith(b"["):
        return [_part(raw) for raw in _PARTS.decode(written)]
    if written.startswith(b"{"):
        return [_part(content)]
    text = msgspec.json.decode(written) if written else None
    return [_text(text)] if isinstance(text, str) and text else []


def _part(raw: msgspec.Raw) -> Json:
    written = bytes(raw)
    if written.startswith(b'"'):
        return _text(msgspec.json.decode(raw, type=str))
    part = _PART.decode(raw)
    if part.type in TEXT_TYPES or part.type == "reasoning_text":
        return _text(part.text or part.refusal or "")
    if part.type in ("input_image", "computer_screenshot") and part.image_url:
        image: Json = {"url": part.image_url}
        if part.detail in ("low", "high"):
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if part.type is None:  # what a shell printed
        return _text(part.text or written.decode())
    raise Untranslatable(f"The request holds content that chat has no word for: {part.type}.")


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _texts(parts: Iterable[Json]) -> list[str]:
    return [text for part in parts if isinstance(text := part.get("text"), str)]


def _images(parts: Iterable[Json]) -> list[Json]:
    return [part for part in parts if "text" not in part]


def _user(parts: Sequence[Json]) -> list[object]:
    """What the user says in a row as one message, as plain text where it is that."""
    texts = [text for text in _texts(parts) if text]
    if not parts or not (texts or _images(parts)):
        return []
    if not _images(parts):
        return [{"role": "user", "content": _PARTED.join(texts)}]
    return [{"role": "user", "content": [part for part in parts if part.get("text") != ""]}]


def _results(turn: _Answer) -> tuple[list[Json], list[Json]]:
    """The messages of what the calls of an answer came to, and all images of theirs."""
    told: list[Json] = []
    shown: list[Json] = []
    for result in turn.results:
        text, images = _result(result.parts)
        told.append({"role": "tool", "tool_call_id": result.call_id, "content": text})
        shown += images
    return told, shown


def _result(parts: Sequence[Json] | None) -> tuple[str, list[Json]]:
    """What a call came to, and its images, which few servers take in a result: the user shows them
    behind."""
    if parts is None:
        return _NO_RESULT, []
    images = _images(parts)
    text = "".join(_texts(parts))
    return (text or _IMAGES_FOLLOW if images else text), images
