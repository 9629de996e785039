"""Makes the chunks of a later chat stream look like those of the first."""

from collections.abc import Collection

import msgspec

from proxy.core.dialects.held_chunk import CALL_KEYS, delta_of, rest_of
from proxy.core.dialects.held_stream import NULL, OBJECT, OBJECTS, Members, saying
from proxy.core.dialects.held_usage import summed
from proxy.core.sse import SseEvent

_SAME = ("id", "created", "model")
_INDEX = msgspec.json.Decoder(int | None)
_GROQ = "x_groq"


class Splicing:
    """What has to be known of the streams so far."""

    __slots__ = ("_before", "_now", "_same")

    def __init__(self) -> None:
        self._same: Members | None = None
        self._now = b""
        self._before = b""

    def note(self, data: bytes, used: bytes) -> None:
        """Takes note of a chunk as the client sees it, or would."""
        if self._same is None:
            top = OBJECT.decode(data)
            self._same = {key: top[key].copy() for key in _SAME if key in top}
        self._now = used or self._now

    def begin_anew(self) -> None:
        self._before, self._now = self._now or self._before, b""

    def adopted(self, event: SseEvent, begun: Collection[int]) -> SseEvent | None:
        """A chunk as one of the first stream; None where it only says whose answer begins.

        begun: choices that the first stream has said that of."""
        try:
            top = OBJECT.decode(event.data)
            choices = OBJECTS.decode(top["choices"])
            changed = [_going_on(choice, begun) for choice in choices]
            used = self._used(top)
        except (ValueError, KeyError, RecursionError):
            return event
        if choices and not used and not any(map(_says, changed)):
            return None
        if changed != choices:
            top["choices"] = msgspec.Raw(msgspec.json.encode(changed))
        top.update(self._same or {})
        top.update(used)
        return saying(event, msgspec.json.encode(top))

    def _used(self, top: Members) -> Members:
        """The usage that it tells, together with that of the streams before."""
        told: Members = {}
        if top.get("usage", NULL) != NULL:
            told["usage"] = msgspec.Raw(summed(self._before, bytes(top["usage"])))
        if top.get(_GROQ, NULL) != NULL:
            beside = OBJECT.decode(top[_GROQ])
            if beside.get("usage", NULL) != NULL:
                beside["usage"] = msgspec.Raw(summed(self._before, bytes(beside["usage"])))
                told[_GROQ] = msgspec.Raw(msgspec.json.encode(beside))
        return told


def _going_on(choice: Members, begun: Collection[int]) -> Members:
    delta = delta_of(choice)
    if "role" not in delta or (_INDEX.decode(choice.get("index", NULL)) or 0) not in begun:
        return choice
    del delta["role"]
    return {**choice, "delta": msgspec.Raw(msgspec.json.encode(delta))}


def _says(choice: Members) -> bool:
    delta = delta_of(choice)
    calls = any(delta.get(key, NULL) != NULL for key in CALL_KEYS)
    return calls or bool(rest_of(delta)) or choice.get("finish_reason", NULL) != NULL
