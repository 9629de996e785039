"""What a `/v1/messages` request offers the model to call, and how less of it is offered."""

from collections.abc import Collection

from proxy.core.dialects.messages_request import TOOL, name_of
from proxy.core.dialects.offering import fewer
from proxy.core.edits import Draft, is_empty
from proxy.core.request import Request
from proxy.core.splice import splice

_NONE, _AUTO = b'{"type":"none"}', b'"auto"'


def withhold(draft: Draft, request: Request) -> None:
    """The model may call nothing. The tools stay: a history with `tool_use` is refused without any,
    and they are the beginning of what is cached. `disable_parallel_tool_use` goes with the choice
    that it belonged to, for "none" takes no other field.

    XXX Bedrock's and older vLLM's imitations know no "none" and refuse the call. There is nothing
    to send them instead: without the tools they refuse the history.
    https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use (2026-11-30)
    """
    span = draft.span("tools")
    if span is not None and not is_empty(draft.body, span) and not request.tools_disabled:
        draft.members["tool_choice"] = _NONE


def take_off(draft: Draft, names: Collection[str]) -> None:
    """Tools and servers of these names are not offered, and a choice that asks for one leaves it to
    the model. Where no other tool would be left they stay, and may not be called: a history with
    `tool_use` is refused without any."""

    def is_off(raw: bytes) -> bool:
        return name_of(TOOL.decode(raw)) in names

    servers, tools = draft.span("mcp_servers"), draft.span("tools")
    if servers is not None:
        edits, left = fewer(draft.body, servers, is_off)
        if left:
            draft.edits += edits
        elif edits:
            draft.members["mcp_servers"] = None
    edits, left = ([], True) if tools is None else fewer(draft.body, tools, is_off)
    if not left:
        draft.members |= {"tool_choice": _NONE} if edits else {}
    elif edits:
        draft.edits += edits
        chosen = draft.value("tool_choice")
        if chosen is not None and TOOL.decode(chosen).name in names:
            draft.members["tool_choice"] = splice(chosen, {"type": _AUTO, "name": None})
