"""What kind of result a tool gave: none, an error, or no more than a nod.

Where a form is not sure, it is none of these: a detector that counts errors that are none is worse
than one that misses some.
"""

import re
from typing import Final

import msgspec

from proxy.core.loops.rounds import Flag

_SHORT: Final = 256
_BRIEF_BYTES: Final = 80
_NOTE_BYTES: Final = 384
_SCALAR_BYTES: Final = 12
_NOTHING: Final = frozenset(
    {"", "[]", "{}", "null", "none", "nil", "undefined", '""', "''", "()", "[{}]", "[[]]", "[null]"}
)
_NO_RESULTS: Final = re.compile(
    r"(?:there (?:are|were) )?(?:no|0|zero) (?:\w+ ){0,2}"
    r"(?:results?|match(?:es)?|files?|data|records?|rows?|items?|entries|hits|documents?|lines?)"
    r"(?: (?:were |was )?(?:found|returned|available|matched))?(?: (?:for|in|matching) .{0,120})?"
    r"|nothing(?: was)? found(?: for .{0,120})?",
    re.IGNORECASE,
)
_CONTENT: Final = (
    *("results", "result", "items", "data", "matches", "hits", "records", "rows", "files"),
    *("documents", "entries", "output", "content", "list", "values", "response"),
)
_ERROR: Final = re.compile(
    r"(?:\[?(?:tool |mcp |api |http )?error\]?(?::|!| \d{3}\b| calling| executing| while| in )"
    r"|error$|\[error\]|<(?:tool_use_)?error>|fatal: |traceback \(most recent call last\)"
    r"|(?:\w+\.)*\w{1,64}(?:Error|Exception)\b|unhandled |command not found|failed to )",
    re.IGNORECASE,
)
_FAILED: Final = frozenset({"error", "failed", "failure", "fail"})
_NODS: Final = frozenset(
    {
        *("ok", "okay", "true", "false", "yes", "no", "success", "successful", "successfully"),
        *("succeeded", "done", "complete", "completed", "created", "deleted", "removed", "updated"),
        *("saved", "sent", "written", "wrote", "added", "applied", "inserted", "accepted"),
        *("queued", "affected", "available", "scheduled", "edited", "changed", "moved", "copied"),
        *("closed", "opened", "stored", "200", "201", "202", "203", "204"),
    }
)
_NOD_PHRASES: Final = re.compile(
    r"(?:no|without) output|(?:return|exit)[_ ]?(?:code|status)\W{1,4}0\b|exited with code 0\b"
)
_WORDS: Final = re.compile(r"\w+")
_WELL: Final = (
    *("uccess", "ucceeded", "ode 0", 'ode":0', "reated", "pdated", "sent", "aved", "dded"),
    *("eleted", "emoved", "pplied", "nserted", "cheduled", "ubmitted", "ompleted"),
)
"""With or without a capital before it."""
_BADLY: Final = (
    *("not ", "n't ", " no ", "error", "fail", "cannot", "unable", "denied", "invalid", "sorry"),
    *("unknown", "missing", "unavailable", "refused", "forbidden", "try again", "timed out"),
    *("timeout", "limit", "false"),
)
_BARRED: Final = (
    *("expired", "blocked", "rejected", "locked", "disabled", "exhausted", "exceeded", "required"),
    *("suspended", "crashed", "terminated", "aborted", "killed", "disconnected", "unexpected"),
    *("unsupported", "unauthorized", "stopped", "disallowed", "dropped", "throttled", "closed"),
    *("need", "busy", "down", "nothing", "noaccess", "undefined", "unsure"),
)
"""What ends like something done and is not, or says as one word that nothing was."""
_DONE: Final = re.compile(r"[a-z]{2}ed\b")
_STANDING_IN_THE_WAY: Final = _BADLY + _BARRED
_WORD: Final = re.compile(r"[\w=:-]{1,24}[.!]?")
_FEW_WORDS: Final = re.compile(
    rb'\{(?:"\w{1,32}":(?:"[\w.-]{0,24}"|-?\d[\d.]{0,16}|true|false|null),?){1,4}\}'
)
"""An object of one to four words, normalised: white space of any length is gone."""
_TELLING: Final = ("rror", "uccess", '"status', '"ok')
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def outcome_of(text: str, normal: bytes, *, is_error: bool = False) -> int:
    """The flags of a result that says `text`, normalised to `normal`."""
    flags = Flag.ERROR if is_error else Flag.NONE
    start = text[:_SHORT].lstrip()
    if len(text) <= _SHORT and _says_nothing(start.rstrip()):
        return flags | Flag.EMPTY
    if start.startswith("{"):
        return flags | _of_object(text, start, normal)
    if _ERROR.match(start):
        return flags | Flag.ERROR
    return flags | (Flag.BRIEF if _is_brief(text, normal) else Flag.NONE)


