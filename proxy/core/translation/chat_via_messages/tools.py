"""The tools of a chat request, and which of them the model may call, as the Messages API has it."""

from collections.abc import Iterable, Sequence

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.json_values import ABSENT, Json, Members, is_given

_NO_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')


class _Named(msgspec.Struct):
    name: str = ""


class _Function(_Named):
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    cache_control: msgspec.Raw = ABSENT


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None
    cache_control: msgspec.Raw = ABSENT


class _Allowed(msgspec.Struct):
    mode: str = "auto"
    tools: list[_Tool] = []


class _Choice(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool])
_CHOICE = msgspec.json.Decoder(str | _Choice)
_FLAG = msgspec.json.Decoder(bool)
_KINDS = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def told_tools(members: Members, called: Sequence[str]) -> Json:
    """`tools` and `tool_choice`. called: tools that the history has calls of; where none is
    offered, Anthropic wants those defined all the same, and the model may call none of them.

    Raises Untranslatable, and ValueError for what are no tools."""
    sent = _TOOLS.decode(members["tools"]) if "tools" in members else []
    if not sent:
        tools = [_tool(_Function(name)) for name in called]
        return {"tools": tools, "tool_choice": {"type": "none"}} if tools else {}
    choice = _choice(members)
    if isinstance(choice, _Choice) and choice.allowed_tools is not None:
        names = {_function(tool).name for tool in choice.allowed_tools.tools}
        sent = [tool for tool in sent if _function(tool).name in names]
        choice = choice.allowed_tools.mode
    told: Json = {"tools": _marked(sent)}
    kind = _told_choice(choice)
    if "parallel_tool_calls" in members and not _FLAG.decode(members["parallel_tool_calls"]):
        kind = {"type": "auto"} | kind
        if kind["type"] != "none":
            kind["disable_parallel_tool_use"] = True
    return told | ({"tool_choice": kind} if kind else {})


def _choice(members: Members) -> str | _Choice | None:
    return _CHOICE.decode(members["tool_choice"]) if "tool_choice" in members else None


def _told_choice(choice: str | _Choice | None) -> Json:
    if choice is None:
        return {}
    if isinstance(choice, str):
        if choice not in _KINDS:
            raise Untranslatable(f"Messages have no tool choice {choice[:64]!r}.")
        return {"type": _KINDS[choice]}
    if choice.function is None:
        raise Untranslatable(f"Messages have no tool choice of type {choice.type[:64]!r}.")
    return {"type": "tool", "name": choice.function.name}


def _function(tool: _Tool) -> _Function:
    if tool.type != "function" or tool.function is None:
        raise Untranslatable(f"Messages have no tools of type {tool.type[:64]!r}.")
    return tool.function


def _marked(sent: Iterable[_Tool]) -> list[Json]:
    tools: list[Json] = []
    for one in sent:
        function = _function(one)
        tool = _tool(function)
        marker = one.cache_control if is_given(one.cache_control) else function.cache_control
        if is_given(marker):
            tool["cache_control"] = marker
        tools.append(tool)
    return tools


def _tool(function: _Function) -> Json:
    """`strict` is left out: both take it for schemas of their own subset only."""
    tool: Json = {"name": function.name}
    if function.description:
        tool["description"] = function.description
    given = is_given(function.parameters) and bytes(function.parameters) != b"{}"
    return tool | {"input_schema": function.parameters if given else _NO_SCHEMA}
