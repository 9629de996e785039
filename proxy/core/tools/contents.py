"""The results of tool calls in a request's body, as its dialect writes them."""

from collections.abc import Iterator, Mapping

import msgspec

from proxy.core.request import DialectName

_LOOKED_BACK = 512
_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class _Item(msgspec.Struct):
    """A message, an item or a block, as far as it may be a result or hold some."""

    type: str = ""
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    tool_call_id: str | None = None
    tool_use_id: str | None = None
    call_id: str | None = None


_ITEM = msgspec.json.Decoder(_Item)


def result_contents(dialect: DialectName, body: bytes) -> Mapping[str, bytes]:
    """By call id, the newest of each id; without those that are nothing but a text."""
    found: dict[str, bytes] = {}
    try:
        members = _BODY.decode(body)
        listed = members.get("input" if dialect == "responses" else "messages", msgspec.Raw(b"[]"))
        for item in _items(listed):
            for call_id, content in _results(item):
                found[call_id] = bytes(content)
    except (ValueError, RecursionError):
        return {}
    return {call_id: content for call_id, content in found.items() if content[:1] in b"[{"}


def _items(listed: msgspec.Raw) -> Iterator[_Item]:
    if bytes(listed)[:1] != b"[":
        return
    for raw in _ITEMS.decode(listed)[-_LOOKED_BACK:]:
        yield _ITEM.decode(raw)


def _results(item: _Item) -> Iterator[tuple[str, msgspec.Raw]]:
    if item.tool_call_id is not None and item.role == "tool":
        yield item.tool_call_id, item.content
    elif item.call_id is not None and item.type.endswith("_output"):
        yield item.call_id, item.output
    elif item.role == "user" and not item.type:
        for block in _items(item.content):
            if block.tool_use_id is not None:
                yield block.tool_use_id, block.content
