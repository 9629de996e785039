"""Reads and writes the JSON of requests: what is not looked into stays as it was sent."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from proxy.core.translation.base import Untranslatable

Json = dict[str, object]
Members = dict[str, msgspec.Raw]
T = TypeVar("T")

ABSENT = msgspec.Raw()
_MEMBERS = msgspec.json.Decoder(Members)
_NULLS = (b"", b"null")


def members_of(raw: bytes | msgspec.Raw) -> Members:
    """The members of an object but for those that are null. Raises ValueError for what is none."""
    return {key: value for key, value in _MEMBERS.decode(raw).items() if bytes(value) != b"null"}


def is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in _NULLS


def value(raw: msgspec.Raw, kind: type[T]) -> T:
    """A value of this type. Raises ValueError."""
    return msgspec.json.decode(raw, type=kind)


def encoded(told: object) -> bytes:
    """Raises ValueError where a text is none (half of a surrogate pair)."""
    return msgspec.json.encode(told)


def translated(read: Callable[[], bytes]) -> bytes:
    """What `read` makes of a request. Raises Untranslatable, and nothing else."""
    try:
        return read()
    except (ValueError, RecursionError) as error:
        told = str(error) or "it nests too deeply"
        raise Untranslatable(f"The request cannot be read: {told[:200]}.") from error
