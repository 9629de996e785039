"""What a request of the Responses API offers, as functions of chat.

Theory of operation. Chat has one kind of tool that every server knows: the function. A custom tool
(Codex's `apply_patch` and `exec`) takes a text, so it is offered as a function of one text, with
its grammar told in words, and a call of it is translated back. The tools of a namespace are offered
by their own names, or together with the namespace's where two have the same. Tools that the
provider runs by itself are of two kinds: those that a model can do without (a search of the web:
Codex offers it always), which are not offered; and those that the answer rests on (the files of a
store, a remote server's tools, a shell), without which it would be made up: such a request is not
translated.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.json_values import ABSENT, Json

_RESTS_ON = ("file_search", "mcp", "computer", "local_shell", "shell", "apply_patch")
_NO_PARAMETERS: Json = {"type": "object", "properties": {}}
_TEXT = "input"
"""The parameter of a custom tool as a function."""
_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_DEFAULT = "functions"
"""The namespace of what is in none; calls do not name it."""


class Tool(msgspec.Struct):
    """A tool, or a namespace of some."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: object = None
    format: object = None
    tools: list["Tool"] | None = None


class Chosen(msgspec.Struct):
    """`tool_choice` where it is an object."""

    type: str | None = None
    name: str | None = None
    mode: str | None = None
    tools: list["Chosen"] | None = None


@dataclass(frozen=True, slots=True)
class Called:
    """A tool that may be called. alias: what it is called in chat."""

    alias: str
    name: str
    namespace: str | None
    is_custom: bool
    function: Json


class Offer:
    """The tools of a request, by both of their names."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        found: dict[tuple[str | None, str], Tool] = {}
        for namespace, tool in _flat(tools, None):
            found.setdefault((namespace, tool.name or ""), tool)
        self._tools: dict[tuple[str | None, str], Called] = {}
        self._by_alias: dict[str, Called] = {}
        self._by_name: dict[str, Called] = {}
        self._numbers: dict[str, int] = {}
        for (namespace, name), tool in found.items():
            alias = self._alias(namespace, name)
            called = Called(alias, name, namespace, tool.type == "custom", _function(tool, alias))
            self._tools[namespace, name] = self._by_alias[alias] = called
            self._by_name.setdefault(name, called)

    def __iter__(self) -> Iterator[Called]:
        return iter(self._tools.values())

    def of(self, alias: str) -> Called:
        """Which tool a chat model calls; one that was not offered is a function."""
        return self._by_alias.get(alias) or Called(alias, alias, None, False, {})

    def alias(self, namespace: str | None, name: str) -> str:
        """What a tool is called in chat; one that is not offered (any more) by its own name."""
        called = self._tools.get((namespace, name)) or self._tools.get((None, name))
        called = called or self._by_name.get(name)
        return called.alias if called else _legal(name)

    def _alias(self, namespace: str | None, name: str) -> str:
        alias = _legal(name)
        if alias in self._by_alias and namespace:
            alias = _legal(f"{namespace}__{name}")
        base = _legal(name)[:58]
        while alias in self._by_alias:
            number = self._numbers[base] = self._numbers.get(base, 1) + 1
            alias = f"{base}_{number}"
        return alias


def _flat(tools: Iterable[Tool], namespace: str | None) -> Iterator[tuple[str | None, Tool]]:
    for tool in tools:
        if tool.type == "namespace":
            inner = None if tool.name == _DEFAULT else tool.name
            yield from _flat(tool.tools or (), inner)
        elif tool.type in ("function", "custom") and tool.name:
            yield namespace, tool
        elif (tool.type or "").startswith(_RESTS_ON):
            raise Untranslatable(f"The model that was asked has no tool of type {tool.type}.")


def _function(tool: Tool, alias: str) -> Json:
    if tool.type == "custom":
        return _of_text(tool, alias)
    function: Json = {"name": alias}
    if tool.description:
        function["description"] = tool.description
    given = bytes(tool.parameters)
    function["parameters"] = tool.parameters if given.startswith(b"{") else _NO_PARAMETERS
    if tool.strict is True:
        function["strict"] = True
    return {"type": "function", "function": function}


def _of_text(tool: Tool, alias: str) -> Json:
    """A custom tool. What its text must look like is told in words, for nobody enforces it."""
    told = [tool.description] if tool.description else []
    described = "The text that the tool takes, as it is."
    if isinstance(tool.format, dict) and tool.format.get("type") == "grammar":
        syntax, grammar = tool.format.get("syntax"), tool.format.get("definition")
        told.append(f"The input must follow this grammar ({syntax}):\n{grammar}")
        described = "The text that the tool takes, as it is. It must follow the tool's grammar."
    parameters: Json = {
        "type": "object",
        "properties": {_TEXT: {"type": "string", "description": described}},
        "required": [_TEXT],
        "additionalProperties": False,
    }
    function: Json = {"name": alias, "description": "\n\n".join(told), "parameters": parameters}
    return {"type": "function", "function": function}


def arguments_of_text(text: str) -> str:
    """The arguments of a custom tool's call as a function's."""
    return msgspec.json.encode({_TEXT: text}).decode()


def choose(offer: Offer, choice: str | Chosen | None) -> Json:
    """`tools` and `tool_choice` of chat. Raises Untranslatable."""
    tools = list(offer)
    told: object = choice
    if isinstance(choice, Chosen):
        if choice.type == "allowed_tools":
            tools, told = _allowed(tools, choice.tools or ()), choice.mode or "auto"
        else:
            told = _named(offer, choice)
    if not tools:
        if told == "required":
            raise Untranslatable("The request forces a call of a tool that the provider runs.")
        return {}
    members: Json = {"tools": [tool.function for tool in tools]}
    return members if told in (None, "auto") else members | {"tool_choice": told}


def _allowed(tools: Sequence[Called], allowed: Sequence[Chosen]) -> list[Called]:
    """Only what may be called is offered: few servers know of the difference."""
    names = {one.name for one in allowed}
    return [tool for tool in tools if tool.name in names]


def _named(offer: Offer, choice: Chosen) -> Mapping[str, object]:
    called = next((one for one in offer if one.name == choice.name), None)
    if called is None:
        what = choice.name or choice.type
        raise Untranslatable(f"The request forces a call of {what!r}, which the provider runs.")
    return {"type": "function", "function": {"name": called.alias}}


def _legal(name: str) -> str:
    return name if _LEGAL.fullmatch(name) else _ILLEGAL.sub("_", name)[:64] or "_"
