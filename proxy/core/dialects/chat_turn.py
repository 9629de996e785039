"""Puts the deltas of a chat stream together to the message that a client would make of them."""

from collections.abc import Mapping

from proxy.core.dialects.pieces import Text

_SAID_ONCE = frozenset({"role", "type", "id", "index", "name", "format", "object"})
"""What some providers say again with every delta: nothing is added to it."""


def merge(into: dict[str, object], delta: Mapping[str, object]) -> None:
    """Adds a delta: texts are joined, objects merged, entries of lists by their `index`."""
    for key, value in delta.items():
        known = into.get(key)
        if known is None or known == "":
            into[key] = _own(value)
        elif value is not None and key not in _SAID_ONCE:
            into[key] = _merged(known, value)


def _merged(known: object, value: object) -> object:
    if isinstance(value, str) and isinstance(known, str | Text):
        text = Text(known) if isinstance(known, str) else known
        text.add(value)
        return text
    if isinstance(known, dict) and isinstance(value, dict):
        merge(known, value)
        return known
    if isinstance(known, list) or isinstance(value, list):
        return _joined(_parts(known), _parts(value))
    return value


def _joined(known: list[object], new: list[object]) -> list[object]:
    """Content parts (Mistral) come one after another; reasoning details (OpenRouter) by index."""
    for part in new:
        begun = _begun(known, part) if isinstance(part, dict) else None
        if begun is None or not isinstance(part, dict):
            known.append(_own(part))
        else:
            merge(begun, part)
    return known


def _begun(known: list[object], part: Mapping[str, object]) -> dict[str, object] | None:
    """The entry that a part goes on with: the newest of its index, if it is of its type."""
    index = part.get("index")
    if isinstance(index, int):
        for one in reversed(known):
            if isinstance(one, dict) and one.get("index") == index:
                return one if one.get("type") == part.get("type") else None
    return None


def _parts(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [{"type": "text", "text": value}] if value else []


def _own(value: object) -> object:
    if isinstance(value, dict):
        copy: dict[str, object] = {}
        merge(copy, value)
        return copy
    return _joined([], value) if isinstance(value, list) else value
