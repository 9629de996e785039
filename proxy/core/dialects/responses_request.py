"""Reads and rewrites request bodies of `/v1/responses`."""

import msgspec

from proxy.core.dialects import body as bodies
from proxy.core.dialects import reader
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import (
    TEXT,
    Members,
    given,
    read,
    read_count,
    read_flag,
    read_raw,
    read_text,
)
from proxy.core.dialects.exposing import USUAL_SEARCHES, apart_in, exposure_of
from proxy.core.dialects.reader import Reader
from proxy.core.dialects.reported import counted, value_of
from proxy.core.dialects.responses_told import DEPTH, read_told
from proxy.core.dialects.responses_turns import (
    TOOLS,
    Named,
    plain_message,
    read_item,
    tool_names,
)
from proxy.core.exposure import CacheWrites, Exposure
from proxy.core.memo import Memo
from proxy.core.request import Apart, Frame, Message, Piece, Request

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
_BILLEDTOOLS = ("web_search", "file_search", "code_interpreter")
_FORCED_FORMATS = ("json_schema", "json_object")


class _Format(msgspec.Struct, frozen=True):
    format: Named | None = None


class _Conversation(msgspec.Struct, frozen=True):
    id: str


_INPUT = msgspec.json.Decoder(str | list[msgspec.Raw])
_CHOICE = msgspec.json.Decoder(str | Named)
_TEXT = msgspec.json.Decoder(_Format)
_CONVERSATION = msgspec.json.Decoder(str | _Conversation)


def parse(body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
    """Raises MalformedRequest, whatever the body is."""
    return reader.parse(STYLE, body, bounds, memo)


def _frame(reading: Reader, taken: bodies.Body) -> Frame:
    members = taken.members
    tools = _offered(members, reading)
    apart = apart_in(tools)
    names = [name for piece in tools for name in piece.names]
    offered = bodies.bounded_tools(names, reading.bounds)
    choice = read(members, "tool_choice", _CHOICE, "a string or an object")
    hints, conversation = _hints(members)
    request = Request(
        dialect="responses",
        # A stored prompt may bring its own model; then its name is not known here.
        model=bodies.read_model(members, needed="prompt" not in members),
        stream=read_flag(members, "stream"),
        messages=(),
        output_bound=read_count(members, "max_output_tokens"),
        choices=1,
        text_bytes=bodies.prompt_bytes(taken.places, _TOKENISED),
        offered_tools=offered,
        tools_disabled=choice == "none" or not offered,
        forces_tool=_forces(choice),
        forces_format=_forces_format(members),
        background=read_flag(members, "background"),
        previous_response_id=read_text(members, "previous_response_id") or None,
        conversation_id=conversation,
        hints=hints,
    )
    before = _instructed(members, reading)
    disabled = choice == "none"
    return Frame(request, members, reading.bounds, before, apart, disabled)


def _sent(members: Members, bounds: Bounds) -> Message | list[msgspec.Raw]:
    sent = read(members, "input", _INPUT, "a string or a list of items") or []
    if isinstance(sent, str):
        return plain_message("user", sent)
    if len(sent) > bounds.messages:
        bodies.refuse(f"expected at most {bounds.messages} items", "input")
    return sent


def _instructed(members: Members, reading: Reader) -> tuple[Message, ...]:
    raw = given(members, "instructions")
    return () if raw is None else reading.part("instructions", raw, _instructions).messages


def _instructions(raw: msgspec.Raw) -> Piece:
    text = read_raw(raw, "instructions", TEXT, "a string")
    return Piece((plain_message("system", text),) if text else ())


def _offered(members: Members, reading: Reader) -> list[Piece]:
    raw = given(members, "tools")
    return [] if raw is None else [reading.part("input tools", raw, _tools)]


def _tools(raw: msgspec.Raw) -> Piece:
    tools = read_raw(raw, "tools", TOOLS, "a list of tools")
    billed = any(one.type is not None and one.type.startswith(_BILLEDTOOLS) for one in tools)
    return Piece(names=tuple(tool_names(tools)), apart=Apart(searches=1) if billed else None)


def _hints(members: Members) -> tuple[dict[str, str], str | None]:
    """The hints, and the conversation that the provider keeps."""
    hints = bodies.read_hints(members)
    conversation = read(members, "conversation", _CONVERSATION, "an id or an object with one")
    if isinstance(conversation, _Conversation):
        hints["conversation"] = conversation = conversation.id
    return hints, conversation or None


def _exposure(frame: Frame, apart: Apart) -> Exposure:
    """Of Claude, which a router may serve in this dialect, the markers are not read."""
    members = frame.members
    writes: CacheWrites = "1h" if "claude" in frame.request.model.lower() else "none"
    most = counted(value_of(members.get("max_tool_calls", msgspec.Raw()))) or USUAL_SEARCHES
    searches = most if apart.searches else 0
    return exposure_of(members, writes=writes, audio=apart.files > 0, searches=searches)


def _forces(choice: str | Named | None) -> bool:
    if isinstance(choice, Named) and choice.type == "allowed_tools":
        return choice.mode == "required"
    return isinstance(choice, Named) or choice == "required"


def _forces_format(members: Members) -> bool:
    text = read(members, "text", _TEXT, "an object with a format")
    return bool(text and text.format and text.format.type in _FORCED_FORMATS)


STYLE = reader.Style(
    kind="input",
    listed="input",
    governed=_GOVERNED,
    apart=("tools",),
    depth=DEPTH,
    frame=_frame,
    sent=_sent,
    told=read_told,
    read=read_item,
    exposure=_exposure,
    joins=True,
)
