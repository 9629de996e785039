"""Reads a `/v1/chat/completions` request, and refuses what OpenAI refuses, in its words."""

import re
from collections.abc import Sequence

from proxy.simulator.conversation import (
    Conversation,
    Item,
    Rejected,
    Tool,
    bound,
    kind_of,
    listing,
    mapping,
    position,
    string,
    text_of,
)
from proxy.simulator.tokens import Json

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_REASONING_MODELS = re.compile(r"(?:.*/)?(?:o[1-9]|gpt-5)")
_MOST_CHOICES = 128


def read(body: Json) -> Conversation:
    """The request's view. Raises Rejected."""
    model = model_of(body)
    messages = _messages(body)
    items = [_item(mapping(message), index) for index, message in enumerate(messages)]
    _check_results(items)
    at = position(items)
    return Conversation(
        "chat",
        model,
        at.step,
        at.user,
        at.last_tool,
        tools=tuple(_tools(body)),
        tool_choice=tool_choice(body.get("tool_choice")),
        stream=body.get("stream") is True,
        max_output_tokens=_bound(body, model),
        choices=_choices(body),
        parts=(*listing(body.get("tools")), *messages),
        schema=_schema(body),
        body=body,
    )


def model_of(body: Json) -> str:
    """The model's name. Raises Rejected where there is none."""
    model = body.get("model")
    if not model:
        raise Rejected("you must provide a model parameter")
    if not isinstance(model, str):
        raise Rejected(
            f"Invalid type for 'model': expected a string, but got {kind_of(model)} instead.",
            "model",
            "invalid_type",
        )
    return model


def tool_choice(choice: object) -> str:
    """auto, none, required, or the name of the tool that must be called."""
    if isinstance(choice, str):
        return choice
    named = mapping(choice)
    return string(mapping(named.get("function")).get("name") or named.get("name")) or "auto"


def _messages(body: Json) -> Sequence[object]:
    messages = body.get("messages")
    if messages is None:
        raise Rejected(
            "Missing required parameter: 'messages'.", "messages", "missing_required_parameter"
        )
    if not isinstance(messages, list):
        raise Rejected(
            "Invalid type for 'messages': expected an array of objects, "
            f"but got {kind_of(messages)} instead.",
            "messages",
            "invalid_type",
        )
    if not messages:
        raise Rejected(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            "messages",
            "empty_array",
        )
    return messages


def _item(message: Json, index: int) -> Item:
    role = message.get("role")
    if role not in _ROLES:
        raise Rejected(
            f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', "
            "'function', 'tool', and 'developer'.",
            f"messages[{index}].role",
            "invalid_value",
        )
    text = text_of(message.get("content"))
    if role == "tool":
        return Item("tool", text, answers=string(message.get("tool_call_id")))
    if role == "assistant":
        calls = [mapping(call) for call in listing(message.get("tool_calls"))]
        pairs = (
            (string(c.get("id")), string(mapping(c.get("function")).get("name"))) for c in calls
        )
        return Item("assistant", text, tuple(pairs))
    if role == "user" and message.get("content") is None:
        raise Rejected(
            "Invalid value for 'content': expected a string, got null.",
            f"messages.[{index}].content",
        )
    return Item("user" if role == "user" else "system", text)


def _check_results(items: Sequence[Item]) -> None:
    """Every call is answered before anything else is said, and nothing else is answered."""
    open_ids: list[str] = []
    allowed: set[str] = set()
    for index, item in enumerate(items):
        if item.role == "tool":
            if item.answers not in allowed:
                raise Rejected(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'.",
                    f"messages.[{index}].role",
                )
            open_ids = [i for i in open_ids if i != item.answers]
            continue
        _check_answered(open_ids, index)
        open_ids = [call_id for call_id, _ in item.calls]
        allowed = set(open_ids)
    _check_answered(open_ids, len(items))


def _check_answered(open_ids: Sequence[str], index: int) -> None:
    if open_ids:
        raise Rejected(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(open_ids),
            f"messages.[{index}].role",
        )


def _tools(body: Json) -> list[Tool]:
    tools = []
    for index, entry in enumerate(listing(body.get("tools"))):
        function = mapping(mapping(entry).get("function"))
        if mapping(entry).get("type") == "custom":
            continue
        name = string(function.get("name"))
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name):
            raise Rejected(
                f"Invalid 'tools[{index}].function.name': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
                f"tools[{index}].function.name",
                "invalid_value",
            )
        tools.append(Tool(name, mapping(function.get("parameters"))))
    if len(tools) > _MOST_CHOICES:
        raise Rejected(
            "Invalid 'tools': array too long. Expected an array with maximum length 128, "
            f"but got an array with length {len(tools)} instead.",
            "tools",
            "array_above_max_length",
        )
    return tools


def _bound(body: Json, model: str) -> int | None:
    old, new = bound(body, "max_tokens"), bound(body, "max_completion_tokens")
    if old is not None and new is not None:
        raise Rejected(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if old is not None and _REASONING_MODELS.match(model):
        raise Rejected(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    return new if old is None else old


def _choices(body: Json) -> int:
    choices = bound(body, "n") or 1
    if choices > _MOST_CHOICES:
        raise Rejected(
            "Invalid 'n': integer above maximum value. Expected a value <= 128, "
            f"but got {choices} instead.",
            "n",
            "integer_above_max_value",
        )
    return choices


def _schema(body: Json) -> Json | None:
    wanted = mapping(body.get("response_format"))
    if wanted.get("type") == "json_schema":
        return mapping(mapping(wanted.get("json_schema")).get("schema"))
    return {} if wanted.get("type") == "json_object" else None
