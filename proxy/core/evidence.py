"""Which session a request belongs to that names none: what only one session was answered with.

Theory of operation. The one thing sure about a client is what *we* gave it: the answers. Each
answer leaves links (`core.links`) that lead to its `Track`, one history of one session:

    call id   an id of the answer's tool calls, if it is too random to be chosen twice
    response  the id of a Responses answer
    said      the answer alone: text and calls, without what clients rewrite (ids, thinking, spaces)
    heard     the message it answered, and the answer
    history   every message before it, and the answer: the longest known prefix
    asked     every message before it (kept in memory only)

A request is read from its newest assistant message back, because that is the newest thing given. A
link that leads to two sessions proves nothing and only narrows. The true session was given every
answer that it echoes, so narrowing never loses it; a session found by less than its whole history
must be the only one left *and* share enough text that chance is out of the question. Everything
else is None: two sessions are never merged on a guess.

System messages are not part of a history, since clients move and rewrite them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

import msgspec

from proxy.core.links import (
    IDS_KEPT,
    STRONG_CHARACTERS,
    TURNS_READ,
    Links,
    Track,
    said_links,
    turns_of,
)
from proxy.core.request import History, Message, Request, Turn

_ID_IN_TEXT = re.compile(r"\b(?:call|toolu|tooluse|chatcmpl-tool|fc)[_-][A-Za-z0-9]{8,64}")
_MARKS = ("call_", "call-", "tool", "fc_", "fc-")
"""One of them is in all that the pattern finds."""

Lookup = Callable[[bytes], Sequence[Track]]


class Found(msgspec.Struct, frozen=True):
    """source: tool_call_id, prefix (whole history known) or answer (part of it)."""

    track: Track
    source: str


def find(links: Links, request: Request, lookup: Lookup) -> Found | None:
    """The track that `request` goes on, or None where nothing proves one. Surest and cheapest
    first: what the newest answer says, then older ids, then what is left of a history."""
    messages = request.messages
    newest, older = _newest_ids(request.history)
    if found := _by_call_id(links, newest, lookup):
        return found
    search = _Search(links, request.history, request.model, lookup)
    return (
        search.by_newest_answer()
        or _by_call_id(links, older, lookup)
        or search.by_answers()
        or _by_id_in_text(links, messages, lookup)
    )


def evidence_links(links: Links, request: Request, turns: int = 4) -> list[bytes]:
    """The links of a request's newest turns: what to ask a store for."""
    wanted: dict[bytes, None] = {}
    if request.previous_response_id is not None:
        wanted[links.response(request.previous_response_id)] = None
    history = request.history
    newest, older = _newest_ids(history)
    for call_id in (*newest, *older)[: 4 * turns]:
        wanted[links.call_id(call_id)] = None
    for turn, said in islice(said_links(links, history), turns):
        wanted[said] = None
        wanted[links.history(history.before(turn.start), turn.said)] = None
        if turn.start > 1:
            before = history.messages[turn.start - 1].content_digest
            wanted[links.heard(before, turn.said)] = None
    return list(wanted)


def sole(tracks: Sequence[Track]) -> Track | None:
    """The newest of `tracks` if they are all of one session."""
    if not tracks or not tracks[0].session or len({track.session for track in tracks}) != 1:
        return None
    return tracks[-1]


