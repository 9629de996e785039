"""Reads the messages of a chat-completions request all at once, where they are as most are.

What has a member that is not listed here (images, custom tools, whatever a client made up) is left
to `chat_messages`. So all that is taken here is known to be no deeper than `DEPTH`: to count the
brackets would take longer than to read them.
"""

import msgspec

from proxy.core.canonical import canonical_arguments, said_digest
from proxy.core.dialects.chat_messages import ROLES, TEXT_PARTS
from proxy.core.request import Message, Role
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
    for one in sent:
        role = ROLES.get(one.role)
        said = one.content
        text = said if isinstance(said, str) else _text(said)
        if role is None or text is None:
            return None
        text = text or one.refusal or ""
        if one.tool_calls:
            spoken.append(_called(role, text, one.tool_calls, one.tool_call_id))
        elif role == "tool":
            of_call = one.tool_call_id or ""
            spoken.append(Message(role, text, said_digest(role, text, (), of_call), (), of_call))
        else:
            spoken.append(Message(role, text, said_digest(role, text, (), "")))
    return spoken


def _text(content: list[_Part] | None) -> str | None:
    """None where something in it is no text."""
    if content is None:
        return ""
    for part in content:
        if part.type not in TEXT_PARTS:
            return None
    return "".join([part.text or part.refusal or "" for part in content])


def _called(role: Role, text: str, sent: list[_Call], result_id: str | None) -> Message:
    if role == "tool":
        digest = said_digest(role, text, (), result_id or "")
        return Message(role, text, digest, (), result_id or "")
    if role != "assistant":
        return Message(role, text, said_digest(role, text, (), ""))
    calls: list[ToolCall] = []
    spelled: list[tuple[str, str, str]] = []
    for call in sent:
        function, call_id = call.function, call.id or ""
        name, arguments = function.name or "", function.arguments or ""
        calls.append(ToolCall(call_id, name, arguments))
        spelled.append((call_id, name, canonical_arguments(arguments)))
    return Message(role, text, said_digest(role, text, spelled, ""), tuple(calls))
