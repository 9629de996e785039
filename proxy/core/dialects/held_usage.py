"""Adds up what two streams say they used, where a client sees them as one."""

import msgspec

_VALUE = msgspec.json.Decoder()


def summed(first: bytes, second: bytes) -> bytes:
    """The JSON of both usages together: counts under the same name are added, at any depth; of all
    else the second's stands. The second alone where either cannot be read."""
    try:
        return msgspec.json.encode(_sum(_VALUE.decode(first), _VALUE.decode(second)))
    except (ValueError, RecursionError, OverflowError):
        return second


def _sum(first: object, second: object) -> object:
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            **first,
            **{key: _sum(first.get(key), value) for key, value in second.items()},
        }
    if second is None:
        return first
    if _counts(first) and _counts(second):
        return first + second  # type: ignore[operator] # both are numbers
    return second


def _counts(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
