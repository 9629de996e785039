"""Splices a decision's changes into the body of a chat or completions request."""

from collections.abc import Sequence

import msgspec

from proxy.core.request import Changes, Request
from proxy.core.splice import raw_value, splice


def rewrite(body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]) -> bytes:
    """The body to forward; the same object when nothing changes.

    body: the one that `request` was parsed from. bound_keys: where a bound may stand; it goes under
    the first if the client gave none. A bound is only ever lowered, under each key that is above.
    """
    edits: dict[str, bytes | None] = {}
    if changes.model is not None and changes.model != request.model:
        edits["model"] = msgspec.json.encode(changes.model)
    if changes.ask_usage and request.stream and not request.include_usage:
        options = raw_value(body, request.places, "stream_options")
        edits["stream_options"] = (
            splice(options, {"include_usage": b"true"}) if options else b'{"include_usage":true}'
        )
    if changes.output_bound is not None:
        edits.update(_bounds(body, request, changes.output_bound, bound_keys))
    return splice(body, edits, request.places) if edits else body


def _bounds(body: bytes, request: Request, bound: int, keys: Sequence[str]) -> dict[str, bytes]:
    if request.output_bound is None:
        return {keys[0]: b"%d" % bound}
    given = [(key, raw_value(body, request.places, key)) for key in keys]
    return {key: b"%d" % bound for key, value in given if value is not None and int(value) > bound}