def _says_nothing(text: str) -> bool:
    return text.lower() in _NOTHING or _NO_RESULTS.fullmatch(text.rstrip(".!")) is not None


def _is_brief(text: str, normal: bytes) -> bool:
    """A yes, a no or a number; little beside what changes by itself; or a note that all went well.
    Many different calls give the same one rightly: ten files written, fifty mails sent."""
    size = len(normal)
    if size > _BRIEF_BYTES:
        return size <= _NOTE_BYTES and _went_well(text)
    if size <= _SCALAR_BYTES and _is_scalar(normal):
        return True
    lower = text.lower()
    return 0 in normal or _nods(lower) or _reports(lower, normal)


def _nods(text: str) -> bool:
    """By its words: one expression of all of them takes 10 µs for as little as this is asked of."""
    words = _WORDS.findall(text)
    return not _NODS.isdisjoint(words) or (
        ("output" in text or "0" in text) and _NOD_PHRASES.search(text) is not None
    )


def _reports(text: str, normal: bytes) -> bool:
    """Whether so short a text says what was done (`archived`), or gives a verdict (`spam`), and
    nothing that stands in the way: of fifty mails most get the same one."""
    says = (
        ("ed" in text and _DONE.search(text) is not None)
        or _WORD.fullmatch(text.strip()) is not None
        or (normal[:1] == b"{" and _FEW_WORDS.fullmatch(normal) is not None)
    )
    return says and not any(word in text for word in _STANDING_IN_THE_WAY)


def _went_well(text: str) -> bool:
    """Plain searches: an expression takes 20 µs for as much as a note may have, these 2."""
    for word in _WELL:
        if word in text:
            break
    else:
        return False
    lower = text.lower()
    return not any(word in lower for word in _BADLY)


def _is_scalar(normal: bytes) -> bool:
    return normal.replace(b".", b"").replace(b"-", b"").isdigit()


def _of_object(text: str, start: str, normal: bytes) -> int:
    """Of JSON. Only one that may be short of content is read."""
    brief = Flag.BRIEF if _is_brief(text, normal) else Flag.NONE
    if len(text) > 16 * _SHORT:
        return Flag.NONE
    if len(text) > _SHORT and not any(name in start for name in _TELLING):
        return brief
    try:
        members = _MEMBERS.decode(text)
    except (ValueError, RecursionError):
        return brief
    if _failed(members):
        return Flag.ERROR
    return Flag.EMPTY if _is_hollow(members) else brief


def _failed(members: dict[str, msgspec.Raw]) -> bool:
    """Whether an object says that it is an error."""
    for name in ("error", "errors", "exception"):
        if name in members and bytes(members[name]).lower() not in _UNTOLD:
            return True
    for name in ("success", "ok"):
        if name in members and bytes(members[name]) == b"false":
            return True
    status = bytes(members.get("status", b"")).strip(b'"').decode("utf-8", "replace").lower()
    return status in _FAILED or bytes(members.get("isError", b"")) == b"true"


_UNTOLD: Final = frozenset({b"null", b"false", b'""', b"[]", b"{}", b"0", b'"none"'})
_VOID: Final = frozenset({b"[]", b"{}", b'""', b"null"})
_COUNTS: Final = frozenset({"total", "count", "total_count", "num_results", "totalcount", "size"})
_SAYS_OK: Final = frozenset({"ok", "success", "status"})
_ABOUT: Final = _SAYS_OK | {"query", "page", "limit", "offset", "next"}


def _is_hollow(members: dict[str, msgspec.Raw]) -> bool:
    """Whether an object is a wrapper of nothing: an empty list beside what says how many there are
    or how it was asked. Beside an `ok`, an empty object or text may be all there is to say."""
    lists = others = 0
    for name, value in members.items():
        raw, key = bytes(value).replace(b" ", b""), name.lower()
        if raw == b"[]":
            lists += 1
        elif raw in _VOID:
            others += key in _CONTENT
        elif key not in _ABOUT and not (key in _COUNTS and raw == b"0"):
            return False
    return lists > 0 or (others > 0 and _SAYS_OK.isdisjoint(members))
