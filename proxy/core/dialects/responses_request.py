"""Reads and rewrites request bodies of `/v1/responses`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from proxy.core.canonical import message_digest
from proxy.core.dialects import body as bodies
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Members, read, read_count, read_flag, read_raw, read_text
from proxy.core.dialects.exposing import USUAL_SEARCHES, exposure_of
from proxy.core.dialects.reported import counted, value_of
from proxy.core.dialects.responses_items import ITEM, Content, Item, read_content
from proxy.core.exposure import CacheWrites, Exposure
from proxy.core.request import Changes, Message, Request, Role
from proxy.core.splice import splice
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest

_GOVERNED = (
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "stream",
    "max_output_tokens",
    "background",
    "previous_response_id",
    "conversation",
    "prompt_cache_key",
    "client_metadata",
    "metadata",
    "safety_identifier",
    "user",
    "service_tier",
    "max_tool_calls",
)
_TOKENISED = ("input", "instructions", "tools", "text", "prompt")
_BILLED_TOOLS = ("web_search", "file_search", "code_interpreter")
_FORCED_FORMATS = ("json_schema", "json_object")


class _Named(msgspec.Struct, frozen=True):
    """A tool, a tool choice or a format, by what tells it from others. tools: a namespace's."""

    type: str | None = None
    name: str | None = None
    server_label: str | None = None
    mode: str | None = None
    tools: list["_Named"] | None = None


class _Format(msgspec.Struct, frozen=True):
    format: _Named | None = None


class _Conversation(msgspec.Struct, frozen=True):
    id: str


_INPUT = msgspec.json.Decoder(str | list[msgspec.Raw])
_TOOLS = msgspec.json.Decoder(list[_Named])
_CHOICE = msgspec.json.Decoder(str | _Named)
_TEXT = msgspec.json.Decoder(_Format)
_CONVERSATION = msgspec.json.Decoder(str | _Conversation)


@dataclass(frozen=True, slots=True)
class _Said:
    """One message, and what of it is priced by a ceiling."""

    message: Message
    images: int = 0
    files: int = 0
    inline_bytes: int = 0


def parse(body: bytes, bounds: Bounds) -> Request:
    """Raises MalformedRequest, whatever the body is."""
    members = bodies.read_members(body, bounds, _GOVERNED)
    sent = _sent(members, bounds)
    said = tuple(_conversation(members, sent))
    given = read(members, "tools", _TOOLS, "a list of tools") or ()
    tools = bodies.bounded_tools(list(_offered(given, sent)), bounds)
    choice = read(members, "tool_choice", _CHOICE, "a string or an object")
    text = read(members, "text", _TEXT, "an object with a format")
    conversation = read(members, "conversation", _CONVERSATION, "an id or an object with one")
    files = sum(one.files for one in said)
    hints = bodies.read_hints(members)
    if isinstance(conversation, _Conversation):
        hints["conversation"] = conversation = conversation.id
    # A stored prompt may bring its own model; then its name is not known here.
    model = bodies.read_model(members, needed="prompt" not in members)
    return Request(
        dialect="responses",
        model=model,
        stream=read_flag(members, "stream"),
        messages=tuple(one.message for one in said),
        output_bound=read_count(members, "max_output_tokens"),
        choices=1,
        text_bytes=bodies.prompt_bytes(members, _TOKENISED) - sum(one.inline_bytes for one in said),
        image_count=sum(one.images for one in said),
        file_count=files,
        offered_tools=tools,
        tools_disabled=choice == "none" or not tools,
        forces_tool=_forces(choice),
        forces_format=bool(text and text.format and text.format.type in _FORCED_FORMATS),
        background=read_flag(members, "background"),
        previous_response_id=read_text(members, "previous_response_id") or None,
        conversation_id=conversation or None,
        hints=hints,
        body_digest=bodies.body_digest(members),
        exposure=_exposure(members, model, given, files),
    )


def rewrite(body: bytes, changes: Changes) -> bytes:
    """Splices what has changed; usage is always sent here, so `ask_usage` changes nothing."""
    new: dict[str, bytes | None] = {}
    if changes.model is not None:
        new["model"] = msgspec.json.encode(changes.model)
    if changes.output_bound is not None:
        new["max_output_tokens"] = b"%d" % changes.output_bound
    return splice(body, new) if new else body


def _sent(members: Members, bounds: Bounds) -> str | list[Item]:
    sent = read(members, "input", _INPUT, "a string or a list of items")
    if sent is None or isinstance(sent, str):
        return sent or []
    if len(sent) > bounds.messages:
        bodies.refuse(f"expected at most {bounds.messages} items", "input")
    return [read_raw(raw, f"input[{i}]", ITEM, "an item") for i, raw in enumerate(sent)]


