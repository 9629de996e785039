"""Splices a decision's changes into the body of a chat or completions request."""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.body import Members
from proxy.core.request import Changes, Request
from proxy.core.splice import splice

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = b"null"


def rewrite(body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]) -> bytes:
    """The body to forward; the same object when nothing changes.

    body: one that `parse` has read. bound_keys: where a bound may stand; it goes under the first if
    the client gave none. A bound is only ever lowered, under each key that is above it.
    """
    if not changes.any:
        return body
    members = _MEMBERS.decode(body)
    edits: dict[str, bytes | None] = {}
    if changes.model is not None and changes.model != request.model:
        edits["model"] = msgspec.json.encode(changes.model)
    if changes.ask_usage and request.stream and not request.include_usage:
        options = _given(members, "stream_options") or b"{}"
        edits["stream_options"] = splice(options, {"include_usage": b"true"})
    if changes.output_bound is not None:
        edits.update(_bounds(members, changes.output_bound, bound_keys))
    return splice(body, edits, members) if edits else body


def _bounds(members: Members, bound: int, keys: Sequence[str]) -> dict[str, bytes]:
    given = {key: value for key in keys if (value := _given(members, key)) is not None}
    if not given:
        return {keys[0]: b"%d" % bound}
    return {key: b"%d" % bound for key, value in given.items() if int(value) > bound}


def _given(members: Members, key: str) -> bytes | None:
    """The raw value of a member, None where it is absent or null."""
    value = bytes(members.get(key, _NULL))
    return None if value == _NULL else value
