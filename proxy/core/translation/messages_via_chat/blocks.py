"""The content blocks that a chat stream comes to: one after the other, as clients expect them.

Theory of operation. Chat may send the parts of several calls in turn, and text among them. A block
of the Messages API ends before the next begins. So what comes stands in a queue, and only its head
is passed on as it comes: a text ends where something else begins, a call where its arguments are
whole JSON. Those of a call that is never whole (no arguments at all, broken ones) wait with all
that follows them for the end of the stream.
"""

import msgspec

from proxy.core.dialects.chat_parts import Call
from proxy.core.sse import encode_frame
from proxy.core.translation.calls import call_id_of
from proxy.core.translation.json_values import Json

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TRIES = 64
"""So often the arguments of one call are read to see whether they are whole."""


class _Block:
    """waiting: what has not passed. written: what has, of a call. may_be_whole: nobody has looked
    since it came to end with a brace."""

    __slots__ = (
        "call_id",
        "is_call",
        "may_be_whole",
        "name",
        "opened",
        "place",
        "tries",
        "waiting",
        "written",
    )

    def __init__(self, place: int, *, is_call: bool) -> None:
        self.place = place
        self.is_call = is_call
        self.call_id = ""
        self.name = ""
        self.opened = False
        self.may_be_whole = False
        self.tries = _TRIES
        self.waiting: list[str] = []
        self.written: list[str] = []

    def may_open(self) -> bool:
        return bool(self.name) or not self.is_call

    def is_whole(self) -> bool:
        if not self.is_call:
            return True
        if not self.tries or not self.may_be_whole:
            return False
        self.tries -= 1
        self.may_be_whole = False
        arguments = "".join(self.written)
        try:
            _OBJECT.decode(arguments)
        except (ValueError, RecursionError):
            return False
        return True


class Blocks:
    """The queue of one answer. created: when it was asked for."""

    def __init__(self, created: int) -> None:
        self._created = created
        self._last_call: _Block | None = None
        self._blocks: list[_Block] = []
        self._head = 0
        self._by_index: dict[int, _Block] = {}

    @property
    def has_calls(self) -> bool:
        return self._last_call is not None

    @property
    def in_call(self) -> bool:
        """More of a call may come."""
        return any(block.is_call for block in self._blocks[self._head :])

    def text(self, text: str) -> None:
        """Takes in a piece of text."""
        if not self._blocks or self._blocks[-1].is_call:
            self._blocks.append(_Block(len(self._blocks), is_call=False))
        self._blocks[-1].waiting.append(text)

    def call(self, part: Call) -> None:
        """Takes in a call, or a part of one, as `AnswerBuilder` reads it."""
        name, arguments = part.called
        block = self._known(part, name)
        if block is None:
            block = _Block(len(self._blocks), is_call=True)
            self._blocks.append(block)
            self._last_call = block
            if part.index is not None:
                self._by_index[part.index] = block
        block.name = block.name or name
        block.call_id = block.call_id or part.id or ""
        if arguments:
            block.waiting.append(arguments)

    def passed(self, answer_id: str) -> bytes:
        """The events of all that can pass now."""
        frames: list[bytes] = []
        while self._head < len(self._blocks):
            block = self._blocks[self._head]
            is_last = self._head == len(self._blocks) - 1
            if not block.may_open():
                break
            self._pass(block, answer_id, frames)
            if is_last or not block.is_whole():
                break
            self._close(block, frames)
        return b"".join(frames)

    def rest(self, answer_id: str) -> bytes:
        """The events of all that waits: nothing more will come."""
        frames: list[bytes] = []
        while self._head < len(self._blocks):
            block = self._blocks[self._head]
            self._pass(block, answer_id, frames)
            self._close(block, frames)
        return b"".join(frames)

    def _known(self, part: Call, name: str) -> _Block | None:
        """Without an index, a name or id begins a new call; so does another id with a name under a
        used index (Gemini numbers all parallel calls 0)."""
        if part.index is None:
            return None if name or part.id else self._last_call
        known = self._by_index.get(part.index)
        if known and name and part.id and known.call_id not in ("", part.id):
            return None
        return known

    def _pass(self, block: _Block, answer_id: str, frames: list[bytes]) -> None:
        at: Json = {"index": block.place}
        if not block.opened:
            block.opened = True
            begun: Json = {"type": "text", "text": ""}
            if block.is_call:
                call_id = call_id_of(block.call_id, answer_id, block.place, self._created)
                begun = {"type": "tool_use", "id": call_id, "name": block.name, "input": {}}
            frames.append(frame("content_block_start", at | {"content_block": begun}))
        for piece in block.waiting:
            delta = {"type": "text_delta", "text": piece}
            if block.is_call:
                delta = {"type": "input_json_delta", "partial_json": piece}
                block.written.append(piece)
            if end := piece.rstrip():
                block.may_be_whole = end.endswith("}")
            frames.append(frame("content_block_delta", at | {"delta": delta}))
        block.waiting.clear()

    def _close(self, block: _Block, frames: list[bytes]) -> None:
        frames.append(frame("content_block_stop", {"index": block.place}))
        self._head += 1


def frame(kind: str, event: Json) -> bytes:
    """An event of the Messages API."""
    return encode_frame(msgspec.json.encode({"type": kind} | event), kind)
