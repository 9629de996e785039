"""What every dialect offers: parse, rewrite, meter, render."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from proxy.core.changes import Changes, Given
from proxy.core.decision import Refusal
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Request
from proxy.core.usage import Answer, ToolCall, Usage

PARSE_ON_THREAD_BYTES = 512 * 1024
"""A larger body holds up every other call while it is parsed, for a second or so in all, so `parse`
and `rewrite` belong on a thread; both may run there. They let other threads in at every step: after
150 ms at most for 64 MB, 300 where it is made of escapes. Smaller bodies take no longer than 65 ms
and, as agents send them, 1 ms: a thread would take twice that, for it shares the interpreter."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a hostile body or stream is held to.

    members: at the top level. values: commas and opening brackets, those in text as well, for no
    more objects are made of a body; agents' bodies have 25,000 a megabyte. held_bytes: of a
    stream's events that wait for a verdict on the tool call they are part of; chat's largest take
    some 250 bytes a token.
    """

    json_depth: int = 128
    sse_line_bytes: int = 8 * 1024 * 1024
    messages: int = 100_000
    members: int = 1_000
    values: int = 500_000
    tools: int = 10_000
    held_bytes: int = 8 * 1024 * 1024


class Meter(Protocol):
    """Reads a streamed answer as it passes. Cut at any byte, it has metered the same.

    All that it tells is up to date after every `feed`, and free to read.

    at_border: what `feed` has returned so far ends with a whole event (or is nothing yet): a frame
        of our own can follow.
    committed: the first content event has been seen (no invisible fallback is possible after it).
    ended: the provider's own terminal event has been seen.
    finish_seen: a finish reason has been seen: the stream may end cleanly at EOF even without the
        terminal event (some chat providers never send [DONE]).
    failed: message of an error event inside the stream, None if none.
    malformed: lines that could not be read so far (one is tolerated; the stream goes on).
    usage: the provider's own figures so far (the last ones win), None if it has sent none.
    output_tokens_least: tokens that have passed for certain: one for each piece of content, or the
        provider's own figure so far.
    output_tokens_counted: estimate from what has passed (text, reasoning, calls of tools), never
        less than the provider's own figure so far.
    """

    at_border: bool
    committed: bool
    ended: bool
    finish_seen: bool
    failed: str | None
    malformed: int
    usage: Usage | None
    output_tokens_least: int
    output_tokens_counted: int

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they came; returns those to forward now: the same, but for what was only
        sent because we asked for usage. Never raises on bad input; never waits for more than the
        rest of one event, and that only where usage has to be stripped."""

    def close(self) -> bytes:
        """The upstream has ended: returns bytes still held back."""

    def answer(self) -> Answer:
        """The answer as far as it has come."""


class HoldBack(Protocol):
    """Passes a stream on, but for the events of guarded tools' calls, which wait for a verdict.

    One per answer that the client sees, which `splice` may make of several streams. All else passes
    as it came, and at once. The shell gives each verdict before it feeds on; then calls keep their
    order. (What follows a call in the chunk that completed it waits for the verdict too; where none
    came, the next `feed` passes it on, and the calls are shown in the order they pass in.)

    complete: guarded calls that are whole and not judged yet, in the order that they were asked for
        in. A provider may give several no id, or the same: a verdict is on the first of them.
    too_long: ids of those that came to be more than is held (`Bounds.held_bytes`): their arguments
        are no more than what has come so far, and a verdict holds for what is still to come. One
        that has none when `feed` is called again is dropped.
    unreadable: something came that may be of a call and cannot be read. It did not pass, and
        nothing that follows is to be shown: it could not be judged.
    waits: something is held, a call or the provider's end.
    dropped: calls of the stream at hand that were withheld for good.
    """

    complete: list[ToolCall]
    too_long: set[str]
    unreadable: bool

    @property
    def waits(self) -> bool: ...

    @property
    def dropped(self) -> int: ...

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they came; returns those that go to the client now. Never raises on bad
        input: what cannot be read passes as it is, unless it may be of a call."""

    def close(self) -> bytes:
        """The stream has ended: what was left of an event is read like one that is whole."""

    def release(self, call_id: str) -> bytes:
        """Hands a complete call to the client: its events, and what waited behind it. Raises
        LookupError where there is none of this id."""

    def drop(self, call_id: str) -> bytes:
        """Withholds a complete call for good; returns what waited behind it. Raises LookupError."""

    def turn(self) -> bytes:
        """What the model said in the stream at hand, dropped calls included: the JSON that a client
        would append to its messages."""

    def end(self) -> bytes:
        """The provider's own end, where it was held; without calls left, it says so. The provider's
        end is held from the moment it comes with a call that is not judged, or after one that was
        dropped; in all other cases it passes by itself."""

    def splice(self) -> None:
        """The next bytes are of another stream, which goes on where this one stopped: the end that
        is held is forgotten, but for its usage."""


class Unstreamed(msgspec.Struct, frozen=True, gc=False):
    """An unstreamed answer, read whole. `usage` is None where the provider sent none.
    `malformed`: why it cannot be an answer of this dialect (empty, not JSON, no choices), or None.
    """

    answer: Answer
    usage: Usage | None
    malformed: str | None = None


class Dialect(Protocol):
    """One wire format. All pure; `parse` refuses anything arbitrary by name."""

    name: DialectName

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        """Reads a request body. Raises MalformedRequest (never anything else).

        memo: saves reading again what earlier bodies had; the same is read with any and without."""

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        """Splices `changes` into the bytes that `request` was parsed from; the same object when
        nothing changes."""

    def follow_up(
        self,
        body: bytes,
        request: Request,
        turn: bytes,
        given: Sequence[Given],
        response_id: str | None = None,
    ) -> bytes:
        """The body that `request` was parsed from, with an answer (`answer_turn`) and what its
        calls came to after all that the client sent; to be parsed anew. A choice that forces a
        call forces it again. Where there is no conversation, the body as it is.

        given: all calls of the answer. response_id: of the answer; responses that the provider
        keeps go on from it."""

    def answer_turn(self, body: bytes) -> bytes:
        """An unstreamed answer as the JSON of what a client appends to its list: one message, or
        (responses) a list of items. b"" where there is none."""

    def without_calls(self, body: bytes, call_ids: Collection[str]) -> bytes:
        """An unstreamed answer without these calls; where none is left it ends as one that asked
        for none. The same object when it has none of them."""

    def result_contents(self, body: bytes) -> Mapping[str, bytes]:
        """The results of tool calls in a request's history as JSON, by call id, the newest of each;
        without those that are nothing but a text. {} for what is no body."""

    def meter(self, *, strip_usage: bool, bounds: Bounds) -> Meter:
        """A fresh meter for one stream."""

    def hold_back(self, guards: Callable[[str], bool], bounds: Bounds) -> HoldBack:
        """A fresh filter for one streamed answer. guards: whether a call of this tool waits."""

    def read_answer(self, body: bytes) -> Unstreamed:
        """Meters an unstreamed 2xx answer."""

    def render_refusal(self, refusal: Refusal, request_id: str) -> bytes:
        """The JSON body of a rejection or error, in this dialect."""

    def error_frames(
        self, refusal: Refusal, request_id: str, *, client: str, response_id: str | None = None
    ) -> bytes:
        """What ends a stream that must not look finished: complete SSE frames, nothing after them.
        `client` is the caller's user-agent (Codex needs its own code on responses); `response_id`
        that of the stream so far (`Meter.answer`), which typed readers of responses hold it to."""

    def render_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        """A normal, finished unstreamed answer that says `text` (handoff)."""

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        """The same as a whole stream."""
