"""What the filters that hold guarded tools' calls back have in common: a queue, verdicts, the end.

Theory of operation. Events are taken one by one, in order, each by a dialect's `_take`: it passes
them, holds them with a call, or keeps them as the provider's end. Where it finds that a guarded
call is whole, the queue stops, so that the verdict comes before what follows the call, and calls
keep their order. A verdict, or else the next chunk, lets the queue go on.

An event that passes is the bytes that came, unless it has to be renumbered: because a call before
it was dropped, or has not been judged yet. Numbers are given in the order that things pass in.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, Literal, TypeVar

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.unread import may_be_a_call
from proxy.core.sse import SseEvent, SseSplitter, encode_frame, fields_of, with_data
from proxy.core.usage import ToolCall

Members = dict[str, msgspec.Raw]
State = Literal["open", "complete", "passing", "dropped"]

OBJECT = msgspec.json.Decoder(Members)
OBJECTS = msgspec.json.Decoder(list[Members])
NULL = msgspec.Raw(b"null")
NAUGHT = frozenset({b"", b"null", b'""', b"[]", b"{}"})
"""What says nothing, as JSON."""


class StreamedCall:
    """One call of a stream, as far as it has come.

    index: the provider's number for it; place: the client's, once it has passed. frames: its events
    while they are held.
    """

    __slots__ = ("arguments", "call_id", "frames", "index", "name", "place", "read", "state")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.place: int | None = None
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.frames: list[bytes] = []
        self.state: State = "open"
        self.read = 0

    @property
    def waits(self) -> bool:
        """Whether nothing of it may pass yet."""
        return self.state in ("open", "complete")

    def asked(self) -> ToolCall:
        return ToolCall(self.call_id, self.name, "".join(self.arguments))

    def is_whole(self) -> bool:
        """Whether its arguments are a JSON object, to which nothing can be added."""
        pieces = self.arguments
        if not pieces or self.read == len(pieces):
            return False
        self.read = len(pieces)
        if not pieces[-1].rstrip().endswith("}"):
            return False
        with suppress(ValueError, RecursionError):
            OBJECT.decode("".join(pieces))
            return True
        return False


C = TypeVar("C", bound=StreamedCall)


class Places:
    """The numbers that what passes is known by.

    touched: something was held, or came in a later stream: then the provider's numbers need not be
    right any more, and the client's go on one by one. passed: how many were given out.
    """

    __slots__ = ("_next", "passed", "touched")

    def __init__(self) -> None:
        self.passed = self._next = 0
        self.touched = False

    def give(self, index: int | None) -> int | None:
        """The number for what the provider calls `index`; None: it is to be left without."""
        place = self._next if self.touched else index
        self.passed += 1
        self._next = max(self._next, self.passed, 0 if place is None else place + 1)
        return place


class HeldStream(ABC, Generic[C]):
    """Implements `HoldBack`; a dialect says what its events mean."""

    def __init__(self, guards: Callable[[str], bool], bounds: Bounds) -> None:
        self.complete: list[ToolCall] = []
        self.too_long: set[str] = set()
        self.unreadable = False
        self.dropped = 0
        self.withheld = False  # a call of any stream was dropped
        self._guards = guards
        self._bounds = bounds
        self._splitter = SseSplitter(bounds.sse_line_bytes)
        self._queue: deque[SseEvent] = deque()
        self._unjudged: list[C] = []
        self._complete: list[C] = []  # of each of `complete`
        self._held_bytes = 0
        self._end: list[SseEvent] = []
        self._ended = False
        self._spliced = False

    @property
    def waits(self) -> bool:
        return bool(self._unjudged or self._end)

    def feed(self, chunk: bytes) -> bytes:
        out: list[bytes] = []
        while self._queue:
            self._go_on(out)
        for call in [one for one in self._complete if one.call_id in self.too_long]:
            self._drop(call)
        self._come(self._splitter.feed(chunk))
        self._go_on(out)
        return b"".join(out)

    def close(self) -> bytes:
        out: list[bytes] = []
        while self._queue:
            self._go_on(out)
        event = self._splitter.close()
        if event is not None:
            if self._unjudged or self.dropped or self._spliced:  # something may yet follow it
                raw = event.raw.rstrip(b"\r\n") + b"\n\n"
                event = SseEvent(raw, event.name, event.data)
            self._come((event,))
            self._go_on(out)
        return b"".join(out)

    def release(self, call_id: str) -> bytes:
        call = self._asked(call_id)
        self._judge(call)
        out: list[bytes] = []
        self._pass_held(call, out)
        return self._after(out)

    def drop(self, call_id: str) -> bytes:
        self._drop(self._asked(call_id))
        return self._after([])

    def end(self) -> bytes:
        out = [self._ending(event) for event in self._end]
        self._held_bytes -= sum(len(event.raw) for event in self._end)
        self._end.clear()
        self._ended = True
        return b"".join(out)

    def splice(self) -> None:
        for call in (*self._unjudged,):
            self._drop(call)
        self._begin_anew()
        self._splitter = SseSplitter(self._bounds.sse_line_bytes)
        self._queue.clear()
        self._end.clear()
        self._held_bytes = self.dropped = 0
        self._ended = False
        self._spliced = True

    @abstractmethod
    def turn(self) -> bytes: ...

    @abstractmethod
    def _take(self, event: SseEvent, out: list[bytes]) -> bool:
        """Takes the event at the head of the queue; False where it has to be taken again, because
        a call is complete now that comes before it."""

    @abstractmethod
    def _adopted(self, event: SseEvent) -> SseEvent | None:
        """An event of a later stream as one of the first; None where it says what was said."""

    @abstractmethod
    def _ending(self, event: SseEvent) -> bytes:
        """An event of the provider's end, as it is true now that all is judged."""

    @abstractmethod
    def _begin_anew(self) -> None:
        """Another stream follows. The end of the one before is still there to be read."""

    @abstractmethod
    def _pass_held(self, call: C, out: list[bytes]) -> None:
        """Passes what is held of a call, if it can pass here."""

    def _come(self, events: Iterable[SseEvent]) -> None:
        if self._spliced:
            adopted = [self._adopted(event) for event in events]
            events = [event for event in adopted if event is not None]
        self._queue.extend(events)

    def _go_on(self, out: list[bytes]) -> None:
        """Takes events until a call is complete."""
        queue, complete = self._queue, len(self.complete)
        while queue and len(self.complete) == complete:
            if self._take(queue[0], out):
                queue.popleft()

    def _after(self, out: list[bytes]) -> bytes:
        """And what waited behind a call that was judged now, once no other is waited for."""
        while self._queue and not self.complete:
            self._go_on(out)
        return b"".join(out)

    def _pass_unread(self, event: SseEvent, out: list[bytes]) -> None:
        """Passes what is no event of the dialect."""
        if may_be_a_call(event.data):
            self.unreadable = True
        else:
            out.append(event.raw)

    def _take_end(self, event: SseEvent, out: list[bytes]) -> None:
        """The provider's end: kept while it may have to be another."""
        if self._ended or not (self._end or self._unjudged or self.dropped):
            out.append(self._ending(event))
        elif self._held_bytes <= self._bounds.held_bytes:
            self._held_bytes += len(event.raw)
            self._end.append(event)

    def _wait_for(self, call: C) -> None:
        self._unjudged.append(call)

    def _hold(self, call: C, raw: bytes) -> None:
        """Keeps an event of a call that waits."""
        call.frames.append(raw)
        self._held_bytes += len(raw)
        if self._held_bytes > self._bounds.held_bytes and call.state == "open":
            self.too_long.add(call.call_id)
            self._make_complete(call)

    def _settle_all(self) -> bool:
        """Nothing more comes of any call. Returns whether one is complete by that."""
        opened = [call for call in self._unjudged if call.state == "open"]
        for call in opened:
            self._make_complete(call)
        return bool(opened)

    def _make_complete(self, call: C) -> None:
        call.state = "complete"
        self._complete.append(call)
        self.complete.append(call.asked())

    def _asked(self, call_id: str) -> C:
        for call in self._complete:
            if call.call_id == call_id:
                return call
        raise LookupError(call_id)

    def _judge(self, call: C) -> None:
        call.state = "passing"
        self._held_bytes -= sum(map(len, call.frames))
        self._unjudged.remove(call)
        if call in self._complete:
            at = self._complete.index(call)
            del self._complete[at], self.complete[at]
        self.too_long.discard(call.call_id)

    def _drop(self, call: C) -> None:
        self._judge(call)
        call.state = "dropped"
        call.frames.clear()
        self.dropped += 1
        self.withheld = True


def event_of(raw: bytes) -> SseEvent:
    """One of our own frames, read again."""
    return SseEvent(raw, *fields_of(raw))


def saying(event: SseEvent, data: bytes) -> SseEvent:
    """The event with other data: its own bytes around them where they can be kept."""
    if data == event.data:
        return event
    raw = with_data(event, data)
    if raw is event.raw:
        raw = encode_frame(data, event.name.decode("utf-8", "replace"))
    return SseEvent(raw, event.name, data)
