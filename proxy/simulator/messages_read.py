"""Reads a `/v1/messages` request, and refuses what Anthropic refuses, in its words."""

from collections.abc import Iterator, Sequence

from proxy.simulator.conversation import (
    Conversation,
    Item,
    Rejected,
    Tool,
    listing,
    mapping,
    position,
    string,
    text_of,
)
from proxy.simulator.tokens import Json

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def read(body: Json, *, counting: bool = False) -> Conversation:
    """The request's view. counting: for `count_tokens`, which needs no bound. Raises Rejected."""
    model = body.get("model")
    if not isinstance(model, str):
        raise Rejected("model: Field required" if model is None else _not_a("model", "string"))
    messages = _messages(body)
    view = [item for i, message in enumerate(messages) for item in _items(mapping(message), i)]
    _check_results(messages)
    at = position(view)
    choice = mapping(body.get("tool_choice"))
    named = string(choice.get("name"))
    return Conversation(
        "messages",
        model,
        at.step,
        at.user,
        at.last_tool,
        tools=tuple(_tools(body)),
        tool_choice=named or _CHOICES.get(string(choice.get("type")), "auto"),
        stream=body.get("stream") is True,
        max_output_tokens=None if counting else _bound(body),
        parts=(*listing(body.get("tools")), body.get("system") or "", *messages),
        schema=_schema(body),
        thinks=_thinks(body),
        body=body,
    )


def _not_a(name: str, kind: str) -> str:
    return f"{name}: Input should be a valid {kind}"


def _thinks(body: Json) -> bool:
    return mapping(body.get("thinking")).get("type") in ("enabled", "adaptive")


def _schema(body: Json) -> Json | None:
    wanted = mapping(mapping(body.get("output_config")).get("format")) or mapping(
        body.get("output_format")
    )
    return mapping(wanted.get("schema")) if wanted.get("type") == "json_schema" else None


def _bound(body: Json) -> int:
    value = body.get("max_tokens")
    if value is None:
        raise Rejected("max_tokens: Field required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise Rejected(_not_a("max_tokens", "integer"))
    if value < 1:
        raise Rejected("max_tokens: Input should be greater than or equal to 1")
    budget = mapping(body.get("thinking")).get("budget_tokens")
    if isinstance(budget, int) and value <= budget:
        raise Rejected("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return value


def _messages(body: Json) -> Sequence[object]:
    messages = body.get("messages")
    if messages is None:
        raise Rejected("messages: Field required")
    if not isinstance(messages, list):
        raise Rejected(_not_a("messages", "list"))
    if not messages:
        raise Rejected("messages: at least one message is required")
    return messages


def _items(message: Json, index: int) -> Iterator[Item]:
    """A user message with results is those results, and a user message only if it says more."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise Rejected(f"messages.{index}.role: Input should be 'user' or 'assistant'")
    if not isinstance(content, str | list):
        raise Rejected(f"messages.{index}.content: Field required")
    if index == 0 and role == "assistant":
        raise Rejected('messages: first message must use the "user" role')
    blocks = [mapping(block) for block in listing(content)]
    if role == "assistant":
        calls = tuple(
            (string(b.get("id")), string(b.get("name")))
            for b in blocks
            if b.get("type") == "tool_use"
        )
        yield Item("assistant", text_of(content), calls)
        return
    results = [b for b in blocks if b.get("type") == "tool_result"]
    for result in results:
        text = text_of(result.get("content"))
        yield Item("tool", text, answers=string(result.get("tool_use_id")))
    if role == "system" or not results:
        yield Item("user" if role == "user" else "system", text_of(content))


def _check_results(messages: Sequence[object]) -> None:
    """Each `tool_use` has its result in the very next message, and nothing else has one."""
    asked: list[str] = []
    for index, entry in enumerate(messages):
        blocks = [mapping(block) for block in listing(mapping(entry).get("content"))]
        answered = []
        for at, block in enumerate(blocks):
            if block.get("type") != "tool_result":
                continue
            answered.append(string(block.get("tool_use_id")))
            if answered[-1] not in asked:
                raise Rejected(
                    f"messages.{index}.content.{at}: unexpected `tool_use_id` found in "
                    f"`tool_result` blocks: {answered[-1]}. Each `tool_result` block must have a "
                    "corresponding `tool_use` block in the previous message."
                )
        _check_answered(asked, answered, index - 1)
        asked = [string(b.get("id")) for b in blocks if b.get("type") == "tool_use"]
    _check_answered(asked, (), len(messages) - 1)


def _check_answered(asked: Sequence[str], answered: Sequence[str], index: int) -> None:
    missing = [call_id for call_id in asked if call_id not in answered]
    if missing:
        raise Rejected(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
            "corresponding `tool_result` block in the next message."
        )


def _tools(body: Json) -> list[Tool]:
    """Client tools; those that run at the provider have a `type` and no schema."""
    tools = []
    for index, entry in enumerate(listing(body.get("tools"))):
        tool = mapping(entry)
        name = string(tool.get("name"))
        if not name:
            raise Rejected(f"tools.{index}.custom.name: Field required")
        if "input_schema" in tool:
            tools.append(Tool(name, mapping(tool.get("input_schema"))))
        elif tool.get("type") in (None, "custom"):
            raise Rejected(f"tools.{index}.custom.input_schema: Field required")
    return tools
