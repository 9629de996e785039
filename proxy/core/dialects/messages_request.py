"""Reads and rewrites request bodies of `/v1/messages`."""

import msgspec

from proxy.core.dialects import body as bodies
from proxy.core.dialects import reader
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Members, given, read, read_count, read_flag, read_raw
from proxy.core.dialects.exposing import (
    NOTHING,
    USUAL_SEARCHES,
    apart_in,
    exposure_of,
    longest,
    longest_write,
)
from proxy.core.dialects.messages_told import DEPTH, read_told
from proxy.core.dialects.messages_turns import read_system, read_turn
from proxy.core.dialects.reader import Reader
from proxy.core.dialects.reported import counted
from proxy.core.exposure import Exposure
from proxy.core.memo import Memo
from proxy.core.request import Apart, Frame, Piece, Request

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
LEAST_BUDGET_TOKENS = 1024  # https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking


class Named(msgspec.Struct, frozen=True):
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
    format: Named | None = None


class _Thinking(msgspec.Struct, frozen=True):
    type: str | None = None
    budget_tokens: int | None = None


_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_TOOLS = msgspec.json.Decoder(list[Named])
TOOL = msgspec.json.Decoder(Named)
_CONFIG = msgspec.json.Decoder(_OutputConfig)
_THINKING = msgspec.json.Decoder(_Thinking)


def parse(body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
    """Raises MalformedRequest, whatever the body is."""
    return reader.parse(STYLE, body, bounds, memo)


def _frame(reading: Reader, taken: bodies.Body) -> Frame:
    members = taken.members
    before, tools = _system(members, reading), _offered(members, reading)
    apart = apart_in((*before, *tools))
    names = [name for piece in tools for name in piece.names]
    offered = bodies.bounded_tools(names, reading.bounds)
    choice = read(members, "tool_choice", TOOL, "an object") or Named()
    disabled = choice.type == "none"
    request = Request(
        dialect="messages",
        model=bodies.read_model(members),
        stream=read_flag(members, "stream"),
        messages=(),
        output_bound=read_count(members, "max_tokens", least=0),  # 0 only warms the cache
        choices=1,
        least_output=_least_output(members),
        text_bytes=bodies.prompt_bytes(taken.places, _TOKENISED),
        offered_tools=offered,
        tools_disabled=disabled or not offered,
        forces_tool=choice.type in _FORCED_CHOICES,
        forces_format=_forces_format(members),
        hints=bodies.read_hints(members),
    )
    messages = tuple([message for piece in before for message in piece.messages])
    return Frame(request, members, reading.bounds, messages, apart, disabled)


def _exposure(frame: Frame, apart: Apart) -> Exposure:
    members = frame.members
    marker = longest_write([members["cache_control"]] if "cache_control" in members else ())
    return exposure_of(
        members,
        writes=longest((marker, apart.writes)),
        audio=apart.files > 0,
        searches=apart.searches,
    )


def _least_output(members: bodies.Members) -> int:
    thinking = members.get("thinking")
    if thinking is None or (budget := budget_tokens(thinking)) is None:
        return 0
    return (
        LEAST_BUDGET_TOKENS + 1 if budget < (read_count(members, "max_tokens", least=0) or 0) else 0
    )


def budget_tokens(raw: msgspec.Raw | bytes) -> int | None:
    """The thinking budget, which must stay below max_tokens. One above it is meant (interleaved
    thinking), and as legal after as before."""
    try:
        thinking = _THINKING.decode(raw)
    except ValueError:
        return None  # none, or one that the provider will refuse
    return thinking.budget_tokens if thinking.type == "enabled" else None


def _offered(members: Members, reading: Reader) -> list[Piece]:
    raw = given(members, "tools")
    tools = [] if raw is None else [reading.part("tools", raw, _tools)]
    if servers := read(members, "mcp_servers", _TOOLS, "a list of servers"):
        tools.append(Piece(names=tuple(map(name_of, servers))))
    return tools


def _tools(raw: msgspec.Raw) -> Piece:
    tools = read_raw(raw, "tools", _TOOLS, "a list of tools")
    writes = longest_write([tool.cache_control for tool in tools])
    searches = sum([tool.searches for tool in tools])
    apart = Apart(writes=writes, searches=searches)
    return Piece(names=tuple(map(name_of, tools)), apart=None if apart == NOTHING else apart)


def name_of(tool: Named) -> str:
    return tool.name or tool.mcp_server_name or tool.type or ""


def _sent(members: Members, bounds: Bounds) -> list[msgspec.Raw]:
    sent = read(members, "messages", _MESSAGES, "a list of messages") or []
    if len(sent) > bounds.messages:
        bodies.refuse(f"expected at most {bounds.messages} messages", "messages")
    return sent


def _system(members: Members, reading: Reader) -> list[Piece]:
    raw = members.get("system")
    return [] if raw is None else [reading.part("system", raw, read_system)]


def _forces_format(members: Members) -> bool:
    config = read(members, "output_config", _CONFIG, "an object") or _OutputConfig()
    old = read(members, "output_format", TOOL, "an object")
    return config.format is not None or old is not None


STYLE = reader.Style(
    kind="messages",
    listed="messages",
    governed=_GOVERNED,
    apart=("system", "tools"),
    depth=DEPTH,
    frame=_frame,
    sent=_sent,
    told=read_told,
    read=read_turn,
    exposure=_exposure,
)
