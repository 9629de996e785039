"""Splices a decision's changes into the body of a chat or completions request."""

from collections.abc import Sequence

import msgspec

from proxy.core.request import Changes, Request
from proxy.core.splice import may_contain, members, splice

_NULL = b"null"


def rewrite(body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]) -> bytes:
    """The body to forward; the same object when nothing changes.

    bound_keys: where a bound may stand; it goes under the first if the client gave none. A bound is
    only ever lowered, under each key that is above it.
    """
    edits: dict[str, bytes | None] = {}
    if changes.model is not None and changes.model != request.model:
        edits["model"] = msgspec.json.encode(changes.model)
    if changes.ask_usage and request.stream and not request.include_usage:
        options = _value(body, "stream_options")
        edits["stream_options"] = splice(options or b"{}", {"include_usage": b"true"})
    if changes.output_bound is not None:
        edits.update(_bounds(body, changes.output_bound, bound_keys))
    return splice(body, edits) if edits else body


def _bounds(body: bytes, bound: int, keys: Sequence[str]) -> dict[str, bytes | None]:
    given = {key: value for key in keys if (value := _value(body, key)) is not None}
    if not given:
        return {keys[0]: b"%d" % bound}
    return {key: b"%d" % bound for key, value in given.items() if int(value) > bound}


def _value(body: bytes, key: str) -> bytes | None:
    """The raw value of a top-level key, None where it is absent or null."""
    for member in members(body) if may_contain(body, (key,)) else ():
        if member.key == key:
            value = body[member.value_start : member.value_end]
            return None if value == _NULL else value
    return None
