"""The results of tool calls in a request's body, as it writes them."""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from proxy.core.effects import LOOKED_BACK

_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])


class Part(msgspec.Struct):
    """A message, an item or a block, as far as it may be a result or hold some."""

    type: str = ""
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    tool_call_id: str | None = None
    tool_use_id: str | None = None
    call_id: str | None = None


Results = Iterator[tuple[str, msgspec.Raw]]
"""By call id, in order."""
_PART = msgspec.json.Decoder(Part)


def contents_of(
    body: bytes, key: str, results_in: Callable[[Part], Results]
) -> Mapping[str, bytes]:
    """By call id, the newest of each id; without those that are nothing but a text. key: of the
    history. results_in: of one part of it."""
    found: dict[str, bytes] = {}
    try:
        for part in parts_in(_BODY.decode(body).get(key, msgspec.Raw())):
            for call_id, content in results_in(part):
                found[call_id] = bytes(content)
    except (ValueError, RecursionError):
        return {}
    return {call_id: content for call_id, content in found.items() if content[:1] in b"[{"}


def parts_in(listed: msgspec.Raw) -> Iterator[Part]:
    """Raises ValueError or RecursionError."""
    if bytes(listed)[:1] != b"[":
        return
    for raw in _PARTS.decode(listed)[-LOOKED_BACK:]:
        yield _PART.decode(raw)
