"""The output items of `/v1/responses` streams that a client sees as one, and its last event."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from proxy.core.dialects.held_stream import NULL, OBJECT, Members, StreamedCall
from proxy.core.dialects.held_usage import summed
from proxy.core.dialects.responses_items import ITEM
from proxy.core.dialects.unread import may_be_a_call
from proxy.core.splice import splice
from proxy.core.usage import ToolCall

_SAME = ("id", "created_at", "previous_response_id")
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_WRITTEN = {"function_call": "arguments", "custom_tool_call": "input"}
_NO_CALL = ToolCall("", "", "")


class Thoughts:
    """Reasoning items and what they led to: the items up to the next reasoning.

    A provider takes neither without the other, so reasoning that led to nothing but calls that are
    dropped is withheld like them (https://github.com/openai/openai-node/issues/1567, read
    2026-11-30). items: the reasoning. led: other items have begun. passed: nothing of it is
    withheld any more.
    """

    __slots__ = ("items", "led", "passed")

    def __init__(self) -> None:
        self.items: list[OutputItem] = []
        self.led = self.passed = False


class OutputItem(StreamedCall):
    """Any item; only a guarded call's waits. Of its text only what its end says is kept."""

    __slots__ = ("_call", "_raw", "done", "thoughts", "type", "unread")

    def __init__(self, index: int, thoughts: Thoughts) -> None:
        super().__init__(index)
        self.thoughts = thoughts
        self.type = ""
        self.done = self.unread = False
        self._raw = msgspec.Raw(b"{}")
        self._call: ToolCall | None = None

    def tell(self, raw: msgspec.Raw) -> None:
        """What an event says of the item: its beginning, or all of it."""
        try:
            OBJECT.decode(raw)
            item = ITEM.decode(raw)
            self._call = item.tool_call()
            self._raw, self.type = raw.copy(), item.type or ""
            if self._call is not None:
                self.call_id, self.name = self._call.call_id, self._call.name
        except (ValueError, RecursionError):
            self.unread = may_be_a_call(bytes(raw))

    @property
    def is_call(self) -> bool:
        return self._call is not None

    @property
    def is_reasoning(self) -> bool:
        return self.type == "reasoning"

    def asked(self) -> ToolCall:
        """The call as its end says it; without that, its arguments are as many as have come."""
        call = self._call or _NO_CALL
        if self.done or not self.arguments:
            return call
        return replace(call, arguments="".join(self.arguments))

    def whole(self) -> msgspec.Raw:
        """The item as it stands in an output."""
        key = _WRITTEN.get(self.type)
        if self.done or key is None:
            return self._raw
        written = msgspec.json.encode(self.asked().arguments)
        return msgspec.Raw(splice(bytes(self._raw), {key: written}))


class Outputs:
    """What the streams so far have said of themselves."""

    __slots__ = ("_before", "_final", "_first", "_used")

    def __init__(self) -> None:
        self._first: dict[str, bytes] = {}
        self._before: list[msgspec.Raw] = []
        self._final: Members = {}
        self._used = b""

    def note(self, raw: msgspec.Raw, *, final: bool) -> None:
        """Takes note of a response as an event says it."""
        with suppress(ValueError, RecursionError):
            members = OBJECT.decode(raw)
            if not self._first:
                self._first = {key: bytes(members[key]) for key in _SAME if key in members}
            if final:
                self._final = members

    def said(self, items: Sequence[OutputItem]) -> list[msgspec.Raw]:
        """All that the model said in the stream at hand."""
        return _output(self._final) or [item.whole() for item in items]

    def begin_anew(self, items: Sequence[OutputItem]) -> None:
        """Another stream follows the one that had these items."""
        self._before += _kept(self.said(items), items)
        self._used = self._usage(self._final)
        self._final = {}

    def seen(self, response: bytes, items: Sequence[OutputItem], *, spliced: bool) -> bytes:
        """The response of the last event, as it is true of what the client has seen."""
        try:
            members = OBJECT.decode(response)
        except (ValueError, RecursionError):
            return response
        told = _output(members)
        changes: dict[str, bytes | None] = {}
        output = [*self._before, *_kept(told, items)]
        if output != told:
            changes["output"] = msgspec.json.encode(output)
        if spliced:
            changes |= self._first
            if members.get("usage", NULL) != NULL:
                changes["usage"] = self._usage(members)
        return splice(response, changes)

    def _usage(self, members: Members) -> bytes:
        used = bytes(members.get("usage", NULL))
        return summed(self._used, used) if self._used else used


def output_of(response: msgspec.Raw) -> list[msgspec.Raw]:
    """The items that a response says it has; none where it cannot be read."""
    with suppress(ValueError, RecursionError):
        return _output(OBJECT.decode(response))
    return []


def _output(members: Members) -> list[msgspec.Raw]:
    with suppress(ValueError, KeyError, RecursionError):
        return _RAWS.decode(members["output"])
    return []


def _kept(output: Sequence[msgspec.Raw], items: Sequence[OutputItem]) -> list[msgspec.Raw]:
    """What of an output the client has seen, in the order that it saw it in."""
    by_id = {item.call_id: item for item in items if item.call_id}
    by_index = {item.index: item for item in items}
    kept: list[tuple[int, msgspec.Raw]] = []
    place = 0
    for at, raw in enumerate(output):
        known = by_id.get(_id_of(raw)) or by_index.get(at)
        if known is not None and known.place is None:
            continue
        place = place if known is None or known.place is None else known.place
        kept.append((place, raw))
    return [raw for _, raw in sorted(kept, key=lambda one: one[0])]


def _id_of(raw: msgspec.Raw) -> str:
    """The id of a call; "" of all else."""
    with suppress(ValueError, RecursionError):
        call = ITEM.decode(raw).tool_call()
        return call.call_id if call is not None else ""
    return ""
