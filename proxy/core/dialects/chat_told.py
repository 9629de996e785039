"""Reads the messages of a chat-completions request all at once, where they are as most are.

What has a member that is not listed here (images, custom tools, whatever a client made up) is left
to `chat_messages`. So all that is taken here is known to be no deeper than `DEPTH`: to count the
brackets would take longer than to read them.
"""

from collections.abc import Iterator

import msgspec

from proxy.core.canonical import canonical_each, said_digest
from proxy.core.dialects.chat_messages import ROLES, TEXT_PARTS
from proxy.core.request import Message
from proxy.core.usage import ToolCall

DEPTH = 8
"""Of a body whose messages are of these shapes, at most."""

_Scalar = str | int | float | bool | None
_Flat = dict[str, _Scalar] | None
_Told = dict[str, _Flat | str | int] | None


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    function: _Function
    id: str | None = None
    type: str | None = None
    index: int | None = None
    provider_specific_fields: _Flat = None
    extra_content: _Told = None  # Gemini's signatures of thought


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    cache_control: _Flat = None


class _Sent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    refusal: str | None = None
    function_call: None = None
    audio: None = None
    annotations: list[_Told] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[_Flat] | None = None
    thinking_blocks: list[_Flat] | None = None
    provider_specific_fields: _Told = None
    cache_control: _Flat = None
    id: str | None = None


_SENT = msgspec.json.Decoder(list[_Sent])


def read_told(written: msgspec.Raw | bytes | memoryview) -> list[Message] | None:
    """What each of these messages says, as `read_message` would have it; None where that has to be
    asked, for one is of another shape, or none at all."""
    try:
        sent = _SENT.decode(written)
    except (ValueError, RecursionError):
        return None
    spoken: list[Message] = []
    arguments = [
        call.function.arguments or "" for one in sent if one.tool_calls for call in one.tool_calls
    ]
    canonical = iter(canonical_each(arguments))
    for one in sent:
        role = ROLES.get(one.role)
        content = one.content
        text = content if isinstance(content, str) else _text(content)
        if role is None or text is None:
            return None
        text = text or one.refusal or ""
        calls: tuple[ToolCall, ...] = ()
        spelled: list[tuple[str, str, str]] = []
        if one.tool_calls:
            calls, spelled = _calls(one.tool_calls, canonical)
            if role != "assistant":
                calls, spelled = (), []
        result_id = (one.tool_call_id or "") if role == "tool" else None
        digest = said_digest(role, text, spelled, result_id or "")
        spoken.append(Message(role, text, digest, calls, result_id))
    return spoken


def _text(content: list[_Part] | None) -> str | None:
    """None where something in it is no text."""
    if content is None:
        return ""
    for part in content:
        if part.type not in TEXT_PARTS:
            return None
    return "".join([part.text or part.refusal or "" for part in content])


def _calls(
    calls: list[_Call], canonical: Iterator[str]
) -> tuple[tuple[ToolCall, ...], list[tuple[str, str, str]]]:
    """And as they are digested. canonical: the arguments of these calls come next in it."""
    made = [
        ToolCall(call.id or "", call.function.name or "", call.function.arguments or "")
        for call in calls
    ]
    return tuple(made), [(call.call_id, call.name, next(canonical)) for call in made]
