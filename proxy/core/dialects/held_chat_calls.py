"""The calls of a chat stream as far as they have come, and the numbers that they are known by."""

from collections.abc import Mapping

from proxy.core.dialects.chat_parts import Call
from proxy.core.dialects.chat_turn import merge
from proxy.core.dialects.held_chunk import LEGACY_INDEX
from proxy.core.dialects.held_stream import Places, StreamedCall

_WRITTEN = {"function": "arguments", "custom": "input"}


class SoFar:
    """One choice, over all streams of the answer.

    calls, by_index, said: of the stream at hand. places: of the calls that the client has seen.
    """

    __slots__ = ("by_index", "calls", "has_role", "places", "said")

    def __init__(self) -> None:
        self.places = Places()
        self.has_role = False
        self.begin_anew()

    def begin_anew(self) -> None:
        self.calls: list[ChatCall] = []
        self.by_index: dict[int, ChatCall] = {}
        self.said: dict[str, object] = {}

    def known(self, part: Call) -> "ChatCall | None":
        """The call that this is a part of, None for a new one: as `AnswerBuilder` reads it."""
        name, _ = part.called
        if part.index is None:
            return None if (name or part.id or not self.calls) else self.calls[-1]
        known = self.by_index.get(part.index)
        if known and name and part.id and known.call_id not in ("", part.id):
            return None
        return known

    def begin(self, part: Call) -> "ChatCall":
        call = ChatCall(part.index, self)
        self.calls.append(call)
        if part.index is not None:
            self.by_index[part.index] = call
        return call

    def place(self, call: "ChatCall") -> None:
        """Gives it the number that the client knows it by; the call of old has none."""
        legacy = call.index == LEGACY_INDEX
        call.place = self.places.give(None if legacy else call.index)


class ChatCall(StreamedCall):
    """said: all that its parts say but the arguments."""

    __slots__ = ("choice", "said")

    def __init__(self, index: int | None, choice: SoFar) -> None:
        super().__init__(index)
        self.choice = choice
        self.said: dict[str, object] = {}

    def add(self, arguments: str, said: Mapping[str, object]) -> None:
        if arguments:
            self.arguments.append(arguments)
        merge(self.said, {key: _unwritten(said[key]) for key in said if key != "index"})

    def whole(self) -> dict[str, object]:
        """The call as a message has it."""
        key = "custom" if "custom" in self.said else "function"
        written = {_WRITTEN[key]: "".join(self.arguments)}
        return {"type": key, **self.said, key: {**_members(self.said.get(key)), **written}}


def _unwritten(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: value[key] for key in value if key not in _WRITTEN.values()}


def _members(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
