"""Reads a `/v1/responses` request, and refuses what OpenAI refuses, in its words."""

from collections.abc import Sequence

from proxy.simulator.chat_read import model_of, tool_choice
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
from proxy.simulator.memory import Memory
from proxy.simulator.tokens import Json

_LEAST_OUTPUT = 16
_CALLS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "local_shell_call": "local_shell_call_output",
}
_RESULTS = {result: call for call, result in _CALLS.items()}


def read(body: Json, memory: Memory) -> Conversation:
    """The request's view, what the provider remembers included. Raises Rejected."""
    model = _model(body)
    items = (*memory.history(body), *input_items(body))
    view = [_item(mapping(item)) for item in items]
    _check_results(view)
    at = position(view)
    text_format = mapping(mapping(body.get("text")).get("format"))
    schema = text_format.get("schema") if text_format.get("type") == "json_schema" else None
    return Conversation(
        "responses",
        model,
        at.step,
        at.user,
        at.last_tool,
        tools=tuple(_tools(body)),
        tool_choice=tool_choice(body.get("tool_choice")),
        stream=body.get("stream") is True,
        max_output_tokens=bound(body, "max_output_tokens", _LEAST_OUTPUT),
        parts=(*listing(body.get("tools")), body.get("instructions") or "", *items),
        schema=mapping(schema) if schema is not None else None,
        body=body,
    )


def input_items(body: Json) -> Sequence[object]:
    """The input as a list of items. Raises Rejected where there is none."""
    given = body.get("input")
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": given},)
    if isinstance(given, list):
        return given
    if given is None:
        if body.get("previous_response_id") or body.get("conversation") or body.get("prompt"):
            return ()
        raise Rejected(
            "Missing required parameter: 'input'.", "input", "missing_required_parameter"
        )
    raise Rejected(
        "Invalid type for 'input': expected one of a string or an array of objects, "
        f"but got {kind_of(given)} instead.",
        "input",
        "invalid_type",
    )


def _model(body: Json) -> str:
    if body.get("model") is None:
        raise Rejected(
            "Missing required parameter: 'model'.", "model", "missing_required_parameter"
        )
    return model_of(body)


def _item(item: Json) -> Item:
    kind = string(item.get("type")) or "message"
    call_id = string(item.get("call_id"))
    if kind in _CALLS:
        return Item("assistant", calls=((call_id, string(item.get("name")) or kind),))
    if kind in _RESULTS:
        return Item("tool", text_of(item.get("output")), answers=call_id)
    if kind == "message" and item.get("role") == "user":
        return Item("user", text_of(item.get("content")))
    if kind == "message" and item.get("role") != "assistant":
        return Item("system", text_of(item.get("content")))
    return Item("assistant", text_of(item.get("content")))


def _check_results(items: Sequence[Item]) -> None:
    asked = {call_id for item in items for call_id, _ in item.calls}
    answered = {item.answers for item in items if item.role == "tool"}
    for item in items:
        if item.role == "tool" and item.answers not in asked:
            raise Rejected(
                f"No tool call found for function call output with call_id {item.answers}.", "input"
            )
    for item in items:
        for call_id, _ in item.calls:
            if call_id not in answered:
                raise Rejected(f"No tool output found for function call {call_id}.", "input")


def _tools(body: Json) -> list[Tool]:
    """Function tools; what runs at the provider (web search and the like) is never asked for."""
    tools = []
    for index, entry in enumerate(listing(body.get("tools"))):
        tool = mapping(entry)
        if tool.get("type") != "function":
            continue
        if not string(tool.get("name")):
            raise Rejected(
                f"Missing required parameter: 'tools[{index}].name'.",
                f"tools[{index}].name",
                "missing_required_parameter",
            )
        tools.append(Tool(string(tool.get("name")), mapping(tool.get("parameters"))))
    return tools
