"""What a chat request offers the model to call, and how less of it is offered."""

from collections.abc import Callable, Collection

import msgspec

from proxy.core.dialects.offering import fewer
from proxy.core.edits import Draft, fields_of, is_empty

_NONE, _AUTO = b'"none"', b'"auto"'


class Named(msgspec.Struct):
    name: str


class Tool(msgspec.Struct):
    """A tool of `tools`, or what names one in `tool_choice`. One that the provider runs has no name
    but its type."""

    type: str = "function"
    function: Named | None = None
    custom: Named | None = None

    @property
    def name(self) -> str:
        return (self.function or self.custom or Named(self.type)).name


TOOLS = msgspec.json.Decoder(list[Tool])
FUNCTIONS = msgspec.json.Decoder(list[Named])
_Decoder = msgspec.json.Decoder[Named] | msgspec.json.Decoder[Tool]
_OFFERS: tuple[tuple[str, str, _Decoder], ...] = (
    ("tools", "tool_choice", msgspec.json.Decoder(Tool)),
    ("functions", "function_call", msgspec.json.Decoder(Named)),
)
"""Where tools are offered, today and before, and where it is said which may be called."""


def is_custom(draft: Draft, name: str) -> bool:
    """Whether the tool of this name takes a text that is no JSON."""
    offered = draft.value("tools")
    tools = [] if offered is None else TOOLS.decode(offered)
    return any(tool.function is None and tool.custom and tool.name == name for tool in tools)


def withhold(draft: Draft) -> None:
    """The model may call nothing. The tools stay where they are: they are the beginning of what the
    provider has cached. Without any, OpenAI refuses the choice."""
    for offered, choice, _ in _OFFERS:
        span = draft.span(offered)
        if span is not None and not is_empty(draft.body, span):
            draft.members[choice] = _NONE


def take_off(draft: Draft, names: Collection[str]) -> None:
    """Tools of these names are not offered, and a choice that asks for one leaves it to the model.
    Where no other would be left they stay, and may not be called: a list of none is refused."""
    for offered, choice, decoder in _OFFERS:
        span, is_off = draft.span(offered), _named(names, decoder)
        if span is not None:
            edits, left = fewer(draft.body, span, is_off)
            if edits and left:
                draft.edits += edits
                _choose_others(draft, choice, is_off)
            elif edits:
                draft.members[choice] = _NONE


def _named(names: Collection[str], decoder: _Decoder) -> Callable[[bytes], bool]:
    """Whether a tool, or what chooses one, has one of these names."""

    def is_named(raw: bytes) -> bool:
        try:
            return decoder.decode(raw).name in names
        except (ValueError, RecursionError):
            return False

    return is_named


def _choose_others(draft: Draft, choice: str, is_off: Callable[[bytes], bool]) -> None:
    body, chosen = draft.body, draft.span(choice)
    if chosen is None or not body.startswith(b"{", chosen.start):
        return
    allowed = fields_of(body, chosen).get("allowed_tools")
    if allowed is None or not body.startswith(b"{", allowed.start):
        draft.members |= {choice: _AUTO} if is_off(body[chosen.start : chosen.end]) else {}
        return
    tools = fields_of(body, allowed).get("tools")
    if tools is not None and body.startswith(b"[", tools.start):
        edits, left = fewer(body, tools, is_off)
        draft.edits += edits if left else []
        draft.members |= {choice: _NONE} if edits and not left else {}
