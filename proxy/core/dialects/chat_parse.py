"""Reads a chat-completions request into the view that decisions are made on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from proxy.core.canonical import message_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import (
    Members,
    body_digest,
    bounded_tools,
    prompt_bytes,
    read,
    read_count,
    read_flag,
    read_hints,
    read_members,
    read_model,
    refuse,
)
from proxy.core.dialects.chat_parts import Call, Function, argument_text, read_parts
from proxy.core.dialects.exposing import USUAL_SEARCHES, exposure_of, scanned_write
from proxy.core.exposure import CacheWrites
from proxy.core.request import Message, Request, Role
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest

MAX_CHOICES = 128
BOUND_KEYS = ("max_completion_tokens", "max_tokens")
"""Where a client may put its output bound; the first is the current one."""

_GOVERNED = (
    *("model", "messages", "stream", "stream_options", "n", *BOUND_KEYS),
    *("tools", "tool_choice", "functions", "function_call", "response_format"),
    *("user", "metadata", "prompt_cache_key", "safety_identifier"),
    *("service_tier", "modalities", "audio", "web_search_options", "plugins"),
)
_PROMPT_KEYS = ("tools", "functions", "response_format", "tool_choice")
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "reasoning"})


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    tool_call_id: str | None = None


class _Named(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None
    custom: _Named | None = None


class _AllowedTools(msgspec.Struct):
    mode: str = "auto"


class _ToolChoice(msgspec.Struct):
    type: str = "function"
    allowed_tools: _AllowedTools | None = None


class _ResponseFormat(msgspec.Struct):
    type: str = "text"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_MESSAGES = msgspec.json.Decoder(list[_Message])
_TOOLS = msgspec.json.Decoder(list[_Tool])
_FUNCTIONS = msgspec.json.Decoder(list[_Named])
_FUNCTION_CHOICE = msgspec.json.Decoder(str | _Named)
_CHOICE = msgspec.json.Decoder(str | _ToolChoice)
_FORMAT = msgspec.json.Decoder(_ResponseFormat)
_STREAM_OPTIONS = msgspec.json.Decoder(_StreamOptions)


class _Content(NamedTuple):
    """What a message holds: its text, and its other parts as raw JSON."""

    text: str = ""
    attachments: tuple[bytes, ...] = ()
    images: int = 0


def parse(body: bytes, bounds: Bounds) -> Request:
    """Reads a request body. Raises MalformedRequest (never anything else).

    Where a client gives both max_tokens and max_completion_tokens, which one a provider takes is
    not known: the bound is the larger, and `rewrite` lowers both.
    """
    members = read_members(body, bounds, _GOVERNED)
    model = read_model(members)
    structs = _read_messages(members, bounds)
    contents = [_content(struct, at) for at, struct in enumerate(structs)]
    attached = [part for content in contents for part in content.attachments]
    images = sum(content.images for content in contents)
    files = len(attached) - images
    stream = read_flag(members, "stream")
    offered = bounded_tools(_offered_tools(members), bounds)
    disabled, forced = _tool_choice(members)
    return Request(
        dialect="chat",
        model=model,
        stream=stream,
        messages=tuple(map(_message, structs, contents)),
        output_bound=read_bound(members, BOUND_KEYS),
        choices=read_count(members, "n", most=MAX_CHOICES) or 1,
        text_bytes=prompt_bytes(members, ("messages", *_PROMPT_KEYS)) - sum(map(len, attached)),
        image_count=images,
        file_count=files,
        offered_tools=offered,
        tools_disabled=disabled or not offered,
        forces_tool=forced,
        forces_format=_forces_format(members),
        include_usage=stream and wants_usage(members),
        hints=read_hints(members),
        body_digest=body_digest(members),
        exposure=exposure_of(
            members,
            writes=_writes(body, model),
            audio=files > 0 or _speaks(members),
            searches=_searches(members, model, offered),
        ),
    )


def read_bound(members: Members, keys: Sequence[str], *, least: int = 1) -> int | None:
    """The largest output bound given under any of `keys`, None without one."""
    given = [read_count(members, key, least=least) for key in keys]
    return max((bound for bound in given if bound is not None), default=None)


def wants_usage(members: Members) -> bool:
    """Whether the client asks for the usage chunk itself."""
    options = read(members, "stream_options", _STREAM_OPTIONS, "an object of flags")
    return options is not None and options.include_usage is True


def _read_messages(members: Members, bounds: Bounds) -> list[_Message]:
    raw = members.get("messages")
    if raw is None:
        refuse("expected a list of messages", "messages")
    try:
        structs = _MESSAGES.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _misfit("messages", error) from error
    if not structs:
        refuse("expected at least one message", "messages")
    if len(structs) > bounds.messages:
        refuse(f"expected at most {bounds.messages} messages", "messages")
    for at, struct in enumerate(structs):
        if struct.role not in _ROLES:
            refuse(f"expected one of {', '.join(_ROLES)}", f"messages[{at}].role")
    return structs


def _misfit(param: str, error: Exception) -> MalformedRequest:
    """From msgspec's words, `Expected … - at `$[3].role``, to `messages[3].role: expected …`."""
    expected, _, place = str(error).partition(" - at `$")
    param += place.rstrip("`")
    if expected.startswith("Expected `array`"):
        expected = "expected a list"
    return MalformedRequest(f"{param}: {expected[:1].lower()}{expected[1:]}", param=param)


