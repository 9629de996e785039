"""Changes top-level members of a JSON object in its original bytes, and leaves every other byte.

Theory of operation. A top-level scan needs the end of each value. msgspec has found them all in one
fast pass (`dict[str, Raw]`), without saying where; but in order. So the scan walks the members and
checks that the value msgspec found stands where the walk is; only where it does not (a key given
twice: msgspec keeps the last) is the value skipped token by token. Keys are expected as serialisers
write them, and read by a pattern only where they are not.

A search for the key would be no shortcut: it can be spelled with escapes ("max\\u005ftokens"), and
to look for those takes longer than the pass (58 KB: 70 to 270 µs against 30).
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SKIPPED = re.compile(rb'(?:[^"{}\[\]]+|"[^"\\]*(?:\\.[^"\\]*)*")*', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,}\]]+")
_SPACE = re.compile(rb"[ \t\n\r]*")
_KEY = re.compile(rb'[ \t\n\r]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_BLANK = ord(" ")
_COMMA = ord(",")
_CLOSING = frozenset(b",}")
_DELIMITERS = frozenset(b", \t\n\r}")


class Member(msgspec.Struct, frozen=True, gc=False):
    """A top-level member: where its key begins, and where its value begins and ends."""

    key: str
    key_start: int
    value_start: int
    value_end: int


def members(
    body: bytes, decoded: Mapping[str, msgspec.Raw] | None = None, most: int | None = None
) -> list[Member]:
    """The top-level members in order, repeated keys included; of more than `most`, one more.

    body: UTF-8 JSON. decoded: its members, where the caller has them already.
    Raises msgspec.DecodeError (or RecursionError) if it is not a JSON object.
    """
    values = _MEMBERS.decode(body) if decoded is None else decoded
    found, at = _as_expected(body, values)
    if at == len(body):
        return found
    while (match := _KEY.match(body, at)) and (most is None or len(found) <= most):
        token = match[1]
        key = msgspec.json.decode(b'"%b"' % token, type=str) if b"\\" in token else token.decode()
        start = match.end()
        end = _value_end(body, start, memoryview(values[key]))
        found.append(Member(key, match.start(1) - 1, start, end))
        at = end if body[end] == _COMMA else _end(_SPACE, body, end)
        at += 1
    return found


def raw_value(body: bytes, found: Sequence[Member], key: str) -> bytes | None:
    """The JSON of a member's value, None where it is absent or null. Of several the last counts."""
    for member in reversed(found):
        if member.key == key:
            value = body[member.value_start : member.value_end]
            return None if value == b"null" else value
    return None


def splice(
    body: bytes, changes: Mapping[str, bytes | None], found: Sequence[Member] | None = None
) -> bytes:
    """`body` with top-level members set to the given JSON (None: removed); new ones come last.

    The same object when nothing changes. found: all `members` of the body, where the caller has
    them already. Same `body` and errors as `members`.
    """
    found = members(body) if found is None else found
    view = memoryview(body)  # most of a large body is one member: it is copied once
    first = found[0].key_start if found else body.index(b"{") + 1
    last = found[-1].value_end if found else first
    pieces: list[bytes | memoryview] = []
    start, end, kept = first, first, False  # what is kept and not yet among the pieces
    for member in found:
        start = start if kept else member.key_start
        value = changes.get(member.key, b"")
        if value is None:
            pieces.append(view[start:end])
            start = member.value_end
            continue
        if value and value != view[member.value_start : member.value_end]:
            pieces += (view[start : member.value_start], value)
            start = member.value_end
        kept, end = True, member.value_end
    new = _new(changes, found)
    if not pieces and not new:
        return body
    comma = b"," if kept and new else b""
    return b"".join((view[:first], *pieces, view[start:end], comma, new, view[last:]))


def _new(changes: Mapping[str, bytes | None], found: Sequence[Member]) -> bytes:
    """The members that `found` does not have."""
    there = {member.key for member in found}
    return b",".join(
        [
            msgspec.json.encode(key) + b":" + value
            for key, value in changes.items()
            if value is not None and key not in there
        ]
    )


def _as_expected(body: bytes, values: Mapping[str, msgspec.Raw]) -> tuple[list[Member], int]:
    """The members as far as they stand as serialisers write them, each key once, and where the next
    one begins."""
    found: list[Member] = []
    at = body.index(b"{") + 1
    for key, raw in values.items():
        key_start = at + (body[at] == _BLANK)
        token = _token(key)
        if not body.startswith(token, key_start):
            break
        start = key_start + len(token)
        start += body[start] == _BLANK
        value = memoryview(raw)
        end = start + len(value)
        if not body.startswith(value, start) or body[end] not in _DELIMITERS:
            break
        found.append(Member(key, key_start, start, end))
        at = end + 1 if body[end] in _CLOSING else _end(_SPACE, body, end) + 1
    return found, at


@lru_cache(1024)
def _token(key: str) -> bytes:
    return msgspec.json.encode(key) + b":"


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    match = pattern.match(body, at)
    return match.end() if match else at


def _value_end(body: bytes, start: int, expected: memoryview) -> int:
    end = start + len(expected)
    if body.startswith(expected, start) and body[end] in _DELIMITERS:
        return end
    if body[start : start + 1] == b'"':
        return _end(_STRING, body, start)
    if body[start : start + 1] not in (b"{", b"["):
        return _end(_SCALAR, body, start)
    return _container_end(body, start)


def _container_end(body: bytes, start: int) -> int:
    depth = 0
    at = start
    while True:
        at = _end(_SKIPPED, body, at) + 1
        depth += 1 if body[at - 1 : at] in (b"{", b"[") else -1
        if depth == 0:
            return at
