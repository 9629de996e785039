"""Reads and rewrites request bodies of `/v1/messages`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from proxy.core.canonical import message_digest
from proxy.core.dialects import body as bodies
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Members, read, read_count, read_flag, read_raw
from proxy.core.dialects.exposing import USUAL_SEARCHES, exposure_of, longest_write
from proxy.core.dialects.messages_blocks import (
    Block,
    Content,
    Placed,
    content_of,
    marks_of,
    read_blocks,
    said,
    sealed_bytes,
)
from proxy.core.dialects.reported import counted
from proxy.core.request import Changes, Message, Request, Role
from proxy.core.splice import splice
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest

_GOVERNED = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stream",
    "max_tokens",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "cache_control",
    "service_tier",
    "speed",
    "inference_geo",
)
_TOKENISED = ("system", "messages", "tools", "mcp_servers", "output_config", "output_format")
_SEARCHING = "web_search_"
_FORCED_CHOICES = ("any", "tool")
_LEAST_BUDGET_TOKENS = (
    1024  # https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
)


class _Sent(msgspec.Struct, frozen=True):
    role: str
    content: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct, frozen=True):
    """A tool, an MCP server or a tool choice, by what tells it from others."""

    type: str | None = None
    name: str | None = None
    mcp_server_name: str | None = None
    cache_control: msgspec.Raw = msgspec.Raw()
    max_uses: object = None

    @property
    def searches(self) -> int:
        """How often the provider may search, and bill it."""
        if self.type is None or not self.type.startswith(_SEARCHING):
            return 0
        return counted(self.max_uses) or USUAL_SEARCHES


class _OutputConfig(msgspec.Struct, frozen=True):
    format: _Named | None = None


class _Thinking(msgspec.Struct, frozen=True):
    type: str | None = None
    budget_tokens: int | None = None


class _Thinker(msgspec.Struct, frozen=True):
    max_tokens: int | None = None
    thinking: msgspec.Raw = msgspec.Raw()


_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(_Sent)
_TOOLS = msgspec.json.Decoder(list[_Named])
_CHOICE = msgspec.json.Decoder(_Named)
_CONFIG = msgspec.json.Decoder(_OutputConfig)
_THINKER = msgspec.json.Decoder(_Thinker)
_THINKING = msgspec.json.Decoder(_Thinking)


@dataclass(frozen=True, slots=True)
class _Said:
    """One message, and what of it is priced by a ceiling or not at all."""

    message: Message
    images: int = 0
    files: int = 0
    hidden_bytes: int = 0


def parse(body: bytes, bounds: Bounds) -> Request:
    """Raises MalformedRequest, whatever the body is."""
    members = bodies.read_members(body, bounds, _GOVERNED)
    marks = [members[key] for key in ("cache_control",) if key in members]
    said_so_far = tuple(_conversation(members, bounds, marks))
    tools = read(members, "tools", _TOOLS, "a list of tools") or []
    servers = read(members, "mcp_servers", _TOOLS, "a list of servers") or []
    names = [one.name or one.mcp_server_name or one.type or "" for one in (*tools, *servers)]
    offered = bodies.bounded_tools(names, bounds)
    choice = read(members, "tool_choice", _CHOICE, "an object") or _Named()
    files = sum(one.files for one in said_so_far)
    exposure = exposure_of(
        members,
        writes=longest_write((*marks, *(tool.cache_control for tool in tools))),
        audio=files > 0,
        searches=sum(tool.searches for tool in tools),
    )
    return Request(
        dialect="messages",
        model=bodies.read_model(members),
        stream=read_flag(members, "stream"),
        messages=tuple(one.message for one in said_so_far),
        output_bound=read_count(members, "max_tokens", least=0),  # 0 only warms the cache
        choices=1,
        least_output=_least_output(members),
        text_bytes=bodies.prompt_bytes(members, _TOKENISED)
        - sum(one.hidden_bytes for one in said_so_far),
        image_count=sum(one.images for one in said_so_far),
        file_count=files,
        offered_tools=offered,
        tools_disabled=choice.type == "none" or not offered,
        forces_tool=choice.type in _FORCED_CHOICES,
        forces_format=_forces_format(members),
        hints=bodies.read_hints(members),
        body_digest=bodies.body_digest(members),
        exposure=exposure,
    )


def rewrite(body: bytes, changes: Changes) -> bytes:
    """Splices what has changed; usage is always sent here, so `ask_usage` changes nothing.

    `max_tokens` must stay above `thinking.budget_tokens`: where the new bound is not, the budget is
    lowered with it, by the same share. Below a bound of 1025 it cannot be (the provider's least
    budget is 1024): then the provider refuses the call, unbilled, so do not bound it lower.
    """
    new: dict[str, bytes | None] = {}
    if changes.model is not None:
        new["model"] = msgspec.json.encode(changes.model)
    if changes.output_bound is not None:
        new["max_tokens"] = b"%d" % changes.output_bound
        new |= _thought(body, changes.output_bound)
    return splice(body, new) if new else body


def _least_output(members: bodies.Members) -> int:
    thinking = members.get("thinking")
    if thinking is None or (budget := _budget(thinking)) is None:
        return 0
    return (
        _LEAST_BUDGET_TOKENS + 1
        if budget < (read_count(members, "max_tokens", least=0) or 0)
        else 0
    )


def _budget(raw: msgspec.Raw) -> int | None:
    """The thinking budget, which must stay below max_tokens. One above it is meant (interleaved
    thinking), and as legal after as before."""
    try:
        thinking = _THINKING.decode(raw)
    except ValueError:
        return None  # none, or one that the provider will refuse
    return thinking.budget_tokens if thinking.type == "enabled" else None


def _thought(body: bytes, bound: int) -> dict[str, bytes | None]:
    sent = _THINKER.decode(body)
    budget, most = _budget(sent.thinking), sent.max_tokens
    if budget is None or most is None or not bound <= budget < most:
        return {}
    raw = bytes(sent.thinking)
    lowered = max(_LEAST_BUDGET_TOKENS, bound * budget // most)
    return {"thinking": splice(raw, {"budget_tokens": b"%d" % lowered})}


def _conversation(members: Members, bounds: Bounds, marks: list[msgspec.Raw]) -> Iterator[_Said]:
    """Message by message; cache markers are put beside."""
    if "system" in members:
        placed = _blocks(members["system"], "system")
        marks += marks_of(placed)
        if placed:
            yield _message("system", content_of(placed))
    sent = read(members, "messages", _MESSAGES, "a list of messages") or []
    if len(sent) > bounds.messages:
        bodies.refuse(f"expected at most {bounds.messages} messages", "messages")
    for index, raw in enumerate(sent):
        param = f"messages[{index}]"
        message = read_raw(raw, param, _MESSAGE, "a message")
        placed = _blocks(message.content, param)
        marks += marks_of(placed)
        try:
            yield from _turn(message.role, placed, marks)
        except ValueError as error:
            raise MalformedRequest(f"{param}: expected text or blocks", param=param) from error


def _blocks(raw: msgspec.Raw, param: str) -> list[Placed]:
    try:
        return read_blocks(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{param}: expected text or blocks", param=param) from error


def _turn(role: str, placed: Sequence[Placed], marks: list[msgspec.Raw]) -> Iterator[_Said]:
    """An assistant's blocks are one message; each tool result of a user is one of its own."""
    if role == "assistant":
        blocks = [one.block for one in placed]
        text, calls = said(blocks)
        yield _message("assistant", Content(text, hidden_bytes=sealed_bytes(blocks)), calls)
        return
    results = [one for one in placed if one.block.type == "tool_result"]
    for one in results:
        inside = read_blocks(one.block.content)
        marks += marks_of(inside)
        yield _result(one.block, content_of(inside))
    rest = [one for one in placed if one.block.type != "tool_result"]
    if rest or not results:
        yield _message("system" if role == "system" else "user", content_of(rest))


def _result(block: Block, content: Content) -> _Said:
    return _message("tool", content, result_id=block.tool_use_id, is_error=block.is_error is True)


def _message(
    role: Role,
    content: Content,
    calls: tuple[ToolCall, ...] = (),
    *,
    result_id: str | None = None,
    is_error: bool = False,
) -> _Said:
    digest = message_digest(
        role, content.text, calls, tool_result_id=result_id, attachments=content.attachments
    )
    message = Message(role, content.text, digest, calls, result_id, is_error)
    return _Said(message, content.images, content.files, content.hidden_bytes)


def _forces_format(members: Members) -> bool:
    config = read(members, "output_config", _CONFIG, "an object") or _OutputConfig()
    old = read(members, "output_format", _CHOICE, "an object")
    return config.format is not None or old is not None
