"""One spelling for each message, whatever the client and the dialect: what identity is hashed from.

Clients resend history with other key orders, `content` null, "" or absent, arguments re-serialised,
item ids dropped and decoration added (`cache_control`, `refusal: null`, `annotations`, `index`,
`provider_specific_fields`). None of that is in a digest, because a digest is made of what is said:
role, text, tool calls, tool result, attachments. Digests are persisted: changing what goes in
orphans the sessions of every store.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import isfinite

import msgspec
import xxhash

from proxy.core.request import Role
from proxy.core.usage import ToolCall

_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RAW_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ENCODER = msgspec.msgpack.Encoder()
_spell = msgspec.json.Encoder(order="deterministic").encode
_encode = _ENCODER.encode
_digest = xxhash.xxh3_128_digest
_EXACT_FLOAT = 2**53
_ARGUMENTS_CHARACTERS = 262_144
_QUOTE = ord('"')
_BRACE = ord("{")
# Brackets as signed steps of depth (\x01 is +1, \xff is -1); of all else only quotes stay.
_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))
_STRING = re.compile(rb'"[^"]*"')


def message_digest(
    role: Role,
    text: str = "",
    tool_calls: Sequence[ToolCall] = (),
    *,
    tool_result_id: str | None = None,
    attachments: Iterable[bytes] = (),
) -> bytes:
    """16 bytes over what a message says; equal in every dialect, process and version.

    text: all text parts joined with "". tool_calls: with arguments as written, canonicalised here.
    attachments: raw JSON of the parts that are not text (image, file, audio), in order.
    """
    calls = [(call.call_id, call.name, canonical_arguments(call.arguments)) for call in tool_calls]
    parts = [digest(_undecorated(part)) for part in attachments]
    said = (role, text.strip(), calls, tool_result_id or "", parts)
    return digest(_ENCODER.encode(said))


def attached_digest(attachments: Sequence[bytes]) -> bytes:
    """16 bytes over the raw JSON of parts that are not text; b"" where there are none."""
    return digest(b"".join([_undecorated(part) for part in attachments])) if attachments else b""


def digest(content: bytes) -> bytes:
    """16 bytes, the same in every process. Not cryptographic: compare only inside one tenant."""
    return xxhash.xxh3_128_digest(content)


def canonical_arguments(arguments: str) -> str:
    """JSON with keys sorted and no spaces, numbers by value (1.0 is 1); not JSON, or longer than
    any model writes: stripped."""
    if len(arguments) > _ARGUMENTS_CHARACTERS:
        return arguments.strip()
    try:
        value = _read_arguments(arguments)
    except (ValueError, RecursionError):
        return arguments.strip()
    return _spell(value).decode()


def said_digest(
    role: Role, text: str, calls: Sequence[tuple[str, str, str]], tool_result_id: str
) -> bytes:
    """The `message_digest` of a message without attachments, its calls' arguments canonical."""
    return _digest(_encode((role, text.strip(), calls, tool_result_id, ())))


def parts_nest_deeper(parts: Iterable[msgspec.Raw | bytes], limit: int, peel: int = 4) -> bool:
    """Whether any of these pieces of JSON nests deeper than `limit`; none begins with a space.

    What is not JSON may be either: its decoder will say. Deeper than the interpreter's recursion
    limit (1000) counts as too deep for any `limit`.
    What has no more brackets than that, in texts or not, nests no deeper: that settles most. A
    large part with more is taken apart, up to `peel` times, since most of it is text; what is large
    even then is scanned for brackets outside strings.
    """
    for part in parts:
        raw = bytes(part)
        if len(raw) > 2 * limit and raw[0] != _QUOTE and _deeper(raw, limit, peel):
            return True
    return False


def _deeper(raw: bytes, limit: int, peel: int) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    if not peel or limit < 2:
        return _nesting(raw) > limit
    try:
        levels, parts = _take_apart(raw)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return True
    return parts_nest_deeper(parts, limit - levels, peel - 1)


def _take_apart(raw: bytes) -> tuple[int, Iterable[msgspec.Raw]]:
    if raw[0] == _BRACE:
        return 1, _RAW_OBJECT.decode(raw).values()
    try:
        return 2, [part for item in _RAW_OBJECTS.decode(raw) for part in item.values()]
    except msgspec.ValidationError:
        return 1, _RAW_LIST.decode(raw)


def _nesting(raw: bytes) -> int:
    """Depth of JSON in linear time: strings out, brackets to signed steps, the highest sum."""
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_STEPS, _NOT_STRUCTURE)
    steps = _STRING.sub(b"", bare.replace(b'""', b""))
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def _undecorated(part: bytes) -> bytes:
    """A content part without its cache marker, which clients move from message to message."""
    if b"cache_control" not in part:
        return part
    members = _RAW_OBJECT.decode(part)
    members.pop("cache_control", None)
    return msgspec.json.encode(members, order="deterministic")


def _number(text: str) -> int | float | str:
    """As a client that re-serialises would write it; what no float can hold stays text."""
    value = float(text)
    if not isfinite(value):
        return text
    return int(value) if value.is_integer() and abs(value) < _EXACT_FLOAT else value


_read_arguments = msgspec.json.Decoder(float_hook=_number).decode