def _conversation(members: Members, sent: str | list[Item]) -> Iterator[_Said]:
    instructions = read_text(members, "instructions")
    if instructions:
        yield _message("system", Content(instructions))
    if isinstance(sent, str):
        yield _message("user", Content(sent))
    else:
        yield from _turns(sent)


def _offered(given: Iterable[_Named], sent: str | list[Item]) -> Iterator[str]:
    """The tools of the request, and those that Codex offers in an item of its input instead."""
    yield from _names(given)
    for index, item in enumerate(() if isinstance(sent, str) else sent):
        if item.type == "additional_tools" and bytes(item.tools) not in (b"", b"null"):
            tools = read_raw(item.tools, f"input[{index}].tools", _TOOLS, "a list of tools")
            yield from _names(tools)


def _exposure(members: Members, model: str, tools: Iterable[_Named], files: int) -> Exposure:
    """Of Claude, which a router may serve in this dialect, the markers are not read."""
    writes: CacheWrites = "1h" if "claude" in model.lower() else "none"
    searches = _searches(members, tools)
    return exposure_of(members, writes=writes, audio=files > 0, searches=searches)


def _searches(members: Members, tools: Iterable[_Named]) -> int:
    """How often the provider's own tools may be used, and billed for it."""
    if not any(tool.type is not None and tool.type.startswith(_BILLED_TOOLS) for tool in tools):
        return 0
    return counted(value_of(members.get("max_tool_calls", msgspec.Raw()))) or USUAL_SEARCHES


def _names(tools: Iterable[_Named]) -> Iterator[str]:
    """Calls name a namespace's tool by its own name."""
    for tool in tools:
        if tool.type == "namespace":
            yield from _names(tool.tools or ())
        else:
            yield tool.name or tool.server_label or tool.type or ""


def _turns(items: Sequence[Item]) -> Iterator[_Said]:
    """Consecutive output items of one answer become one assistant message, as the answer is one.

    What the provider did by itself (reasoning, searches) says nothing and parts nothing.
    """
    pending: list[tuple[Content, ToolCall | None]] = []
    for index, item in enumerate(items):
        try:
            answered = _answered(item)
            content = None if answered else _content(item)
        except ValueError as error:
            param = f"input[{index}]"
            raise MalformedRequest(f"{param}: expected text or parts", param=param) from error
        if answered:
            pending.append(answered)
        elif content is not None:
            yield from _assistant(pending)
            pending = []
            yield _message(
                _role(item), content, result_id=item.result_id if item.is_result else None
            )
    yield from _assistant(pending)


def _answered(item: Item) -> tuple[Content, ToolCall | None] | None:
    """What an item of an earlier answer said; None if it is from somebody else."""
    call = item.tool_call()
    if call is not None:
        return Content(), call
    if item.is_message:
        return (read_content(item.content), None) if item.role == "assistant" else None
    if item.type in (None, "item_reference") and item.id:
        # The provider kept what it said; two references are the same only if they name the same.
        return Content(attachments=(msgspec.json.encode({"item_reference": item.id}),)), None
    return None


def _content(item: Item) -> Content | None:
    """What a message or a tool's result says; None for items that say nothing."""
    if item.is_message:
        return read_content(item.content)
    if item.type == "mcp_approval_response":
        return Content("approved" if item.approve else "denied")
    return read_content(item.output) if item.is_result else None


def _role(item: Item) -> Role:
    if item.is_result:
        return "tool"
    return "system" if item.role in ("system", "developer") else "user"


def _assistant(answered: Sequence[tuple[Content, ToolCall | None]]) -> Iterator[_Said]:
    if answered:
        contents = [content for content, _ in answered]
        whole = Content(
            "".join(content.text for content in contents),
            tuple(part for content in contents for part in content.attachments),
            sum(content.images for content in contents),
            sum(content.files for content in contents),
            sum(content.inline_bytes for content in contents),
        )
        yield _message("assistant", whole, tuple(call for _, call in answered if call is not None))


def _message(
    role: Role, content: Content, calls: tuple[ToolCall, ...] = (), result_id: str | None = None
) -> _Said:
    digest = message_digest(
        role, content.text, calls, tool_result_id=result_id, attachments=content.attachments
    )
    message = Message(role, content.text, digest, calls, result_id)
    return _Said(message, content.images, content.files, content.inline_bytes)


def _forces(choice: str | _Named | None) -> bool:
    if isinstance(choice, _Named) and choice.type == "allowed_tools":
        return choice.mode == "required"
    return isinstance(choice, _Named) or choice == "required"
