"""The front part of every `parse`: from hostile bytes to typed members, or a refusal by name.

What is refused here never reaches a provider, costs nothing, and names the parameter at fault.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import NoReturn, TypeVar, cast

import msgspec

from proxy.core.canonical import digest, parts_nest_deeper
from proxy.core.dialects.base import Bounds
from proxy.errors import MalformedRequest

Members = Mapping[str, msgspec.Raw]
T = TypeVar("T")

MAX_COUNT = 2**31 - 1
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool)
_COUNT = msgspec.json.Decoder(int)
_SCALAR = msgspec.json.Decoder(str | int | float)
_HINTS = (
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "conversation",
    "session_id",
    "thread_id",
)
_HINT_OBJECTS = ("metadata", "client_metadata")
_HINT_BYTES = 4096
_HINT_OBJECT_BYTES = 65_536
_HINTS_PER_OBJECT = 64
_SMALL = ("model", "stream_options", "thinking", "previous_response_id", "conversation")
_SMALL_BYTES = 4096
_MODEL_CHARACTERS = 256
_PER_ATTEMPT = frozenset({"stream", "stream_options"})
_MARKS = (b",", b"{", b"[")


class _Key(str):
    """A key of a class of its own is shown to msgspec's hook as it is met."""

    __slots__ = ()


_MET = cast(type[dict[str, msgspec.Raw]], dict[_Key, msgspec.Raw])


def refuse(message: str, param: str | None = None) -> NoReturn:
    """Raises MalformedRequest with the parameter at the head of its message."""
    raise MalformedRequest(f"{param}: {message}" if param else message, param=param)


def read_members(body: bytes, bounds: Bounds, governed: Collection[str]) -> Members:
    """The top-level members of a body. Raises MalformedRequest.

    governed: keys that a decision is made on; given twice, we and the provider could read different
    ones, so that is refused.
    """
    _refuse_many_values(body, bounds.values)
    try:
        if not body.isascii():
            body.decode()
        decoded, keys = _decoded(body, bounds.members)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(_unreadable(body, error)) from error
    if parts_nest_deeper(decoded.values(), bounds.json_depth - 1):
        refuse(f"the body nests deeper than {bounds.json_depth} levels")
    if len(keys) > len(decoded) and (twice := [key for key in governed if keys.count(key) > 1]):
        refuse("is given twice", twice[0])
    for key in _SMALL:
        if key in decoded and len(memoryview(decoded[key])) > _SMALL_BYTES:
            refuse(f"expected at most {_SMALL_BYTES} bytes", key)
    return decoded


def _refuse_many_values(body: bytes, most: int) -> None:
    """Every mark is a byte: most bodies need not be counted."""
    if len(body) > most and sum(map(body.count, _MARKS)) > most:
        refuse(f"the body has more than {most} values")


def _decoded(body: bytes, most: int) -> tuple[Members, list[str]]:
    """The members, and every key as it was met: msgspec keeps only the last of those given twice,
    and would take a minute for a million before it said how many there are."""
    keys: list[str] = []

    def meet(_: type, key: object) -> _Key:
        keys.append(str(key))
        if len(keys) > most:
            refuse(f"the body has more than {most} members")
        return _Key(key)

    return msgspec.json.Decoder(_MET, dec_hook=meet).decode(body), keys


def _unreadable(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty: expected a JSON object"
    match error:
        case UnicodeDecodeError():
            return "the body is not UTF-8"
        case msgspec.ValidationError():
            return "the body is not a JSON object"
        case RecursionError():
            return "the body nests too deeply"
    return f"the body is not JSON: {error}"


def read(members: Members, key: str, decoder: msgspec.json.Decoder[T], expected: str) -> T | None:
    """One member, None where it is absent or null. Raises MalformedRequest: `key: expected …`."""
    raw = members.get(key)
    if raw is None or bytes(raw) == b"null":
        return None
    return read_raw(raw, key, decoder, expected)


def read_raw(
    raw: msgspec.Raw | bytes, param: str, decoder: msgspec.json.Decoder[T], expected: str
) -> T:
    """A value that must be there. Raises MalformedRequest: `param: expected …`."""
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{param}: expected {expected}", param=param) from error


def read_text(members: Members, key: str) -> str | None:
    return read(members, key, _TEXT, "a string")


def read_flag(members: Members, key: str) -> bool:
    """False where absent or null."""
    flag = read(members, key, _FLAG, "true or false")
    return flag is True


def read_count(members: Members, key: str, *, least: int = 1, most: int = MAX_COUNT) -> int | None:
    """An integer in bounds: not a bool, not a float, not NaN, not so large that sums overflow."""
    value = read(members, key, _COUNT, f"an integer from {least} to {most}")
    if value is not None and not least <= value <= most:
        refuse(f"expected an integer from {least} to {most}", key)
    return value


def read_model(members: Members, *, needed: bool = True) -> str:
    """ "" where it is not needed and absent."""
    model = read_text(members, "model") or ""
    if needed and not model:
        refuse("expected the name of a model", "model")
    if len(model) > _MODEL_CHARACTERS:
        refuse(f"expected at most {_MODEL_CHARACTERS} characters", "model")
    return model


def bounded_tools(names: Collection[str], bounds: Bounds) -> tuple[str, ...]:
    """The names of offered tools. Raises MalformedRequest for too many."""
    if len(names) > bounds.tools:
        refuse(f"expected at most {bounds.tools}", "tools")
    return tuple(names)


def read_hints(members: Members) -> dict[str, str]:
    """Fields that may name the session or carry its budget, flattened one level; never refused.

    Values that are no text or number, long ones, and those after the first 64 are left out.
    """
    hints = {key: value for key in _HINTS if (value := _scalar(members.get(key)))}
    for key in _HINT_OBJECTS:
        for inner, raw in islice(_object(members.get(key)).items(), _HINTS_PER_OBJECT):
            value = _scalar(raw)
            if value:
                hints[f"{key}.{inner}"] = value
    return hints


def prompt_bytes(members: Members, keys: Sequence[str]) -> int:
    """Size of the members that a provider tokenises."""
    return sum(len(memoryview(members[key])) for key in keys if key in members)


def body_digest(members: Members) -> bytes:
    """16 bytes that an SDK's retry shares with its first attempt, streamed or not."""
    parts: list[bytes] = []
    for key, raw in members.items():
        if key not in _PER_ATTEMPT:
            parts += (key.encode(), b"\0", bytes(raw), b"\0")
    return digest(b"".join(parts))


def _object(raw: msgspec.Raw | None) -> Members:
    if raw is None or len(memoryview(raw)) > _HINT_OBJECT_BYTES:
        return {}
    try:
        return _MEMBERS.decode(raw)
    except (ValueError, RecursionError):
        return {}


def _scalar(raw: msgspec.Raw | None) -> str:
    if raw is None or len(memoryview(raw)) > _HINT_BYTES:
        return ""
    try:
        value = _SCALAR.decode(raw)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else bytes(raw).decode()
