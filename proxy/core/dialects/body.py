"""The front part of every `parse`: from hostile bytes to typed members, or a refusal by name.

What is refused here never reaches a provider, costs nothing, and names the parameter at fault.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import NoReturn, TypeVar, cast

import msgspec
import xxhash

from proxy.core.canonical import digest, parts_nest_deeper
from proxy.core.dialects.base import Bounds
from proxy.core.splice import Member
from proxy.core.splice import members as places_of
from proxy.errors import MalformedRequest

Members = Mapping[str, msgspec.Raw]
T = TypeVar("T")

MAX_COUNT = 2**31 - 1
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
TEXT = msgspec.json.Decoder(str)
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
_NULL = msgspec.Raw(b"null")
_FEW_BYTES = 65_536
"""No body of this size holds more members than are decoded in a millisecond."""


class _Key(str):
    """A key of a class of its own is shown to msgspec's hook as it is met."""

    __slots__ = ()


_MET = cast(type[dict[str, msgspec.Raw]], dict[_Key, msgspec.Raw])


class Body(msgspec.Struct, frozen=True):
    """A body taken apart: its top-level members, and where each of them is, repeated ones too."""

    whole: bytes
    members: Members
    places: tuple[Member, ...]


def refuse(message: str, param: str | None = None) -> NoReturn:
    """Raises MalformedRequest with the parameter at the head of its message."""
    raise MalformedRequest(f"{param}: {message}" if param else message, param=param)


def read_body(
    body: bytes, bounds: Bounds, governed: Collection[str], apart: Collection[str] = ()
) -> Body:
    """Takes a body apart. Raises MalformedRequest.

    governed: keys that a decision is made on; given twice, or in another case, we and the provider
    could read different ones (Go's JSON takes MODEL for model), so that is refused. apart: keys
    whose depth is left to who reads their parts.
    """
    refuse_many_values(body, bounds.values)
    try:
        if not body.isascii():
            body.decode()
        decoded = _decoded(body, bounds.members)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(_unreadable(body, error)) from error
    found = places_of(body, decoded, bounds.members)
    if len(found) > bounds.members:
        refuse(f"the body has more than {bounds.members} members")
    if len(found) > len(decoded):
        _refuse_twice(found, governed)
    _refuse_respelt(decoded, governed)
    _refuse_large(found, decoded, bounds, apart)
    return Body(body, decoded, tuple(found))


def _refuse_large(
    found: Iterable[Member], decoded: Members, bounds: Bounds, apart: Collection[str]
) -> None:
    harmless = min(2 * (bounds.json_depth - 1), _SMALL_BYTES)  # too little to nest too deeply
    for place in found:
        size = place.value_end - place.value_start
        if size > harmless:
            if size > _SMALL_BYTES and place.key in _SMALL:
                refuse(f"expected at most {_SMALL_BYTES} bytes", place.key)
            if place.key not in apart:
                refuse_deep((decoded[place.key],), bounds, 1)


def _refuse_twice(found: Iterable[Member], governed: Collection[str]) -> None:
    keys = [place.key for place in found]
    if twice := [key for key in governed if keys.count(key) > 1]:
        refuse("is given twice", twice[0])


def _refuse_respelt(keys: Iterable[str], governed: Collection[str]) -> None:
    for key in keys:
        if not (key.isascii() and key.islower()) and key.casefold() in governed:
            refuse("is a parameter in another case; send it as it is spelt", key.casefold())


def refuse_deep(parts: Iterable[msgspec.Raw | bytes], bounds: Bounds, levels: int) -> None:
    """Raises MalformedRequest for a part that nests too deeply, `levels` deep in the body."""
    if parts_nest_deeper(parts, bounds.json_depth - levels):
        refuse(f"the body nests deeper than {bounds.json_depth} levels")


def refuse_many_values(body: bytes, most: int) -> None:
    """Raises MalformedRequest. Every mark is a byte: most bodies need not be counted."""
    if len(body) > most and sum(map(body.count, _MARKS)) > most:
        refuse(f"the body has more than {most} values")


def _decoded(body: bytes, most: int) -> Members:
    """The members; of a large body they are counted as they are met, for msgspec would take a
    minute for a million before it said how many there are."""
    if len(body) <= _FEW_BYTES:
        return _MEMBERS.decode(body)
    met = count(1)

    def meet(_: type, key: object) -> _Key:
        if next(met) > most:
            refuse(f"the body has more than {most} members")
        return _Key(str(key))

    decoded = msgspec.json.Decoder(_MET, dec_hook=meet).decode(body)
    return {str(key): raw for key, raw in decoded.items()}


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


def given(members: Members, key: str) -> msgspec.Raw | None:
    """One member as it was sent, None where it is absent or null."""
    raw = members.get(key)
    return None if raw is None or raw == _NULL else raw


def read(members: Members, key: str, decoder: msgspec.json.Decoder[T], expected: str) -> T | None:
    """One member, None where it is absent or null. Raises MalformedRequest: `key: expected …`."""
    raw = given(members, key)
    return None if raw is None else read_raw(raw, key, decoder, expected)


def read_raw(
    raw: msgspec.Raw | bytes, param: str, decoder: msgspec.json.Decoder[T], expected: str
) -> T:
    """A value that must be there. Raises MalformedRequest: `param: expected …`."""
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{param}: expected {expected}", param=param) from error


def read_text(members: Members, key: str) -> str | None:
    return read(members, key, TEXT, "a string")


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
    hints = {key: value for key in _HINTS if key in members and (value := _scalar(members[key]))}
    for key in _HINT_OBJECTS:
        if key in members:
            for inner, raw in islice(_object(members[key]).items(), _HINTS_PER_OBJECT):
                if value := _scalar(raw):
                    hints[f"{key}.{inner}"] = value
    return hints


def prompt_bytes(places: Iterable[Member], keys: Collection[str]) -> int:
    """Size of the members that a provider tokenises."""
    sizes = [place.value_end - place.value_start for place in places if place.key in keys]
    return sum(sizes)


def is_steady(places: Iterable[Member]) -> bool:
    """Whether a retry of such a body is the same, byte by byte."""
    return _PER_ATTEMPT.isdisjoint([place.key for place in places])


def body_digest(whole: bytes, places: Sequence[Member]) -> bytes:
    """16 bytes that an SDK's retry shares with its first attempt, streamed or not: of the body as
    its serialiser would write it without what says that."""
    if is_steady(places):
        return digest(whole)
    view, kept = memoryview(whole), xxhash.xxh3_128(whole[: places[0].key_start])
    first = True
    for at, place in enumerate(places):
        if place.key not in _PER_ATTEMPT:
            since = place.key_start if first else places[at - 1].value_end
            kept.update(view[since : place.value_end])
            first = False
    kept.update(view[places[-1].value_end :])
    return kept.digest()


def _object(raw: msgspec.Raw) -> Members:
    if len(memoryview(raw)) > _HINT_OBJECT_BYTES:
        return {}
    try:
        return _MEMBERS.decode(raw)
    except (ValueError, RecursionError):
        return {}


def _scalar(raw: msgspec.Raw) -> str:
    if len(memoryview(raw)) > _HINT_BYTES:
        return ""
    try:
        value = _SCALAR.decode(raw)
    except (ValueError, RecursionError):
        return ""
    return value if isinstance(value, str) else bytes(raw).decode()
