"""Takes a chunk of a chat stream apart, so that of what it brings each can go its own way."""

from collections.abc import Iterator, Mapping

import msgspec

from proxy.core.dialects.chat_parts import Call, Function
from proxy.core.dialects.held_stream import NAUGHT, NULL, OBJECT, OBJECTS, Members

ABSENT = msgspec.Raw(b"")
_CALLS = msgspec.json.Decoder(list[Call])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_FUNCTION = msgspec.json.Decoder(Function)
_VALUE = msgspec.json.Decoder()
_VALUES = msgspec.json.Decoder(list[dict[str, object]])
_INDEX = msgspec.json.Decoder(int | None)
CALL_KEYS = ("tool_calls", "function_call")
_ONCE = ("usage", "x_groq")
LEGACY_INDEX = -1
"""Of `function_call`, which has no index and no id."""


class ChunkChoice(msgspec.Struct, gc=False):
    """What a chunk says of one choice."""

    index: int | None = None
    delta: Members | None = None
    finish_reason: str | None = None

    def calls(self) -> list[Call]:
        """Parts of tool calls. Raises ValueError for what is none."""
        delta = self.delta or {}
        calls: list[Call] = []
        if delta.get("tool_calls", NULL) != NULL:
            calls += _CALLS.decode(delta["tool_calls"])
        if delta.get("function_call", NULL) != NULL:
            calls.append(Call(LEGACY_INDEX, function=_FUNCTION.decode(delta["function_call"])))
        return calls

    def call_values(self) -> list[Mapping[str, object]]:
        """All that these parts say."""
        delta = self.delta or {}
        values: list[Mapping[str, object]] = []
        if delta.get("tool_calls", NULL) != NULL:
            values += _VALUES.decode(delta["tool_calls"])
        if delta.get("function_call", NULL) != NULL:
            values.append({"function": _VALUE.decode(delta["function_call"])})
        return values

    def rest(self) -> Members:
        """What its delta says beside calls."""
        return rest_of(self.delta or {})


class _Groq(msgspec.Struct, gc=False):
    usage: msgspec.Raw = ABSENT


class Chunk(msgspec.Struct, gc=False):
    choices: list[ChunkChoice] | None = None
    usage: msgspec.Raw = ABSENT
    x_groq: _Groq | None = None

    @property
    def used(self) -> bytes:
        """The usage that it tells, b"" where it tells none."""
        told = bytes(self.usage) or (bytes(self.x_groq.usage) if self.x_groq else b"")
        return b"" if told == b"null" else told

    @property
    def ends(self) -> bool:
        """Whether it is part of the provider's end."""
        if not self.choices:
            return bool(self.used)
        return any(choice.finish_reason is not None for choice in self.choices)


_CHUNK = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> tuple[Chunk, list[list[Call]]] | None:
    """A chunk with the calls of each choice; None for what is none, in any of its parts."""
    try:
        _VALUE.decode(data)
        chunk = _CHUNK.decode(data)
        return chunk, [choice.calls() for choice in chunk.choices or ()]
    except (ValueError, RecursionError):
        return None


def rest_of(delta: Members) -> Members:
    """What a delta says beside calls."""
    return {
        key: value
        for key, value in delta.items()
        if key not in CALL_KEYS and bytes(value) not in NAUGHT
    }


def apart(data: bytes) -> Iterator[bytes]:
    """A chunk as several: of each choice what it says, each call, and its finish reason. What is
    beside the choices is said with each, but the usage with the last."""
    top = OBJECT.decode(data)
    last = {key: top.pop(key) for key in _ONCE if key in top}
    parts = [part for choice in OBJECTS.decode(top["choices"]) for part in _parts(choice)]
    for at, part in enumerate(parts):
        said: dict[str, object] = {**top, "choices": [part]}
        if at == len(parts) - 1:
            said.update(last)
        yield msgspec.json.encode(said)


def _parts(choice: Members) -> Iterator[dict[str, object]]:
    members: dict[str, object] = {**choice, "finish_reason": None}
    finish = choice.get("finish_reason", NULL)
    delta = delta_of(choice)
    calls = _raw_calls(delta)
    if rest_of(delta) or not (calls or finish != NULL):
        yield {**members, "delta": {key: delta[key] for key in delta if key not in CALL_KEYS}}
        members.pop("logprobs", None)
    for call in calls:
        yield {**members, "delta": call}
        members.pop("logprobs", None)
    if finish != NULL:
        yield {**members, "delta": {}, "finish_reason": finish}


def delta_of(choice: Members) -> Members:
    """Raises ValueError for what is no object."""
    raw = choice.get("delta", NULL)
    return {} if raw == NULL else OBJECT.decode(raw)


def _raw_calls(delta: Members) -> list[Mapping[str, object]]:
    calls: list[Mapping[str, object]] = []
    if delta.get("tool_calls", NULL) != NULL:
        calls += [{"tool_calls": [raw]} for raw in _RAWS.decode(delta["tool_calls"])]
    if delta.get("function_call", NULL) != NULL:
        calls.append({"function_call": delta["function_call"]})
    return calls


def renumbered(data: bytes, index: int) -> bytes:
    """A chunk that brings nothing but a part of one tool call, under another index."""
    top = OBJECT.decode(data)
    (choice,) = OBJECTS.decode(top["choices"])
    delta = delta_of(choice)
    (call,) = OBJECTS.decode(delta["tool_calls"])
    call["index"] = msgspec.Raw(b"%d" % index)
    delta["tool_calls"] = msgspec.Raw(msgspec.json.encode([call]))
    changed = {**choice, "delta": delta}
    return msgspec.json.encode({**top, "choices": [changed]})


def finishing(data: bytes, reasons: Mapping[int, str]) -> bytes:
    """The chunk with other finish reasons for these choices."""
    top = OBJECT.decode(data)
    choices: list[Mapping[str, object]] = []
    for choice in OBJECTS.decode(top["choices"]):
        reason = reasons.get(_INDEX.decode(choice.get("index", NULL)) or 0)
        if reason is not None and choice.get("finish_reason", NULL) != NULL:
            choices.append({**choice, "finish_reason": reason})
        else:
            choices.append(choice)
    return msgspec.json.encode({**top, "choices": choices})
