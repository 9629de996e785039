"""What a request target says: the session in its prefix, and the path that a provider knows.

Whatever two servers could read differently (escapes, dot segments, another case) is refused, never
repaired: a governed path must not reach a provider under a spelling that is not governed here.
"""

import re
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from proxy.errors import MalformedRequest

_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_PLAIN = re.compile(r"[a-z0-9_/-]*")
_UNSAFE = re.compile(
    r"[^!-~]|[\\#;]"
    # What is no escape, is not ASCII, or once unescaped (by whoever, and how often) parts a path.
    r"|%(?![2-7][0-9a-f])|%2[35ef]|%3[bf]|%5c|%7f"
    # Dots, with spaces around them for who strips those.
    r"|^(\.|%20)+$",
    re.IGNORECASE | re.ASCII,
)
_KNOWN_CHARACTERS = 256
"""Agents send the same few targets: shorter ones are remembered."""
_SLASH = re.compile("%2f", re.IGNORECASE)
_UNIDENTIFIABLE = frozenset({".", "..", "v1"})
_GOVERNED_HEADS = frozenset({"chat", "completions", "responses", "messages", "embeddings"})
_HEADS = _GOVERNED_HEADS | {
    *("models", "files", "uploads", "batches", "images", "audio", "moderations"),
    *("conversations", "vector_stores", "fine_tuning", "assistants", "threads"),
    *("realtime", "holdfast"),
}


class PathParts(msgspec.Struct, frozen=True):
    """A target taken apart. rest: normalised path with the query as it was sent."""

    rest: str
    session: str | None = None
    parent: str | None = None
    agent: str | None = None
    resume: bool = False


def is_session_id(value: str) -> bool:
    """Whether `value` can name a session or an agent as it stands (SPEC 2)."""
    return _ID.fullmatch(value) is not None and value not in _UNIDENTIFIABLE


def checked_id(value: str, where: str) -> str:
    """`value` where it can name a session or an agent. Raises MalformedRequest."""
    if not is_session_id(value):
        message = (
            f"{where}: {value[:32]!r} cannot be an id (allowed: 1 to 128 of A-Za-z0-9._:@-, "
            "but not '.', '..' or 'v1')"
        )
        raise MalformedRequest(message, param=where)
    return value


def split_path(target: str) -> PathParts:
    """Takes the prefix off a request target and normalises the rest. Raises MalformedRequest.

    `/v1/v1/…` becomes `/v1/…`, `/chat/completions` gets its `/v1`, repeated slashes become one. An
    empty id (`/s//v1`, an unset variable in a base URL) is refused: it would join all its runs.
    """
    return _split_known(target) if len(target) <= _KNOWN_CHARACTERS else _split(target)


def _split(target: str) -> PathParts:
    path, question, query = _origin_form(target).partition("?")
    if path == "*":
        return PathParts(rest=target)
    parts, rest = _split_prefix(path.lstrip("/").split("/"))
    return replace(parts, rest=_normalised(rest) + question + query)


_split_known = lru_cache(1024)(_split)


def _origin_form(target: str) -> str:
    """The path and query of an absolute-form target, as a forward proxy is sent it (RFC 9112)."""
    if target.startswith("/") or target == "*":
        return target
    scheme, found, rest = target.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise MalformedRequest("the request target is neither a path nor an http URL")
    return "/" + rest.partition("/")[2]


def _split_prefix(segments: list[str]) -> tuple[PathParts, list[str]]:
    """The ids of a prefix, and the segments after it. The PathParts' rest is still empty."""
    match segments:
        case ["a", agent, ("s" | "r") as way, session, *rest]:
            inner, rest = _split_prefix([way, session, *rest])
            return replace(inner, agent=checked_id(agent, "agent in the path")), rest
        case ["a", agent, *rest]:
            return PathParts("", agent=checked_id(agent, "agent in the path")), rest
        case ["r", session, *rest]:
            inner, rest = _split_prefix(["s", session, *rest])
            return replace(inner, resume=True), rest
        case ["s", parent, child, *rest] if child and child != "v1" and child not in _HEADS:
            root, session = _checked_session(parent), _checked_session(child)
            return PathParts("", session=session, parent=root if root != session else None), rest
        case ["s", session, *rest]:
            return PathParts("", session=_checked_session(session)), rest
        case _:
            return PathParts(""), segments


def _checked_session(value: str) -> str:
    return checked_id(value, "session in the path")


def _normalised(segments: list[str]) -> str:
    named = [segment for segment in segments if segment]
    while named[:2] == ["v1", "v1"]:
        del named[0]
    if named and named[0] in _HEADS:
        named.insert(0, "v1")
    head = named[1] if named[:1] == ["v1"] and len(named) > 1 else ""
    path = "/" + "/".join(named)
    if _PLAIN.fullmatch(path) is None:
        _refuse_ambiguous(named, head)
    slash = "/" if segments[-1:] == [""] and named and head not in _GOVERNED_HEADS else ""
    return path + slash


def _refuse_ambiguous(segments: list[str], head: str) -> None:
    """Raises MalformedRequest for what a provider might read as another path than we did.

    Escapes may stand in ids alone; that of a slash only in a model's name, which can hold one.
    """
    for place, segment in enumerate(segments):
        respelt = segment.lower() != segment and segment.lower() in _HEADS | {"v1"}
        escaped = "%" in segment
        parts = _SLASH.split(segment) if head == "models" else (segment,)
        if (
            any(_UNSAFE.search(part) for part in parts)
            or (place < 2 and (respelt or escaped))
            or (head in _GOVERNED_HEADS and escaped)
        ):
            raise MalformedRequest("the path can be read in two ways; send it unescaped and whole")
