"""What a `/v1/responses` request offers the model to call, and how less of it is offered."""

from collections.abc import Collection

from proxy.core.dialects.offering import Fewer, fewer
from proxy.core.dialects.responses_items import ITEM
from proxy.core.dialects.responses_turns import TOOL, TOOLS, name_of, tool_names
from proxy.core.edits import Draft, Edit, Span, fields_of, parts_of, without
from proxy.core.request import Request

_NONE, _AUTO = b'"none"', b'"auto"'
_LATER = "additional_tools"
_NO_TOOLS = (b"", b"null")


def withhold(draft: Draft, request: Request) -> None:
    """The model may call nothing, not even what the provider runs by itself. The tools stay where
    they are: they are the beginning of what the provider has cached. A stored prompt may bring some
    that are not seen here."""
    if request.offered_tools or draft.value("prompt") is not None:
        draft.members["tool_choice"] = _NONE


def take_off(draft: Draft, request: Request, names: Collection[str]) -> None:
    """Tools of these names are not offered, neither at once nor by an item of the input, and a
    choice that asks for one leaves it to the model. Where no other would be left they stay, and may
    not be called: an offer of none is refused by some."""
    tools = draft.span("tools")
    edits, left = ([], False) if tools is None else _fewer(draft.body, tools, names)
    offered = draft.value("tools")
    at_once = 0 if offered is None else len(list(tool_names(TOOLS.decode(offered))))
    if len(request.offered_tools) > at_once:
        later, left_later = _fewer_later(draft, names)
        edits, left = edits + later, left or left_later
    if edits and not left:
        draft.members["tool_choice"] = _NONE
    elif edits:
        draft.edits += edits
        _choose_others(draft, names)


def _fewer(body: bytes, offered: Span, names: Collection[str]) -> Fewer:
    """As `fewer`; a namespace is nothing without its tools."""
    parts = parts_of(body, offered)
    edits: list[Edit] = []
    dropped: list[int] = []
    for at, part in enumerate(parts):
        tool = TOOL.decode(body[part.start : part.end])
        if tool.type != "namespace":
            dropped += [at] if name_of(tool) in names else []
        elif tool.tools:
            inner, left = _fewer(body, fields_of(body, part)["tools"], names)
            edits += inner if left else []
            dropped += [] if left else [at]
    return [*edits, *without(parts, dropped)], len(dropped) < len(parts)


def _fewer_later(draft: Draft, names: Collection[str]) -> Fewer:
    """The same of what items of the input offer; one that offers nothing goes."""
    body, listed = draft.body, draft.span("input")
    assert listed is not None, "what is offered later is offered by items"
    parts = parts_of(body, listed)
    edits: list[Edit] = []
    emptied: list[int] = []
    left = False
    for at, part in enumerate(parts):
        item = ITEM.decode(body[part.start : part.end])
        if item.type == _LATER and bytes(item.tools) not in _NO_TOOLS:
            inner, any_left = _fewer(body, fields_of(body, part)["tools"], names)
            left = left or any_left
            edits += inner if any_left else []
            emptied += [at] if inner and not any_left else []
    return [*edits, *without(parts, emptied)], left


def _choose_others(draft: Draft, names: Collection[str]) -> None:
    body, chosen = draft.body, draft.span("tool_choice")
    if chosen is None or not body.startswith(b"{", chosen.start):
        return

    def is_off(raw: bytes) -> bool:
        """A server's tool is off with its server."""
        named = TOOL.decode(raw)
        return name_of(named) in names or named.server_label in names

    if TOOL.decode(body[chosen.start : chosen.end]).type != "allowed_tools":
        draft.members |= {"tool_choice": _AUTO} if is_off(body[chosen.start : chosen.end]) else {}
    elif (tools := fields_of(body, chosen).get("tools")) and body.startswith(b"[", tools.start):
        edits, left = fewer(body, tools, is_off)
        draft.edits += edits if left else []
        draft.members |= {"tool_choice": _NONE} if edits and not left else {}
