"""What a history leaves behind to be known again by: digests that lead to the session given it.

A link is 16 bytes, keyed by tenant: two tenants with the same messages have none in common. Stored
links outlive versions: changing what goes in orphans the sessions of every store.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import msgspec

from proxy.core.canonical import canonical_arguments, digest
from proxy.core.request import History, Request, Turn
from proxy.core.usage import Answer, ToolCall

STRONG_CHARACTERS = 64
"""Text that two sessions do not share by chance; nothing shorter identifies on its own."""
TURNS_READ = 16
"""How many assistant turns back a history is searched; older ones were links of older requests."""
IDS_KEPT = 4
"""Tool-call ids remembered of one answer: any one identifies."""
SESSIONS_PER_LINK = 8
"""That a store keeps; a link with so many may have been given to more."""
_CHARACTERS_READ = 2**19
"""Of one turn, and of the turns of a history until no older one is read. No answer is longer:
128,000 tokens, the most that models produce, are as many characters."""
_CALLS_READ = 256
_ID_CHARACTERS = 4096

_encode = msgspec.json.Encoder().encode
_THINKING = re.compile(r"\s*<(think|thinking)>")
_RANDOM_RUN = re.compile(r"[A-Za-z0-9]{8,}")
_PREFIX = re.compile(r"(call|toolu|tooluse|fc|chatcmpl-tool)[_-](?=[^_]*[A-Z0-9])")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
_SHORTEST_RUN = 8


@dataclass(slots=True, eq=False)
class Track:
    """One history of one session, as far as it has come. Written by the shell's index alone.

    root: the asked link of its first request. asked: that of its latest. tip: the history link of
    its latest answer, the asked link while a request is under way, b"" where not known. last: the
    said link of its latest answer. model: that of its latest request, "" where not known. shortens:
    its client has left out or rewritten history before. midway: it was opened in the middle of a
    history that somebody was given: earlier answers may be its own without leading to it.
    """

    session: str
    thread: str = ""
    root: bytes = b""
    asked: bytes = b""
    tip: bytes = b""
    last: bytes = b""
    model: str = ""
    shortens: bool = False
    midway: bool = False


CROWD = (Track(""),)
"""What a link leads to that was given to too many sessions to tell them apart."""


class Links:
    """The links of one tenant. Two tenants with the same messages have no link in common."""

    def __init__(self, tenant: str) -> None:
        salt = blake2b(tenant.encode("utf-8", "replace"), digest_size=16).digest()
        self._call_id, self._response, self._said, self._heard, self._history, self._asked = (
            *(salt + kind for kind in (b"i", b"r", b"s", b"h", b"p", b"q")),
        )

    def call_id(self, call_id: str) -> bytes:
        return digest(self._call_id + call_id[:_ID_CHARACTERS].encode("utf-8", "replace"))

    def response(self, response_id: str) -> bytes:
        return digest(self._response + response_id[:_ID_CHARACTERS].encode("utf-8", "replace"))

    def said(self, said: bytes) -> bytes:
        return digest(self._said + said)

    def heard(self, before: bytes, said: bytes) -> bytes:
        return digest(self._heard + before + said)

    def history(self, before: bytes, said: bytes) -> bytes:
        """before: the digests of all earlier messages in a row, so this is their chain's head."""
        return digest(self._history + before + said)

    def asked(self, messages: bytes) -> bytes:
        return digest(self._asked + messages)


def has_history(request: Request) -> bool:
    """Whether a request goes on from something: else it is the first of a session."""
    if request.previous_response_id is not None:
        return True
    for message in request.messages:  # noqa: SIM110 - at most three, on the path of every request
        if message.role in ("assistant", "tool"):
            return True
    return False


def turns_of(history: History) -> Iterator[Turn]:
    """The newest answers in a history, newest first."""
    for place in range(TURNS_READ):
        if place == len(history.turns) and not _read_turn(history):
            return
        yield history.turns[place]


def said_links(links: Links, history: History) -> Iterator[tuple[Turn, bytes]]:
    """The newest answers with the links of what they say: asked for several times a request."""
    known = history.said
    for place, turn in enumerate(turns_of(history)):
        if place == len(known):
            known.append(links.said(turn.said))
        yield turn, known[place]


def _read_turn(history: History) -> bool:
    """Reads one answer further back, False where there is none that counts."""
    messages, turns = history.messages, history.turns
    end = turns[-1].start if turns else len(messages)
    while end and messages[end - 1].role != "assistant":
        end -= 1
    if not end or (turns and sum([turn.size for turn in turns]) > _CHARACTERS_READ):
        return False
    for older in history.older:
        if older.end == end:
            turns.append(older)
            return True
    start = end - 1
    while history.answers_in_items and start and messages[start - 1].role == "assistant":
        start -= 1
    if end - start == 1:
        message = messages[start]
        turns.append(_turn(start, end, message.text, message.tool_calls))
        return True
    run = messages[start:end]
    text = "".join([message.text for message in run])
    calls = [call for message in run for call in message.tool_calls]
    turns.append(_turn(start, end, text, calls))
    return True


def answer_turn(answer: Answer, end: int) -> Turn:
    """The turn that will echo `answer` to a request of `end` messages."""
    return _turn(end, end + 1, answer.text, answer.tool_calls)


def _turn(start: int, end: int, text: str, calls: Sequence[ToolCall]) -> Turn:
    """Ids are left out, and thinking: some clients replace the one and strip the other."""
    if text:
        text = _without_thinking(text[:_CHARACTERS_READ]).strip()
    named: list[tuple[str, str]] = []
    size = len(text)
    for call in calls[:_CALLS_READ]:
        if size > _CHARACTERS_READ:
            break
        arguments = canonical_arguments(call.arguments[:_CHARACTERS_READ])
        named.append((call.name[:_ID_CHARACTERS], arguments))
        size += len(named[-1][0]) + len(arguments)
    said = digest(_encode((text, named)))
    return Turn(start, end, said, size)


def _without_thinking(text: str) -> str:
    first = text[:1]
    if first != "<" and not first.isspace():  # nearly all: a tenth of the time
        return text
    thinking = _THINKING.match(text)
    if thinking is None:
        return text
    _, found, rest = text[thinking.end() :].partition(f"</{thinking[1]}>")
    return rest if found else text


def is_random_id(call_id: str, name: str = "") -> bool:
    """Whether an id was drawn, not counted: `call_1` and `get_user_0` recur in other sessions."""
    rest = call_id.replace(name, "_") if name else call_id
    known = _PREFIX.match(rest)
    # Behind a prefix that providers use, the rest is one id, also where base64url drew a - or _.
    runs = [_SEPARATORS.sub("", rest[known.end() :])] if known else []
    return any(_is_drawn(run) for run in (*runs, *_RANDOM_RUN.findall(rest)))


def _is_drawn(run: str) -> bool:
    digits = sum(map(str.isdigit, run))
    letters = len(run) - digits
    if len(run) < _SHORTEST_RUN or (digits >= 2 and letters >= 2) or digits >= 12:
        return len(run) >= _SHORTEST_RUN
    mixed = not run.islower() and not run.isupper() and not run.istitle()
    turns = sum(one.isupper() != two.isupper() for one, two in pairwise(run))
    return mixed and ((digits > 0 and len(run) >= 9) or (len(run) >= 12 and turns >= 5))
