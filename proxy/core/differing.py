"""What two recorded requests differ in: message by message, tool by tool, parameter by parameter.

Theory of operation. Of a conversation that goes on, nearly all is the same at the beginning, and
often at the end: both are taken off first. What is between is matched by its longest common part,
where that is not too much work; what is left over on both sides at one place is one message that
was changed, as far as the roles are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal

import msgspec

from proxy.core.request import DialectName
from proxy.errors import MalformedRequest

Kind = Literal["added", "removed", "changed"]

_LISTS: Mapping[DialectName, str] = {
    "chat": "messages",
    "messages": "messages",
    "responses": "input",
    "completions": "prompt",
    "embeddings": "input",
}
_TOOLS = "tools"
_MOST_COMPARED = 60_000
"""Pairs of messages; of more, all of the one are gone and all of the other are new."""
_MOST_PATHS = 32

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder()
_encode = msgspec.json.Encoder(order="deterministic").encode


class Sent(msgspec.Struct, frozen=True):
    """A request as it was sent."""

    dialect: DialectName
    body: bytes


class Changed(msgspec.Struct, frozen=True):
    """One message that differs. was, at: its place in the earlier list and in the later, from 0;
    None where it is not there. before, after: its JSON, b"" where it is not there. paths: where the
    two differ, at most 32 (`content[0].cache_control`)."""

    kind: Kind
    was: int | None
    at: int | None
    before: bytes = b""
    after: bytes = b""
    paths: tuple[str, ...] = ()


class Setting(msgspec.Struct, frozen=True):
    """A parameter or an offered tool that differs."""

    kind: Kind
    name: str
    before: bytes = b""
    after: bytes = b""


class Difference(msgspec.Struct, frozen=True):
    """same: messages that both have. messages: in the order of the conversation."""

    same: int
    messages: tuple[Changed, ...]
    tools: tuple[Setting, ...]
    parameters: tuple[Setting, ...]


def difference(before: Sent, after: Sent) -> Difference:
    """From the one request to the other. Spelling (spaces, order of keys, escapes) is none.

    Raises MalformedRequest for a body that is no JSON object.
    """
    one, other = _members(before), _members(after)
    old, new = _parts(one, _LISTS[before.dialect]), _parts(other, _LISTS[after.dialect])
    messages, same = _between(old, new)
    dialects = _settings(
        {"(dialect)": _encode(before.dialect)}, {"(dialect)": _encode(after.dialect)}
    )
    tools = _settings(_tools(one), _tools(other))
    apart = {_TOOLS, _LISTS[before.dialect], _LISTS[after.dialect]}
    parameters = _settings(_others(one, apart), _others(other, apart))
    return Difference(same, messages, tools, (*dialects, *parameters))


def _members(sent: Sent) -> Mapping[str, msgspec.Raw]:
    try:
        return _OBJECT.decode(sent.body)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the recorded body is no JSON object") from error


def _parts(members: Mapping[str, msgspec.Raw], name: str) -> Sequence[bytes]:
    """The messages, items or prompts; one that is no list is its only one."""
    raw = bytes(members.get(name, b""))
    if raw in (b"", b"null"):
        return ()
    return [bytes(part) for part in _LIST.decode(raw)] if raw.startswith(b"[") else [raw]


def _between(old: Sequence[bytes], new: Sequence[bytes]) -> tuple[tuple[Changed, ...], int]:
    """What differs, and how many messages are the same."""
    was, now = [_spelled(part) for part in old], [_spelled(part) for part in new]
    least, head = min(len(was), len(now)), 0
    while head < least and was[head] == now[head]:
        head += 1
    tail = 0
    while tail < least - head and was[-1 - tail] == now[-1 - tail]:
        tail += 1
    changed, common = list[Changed](), 0
    for kind, start, end, first, last in _blocks(was, now, head, tail):
        if kind == "equal":
            common += end - start
        else:
            changed += _block(old, new, range(start, end), range(first, last))
    return tuple(changed), head + common + tail


_Block = tuple[str, int, int, int, int]


def _blocks(was: Sequence[bytes], now: Sequence[bytes], head: int, tail: int) -> Iterator[_Block]:
    end, last = len(was) - tail, len(now) - tail
    if (end - head) * (last - head) > _MOST_COMPARED:
        yield "replace", head, end, head, last
        return
    matcher = SequenceMatcher(None, was[head:end], now[head:last], autojunk=False)
    for kind, start, stop, first, upto in matcher.get_opcodes():
        yield kind, head + start, head + stop, head + first, head + upto


def _block(
    old: Sequence[bytes], new: Sequence[bytes], gone: range, come: range
) -> Iterator[Changed]:
    """What stood at one place and what stands there now, pair by pair while the roles agree."""
    pairs = 0
    for at, to in zip(gone, come, strict=False):
        before, after = old[at], new[to]
        if _role(before) != _role(after):
            break
        pairs += 1
        yield Changed("changed", at, to, before, after, _paths(before, after))
    for at in gone[pairs:]:
        yield Changed("removed", at, None, before=old[at])
    for to in come[pairs:]:
        yield Changed("added", None, to, after=new[to])


def _tools(members: Mapping[str, msgspec.Raw]) -> dict[str, bytes]:
    """By name; a second one of a name has its number beside it."""
    found: dict[str, bytes] = {}
    for part in _parts(members, _TOOLS):
        base = name = _tool_name(_value(part))
        number = 1
        while name in found:
            number += 1
            name = f"{base} ({number})"
        found[name] = part
    return found


def _tool_name(tool: object) -> str:
    if not isinstance(tool, dict):
        return "?"
    function = tool.get("function")
    named = function if isinstance(function, dict) else tool
    for key in ("name", "server_label", "type"):
        if isinstance(name := named.get(key), str):
            return name
    return "?"


def _others(members: Mapping[str, msgspec.Raw], apart: set[str]) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in members.items() if name not in apart}


def _settings(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> tuple[Setting, ...]:
    found = []
    for name in {**old, **new}:
        before, after = old.get(name, b""), new.get(name, b"")
        if not before:
            found.append(Setting("added", name, after=after))
        elif not after:
            found.append(Setting("removed", name, before=before))
        elif _spelled(before) != _spelled(after):
            found.append(Setting("changed", name, before, after))
    return tuple(found)


def _paths(before: bytes, after: bytes) -> tuple[str, ...]:
    """None where it is too deep to be walked."""
    try:
        return tuple(islice(_differing(_value(before), _value(after), ""), _MOST_PATHS))
    except RecursionError:
        return ()


def _differing(one: object, other: object, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key in one and key in other:
                yield from _differing(one[key], other[key], f"{path}.{key}" if path else key)
            else:
                yield f"{path}.{key}" if path else key
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differing(mine, theirs, f"{path}[{at}]")
    elif path and (one != other or type(one) is not type(other)):
        yield path


def _role(part: bytes) -> object:
    """Who speaks in it; of an item without a role, what it is."""
    value = _value(part)
    return value.get("role") or value.get("type") if isinstance(value, dict) else None


def _spelled(part: bytes) -> bytes:
    """The same for two spellings of one value. (What could be decoded, one call deeper in, can be
    encoded.)"""
    return _encode(_value(part))


def _value(part: bytes) -> object:
    """What cannot be read (a number out of range, or too deep) is compared as it is written."""
    try:
        value: object = _VALUE.decode(part)
    except (ValueError, RecursionError):
        return part.decode(errors="replace")
    return value