def _content(struct: _Message, at: int) -> _Content:
    if not isinstance(struct.content, list):
        return _Content(struct.content or struct.refusal or "")
    texts: list[str] = []
    attachments: list[bytes] = []
    images = 0
    try:
        for part, raw in read_parts(struct.content):
            if part.type in _TEXT_PARTS:
                texts.append(part.said)
            else:
                attachments.append(bytes(raw))
                images += part.type in _IMAGE_PARTS
    except msgspec.DecodeError as error:
        param = f"messages[{at}].content"
        raise MalformedRequest(f"{param}: expected text or a list of parts", param=param) from error
    return _Content("".join(texts) or struct.refusal or "", tuple(attachments), images)


def _message(struct: _Message, content: _Content) -> Message:
    role = _ROLES[struct.role]
    calls = _tool_calls(struct) if role == "assistant" else ()
    result_id = (struct.tool_call_id or "") if role == "tool" else None
    return Message(
        role=role,
        text=content.text,
        content_digest=message_digest(
            role,
            content.text,
            calls,
            tool_result_id=result_id,
            attachments=content.attachments,
        ),
        tool_calls=calls,
        tool_result_id=result_id,
    )


def _tool_calls(struct: _Message) -> tuple[ToolCall, ...]:
    """The legacy `function_call` has no id: "" links it to its result, and must prove nothing."""
    calls = [ToolCall(call.id or "", *call.called) for call in struct.tool_calls or ()]
    if struct.function_call is not None:
        function = struct.function_call
        calls.append(ToolCall("", function.name or "", argument_text(function.arguments)))
    return tuple(calls)


def _offered_tools(members: Members) -> list[str]:
    tools = read(members, "tools", _TOOLS, "a list of tools") or []
    functions = read(members, "functions", _FUNCTIONS, "a list of functions") or []
    names = [(tool.function or tool.custom or _Named(tool.type)).name for tool in tools]
    return names + [function.name for function in functions]


def _forces_format(members: Members) -> bool:
    form = read(members, "response_format", _FORMAT, "an object with a type")
    return form is not None and form.type != "text"


def _writes(body: bytes, model: str) -> CacheWrites:
    """Only Claude, which a router may serve in this dialect, has markers."""
    return scanned_write(body) if "claude" in model.lower() else "none"


def _speaks(members: Members) -> bool:
    return "audio" in members or b"audio" in bytes(members.get("modalities", b""))


def _searches(members: Members, model: str, offered: Sequence[str]) -> int:
    """How often OpenRouter or the provider may search, and bill it."""
    searches = model.endswith(":online") or "web_search_options" in members or "plugins" in members
    searches = searches or any(name.endswith(":web_search") for name in offered)
    return USUAL_SEARCHES if searches else 0


def _tool_choice(members: Members) -> tuple[bool, bool]:
    """(no tool may be called, one must be)."""
    choice = read(members, "tool_choice", _CHOICE, "a string or an object")
    if choice is None:
        legacy = read(members, "function_call", _FUNCTION_CHOICE, "a string or an object")
        return legacy == "none", isinstance(legacy, _Named)
    if isinstance(choice, str):
        return choice == "none", choice in ("required", "any")
    if choice.allowed_tools is not None:
        return False, choice.allowed_tools.mode == "required"
    return False, True
