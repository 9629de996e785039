"""Reads a chat-completions request into the view that decisions are made on."""

from collections.abc import Collection, Sequence

import msgspec

from proxy.core.dialects import reader
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import (
    Body,
    Members,
    bounded_tools,
    given,
    prompt_bytes,
    read,
    read_count,
    read_flag,
    read_hints,
    read_model,
    read_raw,
)
from proxy.core.dialects.chat_messages import read_message, sent_messages
from proxy.core.dialects.chat_offer import FUNCTIONS, TOOLS, Named
from proxy.core.dialects.chat_told import DEPTH, read_told
from proxy.core.dialects.exposing import (
    USUAL_SEARCHES,
    apart_in,
    exposure_of,
    longest,
    may_be_marked,
    scanned_write,
)
from proxy.core.dialects.reader import Reader
from proxy.core.exposure import CacheWrites, Exposure
from proxy.core.memo import Memo
from proxy.core.request import Apart, Frame, Message, Piece, Request

MAX_CHOICES = 128
BOUND_KEYS = ("max_completion_tokens", "max_tokens")
"""Where a client may put its output bound; the first is the current one."""

_GOVERNED = (
    *("model", "messages", "stream", "stream_options", "n", *BOUND_KEYS),
    *("tools", "tool_choice", "functions", "function_call", "response_format"),
    *("user", "metadata", "prompt_cache_key", "safety_identifier"),
    *("service_tier", "modalities", "audio", "web_search_options", "plugins"),
)
_PROMPT_KEYS = ("messages", "tools", "functions", "response_format", "tool_choice")
_PARTS = frozenset({"messages", "tools", "functions"})


class _AllowedTools(msgspec.Struct):
    mode: str = "auto"


class _ToolChoice(msgspec.Struct):
    type: str = "function"
    allowed_tools: _AllowedTools | None = None


class _ResponseFormat(msgspec.Struct):
    type: str = "text"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_FUNCTION_CHOICE = msgspec.json.Decoder(str | Named)
_CHOICE = msgspec.json.Decoder(str | _ToolChoice)
_FORMAT = msgspec.json.Decoder(_ResponseFormat)
_STREAM_OPTIONS = msgspec.json.Decoder(_StreamOptions)


def parse(body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
    """Reads a request body. Raises MalformedRequest (never anything else).

    Where a client gives both max_tokens and max_completion_tokens, which one a provider takes is
    not known: the bound is the larger, and `rewrite` lowers both.
    """
    return reader.parse(STYLE, body, bounds, memo)


def _frame(reading: Reader, taken: Body) -> Frame:
    members = taken.members
    model = read_model(members)
    tools = _offered(members, reading)
    apart = apart_in(tools)
    stream = read_flag(members, "stream")
    offered = bounded_tools([name for piece in tools for name in piece.names], reading.bounds)
    disabled, forced = _tool_choice(members)
    request = Request(
        dialect="chat",
        model=model,
        stream=stream,
        messages=(),
        output_bound=read_bound(members, BOUND_KEYS),
        choices=read_count(members, "n", most=MAX_CHOICES) or 1,
        text_bytes=prompt_bytes(taken.places, _PROMPT_KEYS),
        offered_tools=offered,
        tools_disabled=disabled or not offered,
        forces_tool=forced,
        forces_format=_forces_format(members),
        include_usage=stream and wants_usage(members),
        hints=read_hints(members),
    )
    return Frame(request, members, reading.bounds, (), apart, disabled)


def _told(written: reader.Written, frame: Frame) -> list[Message] | None:
    """Only of Claude are cache markers asked for; then what may hold one is read part by part."""
    if "claude" in frame.request.model.lower() and may_be_marked(written):
        return None
    return read_told(written)


def read_bound(members: Members, keys: Sequence[str], *, least: int = 1) -> int | None:
    """The largest output bound given under any of `keys`, None without one."""
    given = [read_count(members, key, least=least) for key in keys]
    return max((bound for bound in given if bound is not None), default=None)


def wants_usage(members: Members) -> bool:
    """Whether the client asks for the usage chunk itself."""
    options = read(members, "stream_options", _STREAM_OPTIONS, "an object of flags")
    return options is not None and options.include_usage is True


def _offered(members: Members, reading: Reader) -> list[Piece]:
    raw = given(members, "tools")
    tools = [] if raw is None else [reading.part("chat tools", raw, _tools)]
    if functions := read(members, "functions", FUNCTIONS, "a list of functions"):
        writes = scanned_write(members["functions"])
        tools.append(Piece(names=tuple([one.name for one in functions]), apart=_marked(writes)))
    return tools


def _marked(writes: CacheWrites) -> Apart | None:
    return None if writes == "none" else Apart(writes=writes)


def _tools(raw: msgspec.Raw) -> Piece:
    tools = read_raw(raw, "tools", TOOLS, "a list of tools")
    names = [tool.name for tool in tools]
    return Piece(names=tuple(names), apart=_marked(scanned_write(raw)))


def _forces_format(members: Members) -> bool:
    form = read(members, "response_format", _FORMAT, "an object with a type")
    return form is not None and form.type != "text"


def _exposure(frame: Frame, apart: Apart) -> Exposure:
    members, model = frame.members, frame.request.model
    speaks = "audio" in members or b"audio" in bytes(members.get("modalities", b""))
    searches = _searches(members, model, frame.request.offered_tools)
    return exposure_of(
        members,
        writes=_writes(members, apart) if "claude" in model.lower() else "none",
        audio=apart.files > 0 or speaks,
        searches=USUAL_SEARCHES if searches else 0,
    )


def _writes(members: Members, apart: Apart) -> CacheWrites:
    """Only Claude, which a router may serve in this dialect, has markers."""
    others = [b'"%b":%b' % (key.encode(), members[key]) for key in members if key not in _PARTS]
    return longest([apart.writes, *map(scanned_write, others)])


def _searches(members: Members, model: str, offered: Collection[str]) -> bool:
    """Whether OpenRouter or the provider may search, and bill it."""
    if model.endswith(":online") or "web_search_options" in members or "plugins" in members:
        return True
    return any(name.endswith(":web_search") for name in offered)


def _tool_choice(members: Members) -> tuple[bool, bool]:
    """(no tool may be called, one must be)."""
    choice = read(members, "tool_choice", _CHOICE, "a string or an object")
    if choice is None:
        legacy = read(members, "function_call", _FUNCTION_CHOICE, "a string or an object")
        return legacy == "none", isinstance(legacy, Named)
    if isinstance(choice, str):
        return choice == "none", choice in ("required", "any")
    if choice.allowed_tools is not None:
        return False, choice.allowed_tools.mode == "required"
    return False, True


STYLE = reader.Style(
    kind="chat",
    listed="messages",
    governed=_GOVERNED,
    apart=("tools",),
    depth=DEPTH,
    frame=_frame,
    sent=sent_messages,
    told=_told,
    read=read_message,
    exposure=_exposure,
)
