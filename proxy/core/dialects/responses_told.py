"""Reads the items of a `/v1/responses` request all at once, where they are as most are.

What has a member that is not listed here, or says more than text, calls and results, is left to
`responses_turns`. So all that is taken here is known to be no deeper than `DEPTH`.
"""

import msgspec

from proxy.core.canonical import canonical_arguments, said_digest
from proxy.core.dialects.responses_items import TEXT_TYPES
from proxy.core.request import Element, Frame, Message, Piece, Role
from proxy.core.usage import ToolCall

DEPTH = 8
"""Of a body whose items are of these shapes, at most."""

_Scalar = str | int | float | bool | None
_Flat = dict[str, _Scalar] | None
_NOTHING = Piece()


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    annotations: list[_Flat] | None = None
    logprobs: list[_Flat] | None = None


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    content: str | list[_Part] | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[_Part] | None = None
    status: str | None = None
    phase: str | None = None
    summary: list[_Flat] | None = None
    encrypted_content: str | None = None


_ITEMS = msgspec.json.Decoder(list[_Item])
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


def read_told(written: msgspec.Raw | bytes | memoryview, _: Frame) -> list[Element] | None:
    """What each of these items says, as `read_item` would have it; None where that has to be asked,
    for one is of another shape, or none at all."""
    try:
        items = _ITEMS.decode(written)
    except (ValueError, RecursionError):
        return None
    elements: list[Element] = []
    for item in items:
        element = _call(item) if item.type in _CALLS else _element(item)
        if element is None:
            return None
        elements.append(element)
    return elements


def _call(item: _Item) -> Message:
    written = (item.arguments if item.type == "function_call" else item.input) or ""
    call = ToolCall(item.call_id or item.id or "", item.name or "", written)
    spelled = ((call.call_id, call.name, canonical_arguments(written)),)
    return Message("assistant", "", said_digest("assistant", "", spelled, ""), (call,))


def _element(item: _Item) -> Element | None:
    if item.type in _RESULTS:
        text, result_id = _text(item.output), item.call_id or item.id
        if text is None or result_id is None:
            return None
        return Message("tool", text, said_digest("tool", text, (), result_id), (), result_id)
    if item.type == "reasoning":
        return _NOTHING
    if item.role is None or item.type not in (None, "message"):
        return None
    text = _text(item.content)
    if text is None:
        return None
    role: Role = "system" if item.role in ("system", "developer") else "user"
    role = "assistant" if item.role == "assistant" else role
    return Message(role, text, said_digest(role, text, (), ""))


def _text(content: str | list[_Part] | None) -> str | None:
    """None where something in it is no text."""
    if not isinstance(content, list):
        return content or ""
    for part in content:
        if part.type not in TEXT_TYPES:
            return None
    return "".join([part.text or part.refusal or "" for part in content])
