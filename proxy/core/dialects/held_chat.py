"""Holds guarded tools' calls back on streams of `/v1/chat/completions`.

Theory of operation. Nothing says that a call has come to its end, and calls may come interleaved.
So one is complete when something else comes and its arguments are a whole JSON object, to which
nothing can be added; with other arguments (none at all, a custom tool's text) when the finish
reason comes. A call whose name has not come yet is held like a guarded one.

SDKs take calls together by their `index`, and count on it to begin with 0 and to have no gaps: so
calls are numbered in the order they pass in, from the first held one on. The choices are each for
themselves.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat_parts import Call
from proxy.core.dialects.chat_turn import merge
from proxy.core.dialects.held_chat_calls import ChatCall, SoFar
from proxy.core.dialects.held_chat_splice import Splicing
from proxy.core.dialects.held_chunk import (
    LEGACY_INDEX,
    Chunk,
    ChunkChoice,
    apart,
    finishing,
    read_chunk,
    renumbered,
)
from proxy.core.dialects.held_stream import HeldStream, event_of, saying
from proxy.core.dialects.pieces import encode
from proxy.core.dialects.stream_meter import DONE
from proxy.core.sse import SseEvent, encode_frame

_VALUE = msgspec.json.Decoder()
_FOR_CALLS = frozenset({"tool_calls", "function_call"})


class HeldChat(HeldStream[ChatCall]):
    """Implements `HoldBack`. `turn` is the message of the first choice."""

    def __init__(self, guards: Callable[[str], bool], bounds: Bounds) -> None:
        super().__init__(guards, bounds)
        self._choices: dict[int, SoFar] = {}
        self._splicing = Splicing()

    def turn(self) -> bytes:
        message: dict[str, object] = {"role": "assistant", "content": None}
        for _, choice in sorted(self._choices.items()):
            if choice.said or choice.calls:
                merge(message, choice.said)
                for call in choice.calls:
                    if call.index == LEGACY_INDEX:
                        message["function_call"] = call.whole()["function"]
                    else:
                        merge(message, {"tool_calls": [call.whole()]})
                break
        if isinstance(audio := message.get("audio"), dict):
            message["audio"] = {"id": audio.get("id")}
        return encode(message)

    def _take(self, event: SseEvent, out: list[bytes]) -> bool:
        if event.data == DONE:
            if not self._settle(None, (), out, ends=True):
                return False
            self._take_end(event, out)
            return True
        read = read_chunk(event.data) if event.data else None
        if read is None:
            self._pass_unread(event, out)
            return True
        chunk, calls = read
        if self._is_mixed(chunk, calls) and self._concerns(chunk, calls):
            self._queue.popleft()
            parts = [
                encode_frame(part, event.name.decode("utf-8", "replace"))
                for part in apart(event.data)
            ]
            self._queue.extendleft(event_of(part) for part in reversed(parts))
            return False
        return self._take_chunk(event, chunk, calls, out)

    def _is_mixed(self, chunk: Chunk, calls: list[list[Call]]) -> bool:
        """Whether it brings several things that may have to go different ways."""
        choices = chunk.choices or ()
        if len(choices) != 1:
            return len(choices) > 1
        (choice,), (parts,) = choices, calls
        finishes = choice.finish_reason is not None
        if not parts and not finishes:
            return False
        rest = choice.rest()
        if self._choice(choice).has_role and parts:
            rest.pop("role", None)
        return bool(rest) + len(parts) + finishes > 1

    def _concerns(self, chunk: Chunk, calls: list[list[Call]]) -> bool:
        """Whether a part of it cannot simply pass."""
        if chunk.ends and (self._unjudged or self.dropped) and not self._ended:
            return True
        for choice, parts in zip(chunk.choices or (), calls, strict=True):
            so_far = self._choice(choice)
            for part in parts:
                known = so_far.known(part)
                name, _ = part.called
                if so_far.places.touched or (known is None and (not name or self._guards(name))):
                    return True
        return False

    def _take_chunk(
        self, event: SseEvent, chunk: Chunk, calls: list[list[Call]], out: list[bytes]
    ) -> bool:
        """A chunk that goes one way."""
        pairs = list(zip(chunk.choices or (), calls, strict=True))
        for choice, parts in pairs:
            if not self._settle_before(choice, parts, out):
                return False
        self._splicing.note(event.data, chunk.used)
        call = None
        for choice, parts in pairs:
            self._say(choice)
            for part, said in zip(parts, choice.call_values(), strict=True):
                call = self._add(self._choice(choice), part, said, out)
        if call is not None and call.state != "passing":
            if call.waits:
                self._hold(call, event.raw)
        elif chunk.ends:
            self._take_end(event, out)
        else:
            out.append(event.raw if call is None else _numbered(event, call))
        return True

    def _settle_before(self, choice: ChunkChoice, parts: list[Call], out: list[bytes]) -> bool:
        if not self._unjudged:
            return True
        so_far = self._choice(choice)
        going_on = [so_far.known(part) for part in parts]
        return self._settle(so_far, going_on, out, ends=choice.finish_reason is not None)

    def _settle(
        self,
        choice: SoFar | None,
        going_on: Sequence[ChatCall | None],
        out: list[bytes],
        *,
        ends: bool,
    ) -> bool:
        """What is complete by now of a choice (None: of all) though it was not said: False where
        there is any. ends: no more comes of it."""
        settled = True
        for call in (*self._unjudged,):
            if call.state != "open" or (choice is not None and call.choice is not choice):
                continue
            if ends and not call.name:
                self._judge(call)
                self._pass_held(call, out)
            elif call.name and (ends or (call not in going_on and call.is_whole())):
                self._make_complete(call)
                settled = False
        return settled

    def _say(self, choice: ChunkChoice) -> None:
        so_far, rest = self._choice(choice), choice.rest()
        so_far.has_role |= "role" in rest
        if rest:
            merge(so_far.said, {key: _VALUE.decode(value) for key, value in rest.items()})

    def _add(
        self, choice: SoFar, part: Call, said: Mapping[str, object], out: list[bytes]
    ) -> ChatCall:
        """Adds a part of a call to it, and decides whether it waits as soon as its name is known:
        as ours do, by the first that comes."""
        name, arguments = part.called
        call = choice.known(part)
        if call is None:
            call = choice.begin(part)
            self._wait_for(call)
        named = not call.name and bool(name)
        if call.name and name not in ("", call.name) and self._is_guarded(call.name, name):
            self.unreadable = True  # a name in pieces, which some clients put together
        call.call_id = call.call_id or part.id or ""
        call.name = call.name or name
        call.add(arguments, said)
        if call.state == "open" and named and not self._guards(name):
            self._judge(call)
            self._pass_held(call, out)
        elif call.state == "open":
            choice.places.touched = True
        return call

    def _is_guarded(self, name: str, more: str) -> bool:
        return self._guards(name) or self._guards(name + more)

    def _pass_held(self, call: ChatCall, out: list[bytes]) -> None:
        call.choice.place(call)
        out += [_numbered(event_of(frame), call) for frame in call.frames]
        call.frames.clear()

    def _choice(self, choice: ChunkChoice) -> SoFar:
        index = choice.index or 0
        so_far = self._choices.get(index)
        if so_far is None:
            so_far = self._choices[index] = SoFar()
        return so_far

    def _adopted(self, event: SseEvent) -> SseEvent | None:
        if not event.data or event.data == DONE:
            return event
        begun = [index for index, choice in self._choices.items() if choice.has_role]
        return self._splicing.adopted(event, begun)

    def _ending(self, event: SseEvent) -> bytes:
        read = read_chunk(event.data) if self.withheld else None
        if read is None:
            return event.raw
        wrong = [
            choice.index or 0
            for choice in read[0].choices or ()
            if choice.finish_reason in _FOR_CALLS and not self._choice(choice).places.passed
        ]
        if not wrong:
            return event.raw
        return saying(event, finishing(event.data, dict.fromkeys(wrong, "stop"))).raw

    def _begin_anew(self) -> None:
        self._splicing.begin_anew()
        for choice in self._choices.values():
            choice.begin_anew()
            choice.places.touched = True


def _numbered(event: SseEvent, call: ChatCall) -> bytes:
    """The event of one call with the number that the client knows it by."""
    if call.place is None or call.place == call.index or call.index == LEGACY_INDEX:
        return event.raw
    return saying(event, renumbered(event.data, call.place)).raw