def _newest_ids(history: History) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The newest ids of calls, newest first, each once (a call and its result carry the same):
    those of the newest answer and of what came after it, and those before."""
    if history.ids is None:
        history.ids = _read_ids(history.messages, 4 * TURNS_READ)
    return history.ids


def _read_ids(messages: Sequence[Message], most: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    seen: dict[str, None] = {}
    newest = -1
    for message in reversed(messages):
        if message.tool_result_id:
            seen[message.tool_result_id] = None
        elif message.tool_calls:
            for call in message.tool_calls:
                if call.call_id:
                    seen[call.call_id] = None
        if newest < 0 and message.role == "assistant":
            newest = len(seen)
        if len(seen) >= most:
            break
    ids = tuple(seen)[:most]
    return (ids, ()) if newest < 0 else (ids[:newest], ids[newest:])


def _by_call_id(links: Links, call_ids: Sequence[str], lookup: Lookup) -> Found | None:
    for call_id in call_ids:
        track = sole(lookup(links.call_id(call_id)))
        if track is not None:
            return Found(track, "tool_call_id")
    return None


def _by_id_in_text(links: Links, messages: Sequence[Message], lookup: Lookup) -> Found | None:
    """smolagents writes its calls, ids included, into the text of the assistant message."""
    for message in messages[-4:]:
        text = message.text[:4096]
        if not any(mark in text for mark in _MARKS):  # a tenth of the time
            continue
        for call_id in _ID_IN_TEXT.findall(text)[:IDS_KEPT]:
            track = sole(lookup(links.call_id(call_id)))
            if track is not None:
                return Found(track, "tool_call_id")
    return None


class _Search(msgspec.Struct, frozen=True):
    """One look for the session that a history belongs to, by what it was answered with."""

    links: Links
    history: History
    model: str
    lookup: Lookup

    def by_newest_answer(self) -> Found | None:
        """By all that was said up to the newest answer."""
        turn, said = next(said_links(self.links, self.history), (None, b""))
        if turn is None or not turn.start:
            return None
        whole = self.lookup(self._whole(turn))
        given = self.lookup(said)
        return self._by_whole_history(turn, given, whole, newest=True) if whole else None

    def by_answers(self) -> Found | None:
        """By the newest turn that anybody was given."""
        newest = True
        older = said_links(self.links, self.history)
        for turn, said in older:
            given = self.lookup(said)
            whole = self.lookup(self._whole(turn)) if turn.start else ()
            if whole:
                return self._by_whole_history(turn, given, whole, newest=newest)
            if given and given[0].session:
                return self._by_part(turn, said, older, given, newest=newest)
            newest = False
        return self._by_question()

    def _by_whole_history(
        self, turn: Turn, given: Sequence[Track], whole: Sequence[Track], *, newest: bool
    ) -> Found | None:
        """Of sessions with one history and one answer, the one that waits for what comes next."""
        track = sole(whole)
        if track is None and newest:
            tip = self._whole(turn)
            track = sole([other for other in self._of_model(whole) if other.tip in (tip, b"")])
            track = track if track is not None and track.tip else None
        if not newest and sole(given) is None:
            return None
        if track is None or (newest and self._has_rival(turn, given, whole)):
            return None
        return Found(track, "prefix")

    def _has_rival(self, turn: Turn, given: Sequence[Track], whole: Sequence[Track]) -> bool:
        """Whether another session that waits after the same answer may have shortened its history
        to this, or did before: `u1 a1 … a5` cut to `u1 a5` looks whole to one given a5 at once."""
        root = self.links.asked(self.history.before(turn.start))
        last = self.links.said(turn.said)
        return any(
            _waits_after(other, last) and (other.root == root or other.shortens)
            for other in given
            if other not in whole
        )

    def _by_part(
        self,
        turn: Turn,
        last: bytes,
        older: Iterator[tuple[Turn, bytes]],
        given: Sequence[Track],
        *,
        newest: bool,
    ) -> Found | None:
        """The one session left that was given every turn, if that is text enough."""
        pool, shared = given, turn.size
        for current, said in chain(((turn, last),), older):
            if current is not turn:
                also = self.lookup(said)
                pool, shared = _narrowed(pool, shared, also, current.size)
            if current.start > 1:  # a trimmed history's first message may stand beside anything
                before = self.history.messages[current.start - 1]
                heard = self.lookup(self.links.heard(before.content_digest, current.said))
                pool, shared = _narrowed(pool, shared, heard, len(before.text))
            track = sole(pool)
            if track is not None and shared >= STRONG_CHARACTERS:
                return Found(track, "answer")
        if not newest or shared < STRONG_CHARACTERS:
            return None
        waiting = sole([other for other in self._of_model(pool) if _waits_after(other, last)])
        return Found(waiting, "answer") if waiting is not None and waiting.last else None

    def _by_question(self) -> Found | None:
        """By the latest request of a session whose answer the client rewrote beyond recognition.

        A first prompt alone is no evidence."""
        turn = next(turns_of(self.history), None)
        if turn is None:
            return None
        earlier = self.history.messages[: turn.start]
        if not any(message.role == "assistant" for message in earlier):
            return None
        asked = self.links.asked(self.history.before(turn.start))
        track = sole(self.lookup(asked))
        return Found(track, "prefix") if track is not None and track.asked == asked else None

    def _whole(self, turn: Turn) -> bytes:
        return self.links.history(self.history.before(turn.start), turn.said)

    def _of_model(self, tracks: Sequence[Track]) -> Sequence[Track]:
        """Those that ask for the same model, where any does: runs keep theirs."""
        return [track for track in tracks if track.model in (self.model, "")] or tracks


def _waits_after(track: Track, last: bytes) -> bool:
    """Whether it may be this track's client that goes on from the answer behind the link `last`."""
    return not track.last or (track.last == last and track.tip != track.asked)


def _narrowed(
    pool: Sequence[Track], shared: int, given: Sequence[Track], size: int
) -> tuple[Sequence[Track], int]:
    """Those of `pool` that were given this too, or may have been; all of it where none was."""
    sessions = {track.session for track in given}
    if not any(track.session in sessions for track in pool):
        return pool, shared
    return [t for t in pool if t.session in sessions or t.midway], shared + size
