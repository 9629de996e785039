"""Reads one message of a chat-completions request."""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.core.canonical import attached_digest, message_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Members, refuse
from proxy.core.dialects.chat_parts import Call, Function, argument_text, read_parts
from proxy.core.dialects.exposing import scanned_write
from proxy.core.exposure import CacheWrites
from proxy.core.request import Apart, Element, Message, Piece, Role
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_IMAGE_PARTS = frozenset({"image_url", "image", "input_image"})
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "reasoning"})


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    tool_call_id: str | None = None


_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(_Message)


def sent_messages(members: Members, bounds: Bounds) -> list[msgspec.Raw]:
    """The messages of a body, unread. Raises MalformedRequest."""
    raw = members.get("messages")
    if raw is None:
        refuse("expected a list of messages", "messages")
    try:
        sent = _MESSAGES.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _misfit("messages", error) from error
    if not sent:
        refuse("expected at least one message", "messages")
    if len(sent) > bounds.messages:
        refuse(f"expected at most {bounds.messages} messages", "messages")
    return sent


def _misfit(param: str, error: Exception) -> MalformedRequest:
    """From msgspec's words, `Expected … - at `$.role``, to `messages[3].role: expected …`."""
    expected, _, place = str(error).partition(" - at `$")
    param += place.rstrip("`")
    if expected.startswith("Expected `array`"):
        expected = "expected a list"
    return MalformedRequest(f"{param}: {expected[:1].lower()}{expected[1:]}", param=param)


def read_message(raw: msgspec.Raw, at: int) -> Element:
    """The message at this place. Raises MalformedRequest."""
    try:
        sent = _MESSAGE.decode(raw)
    except (ValueError, RecursionError) as error:
        raise _misfit(f"messages[{at}]", error) from error
    role = ROLES.get(sent.role)
    if role is None:
        refuse(f"expected one of {', '.join(ROLES)}", f"messages[{at}].role")
    if isinstance(sent.content, list):
        return _of_parts(role, sent, sent.content, at, scanned_write(raw))
    message = _message(role, sent, sent.content or sent.refusal or "")
    writes = scanned_write(raw)
    return message if writes == "none" else Piece((message,), apart=Apart(writes=writes))


def _of_parts(
    role: Role, sent: _Message, content: list[msgspec.Raw], at: int, writes: CacheWrites
) -> Element:
    texts: list[str] = []
    attachments: list[bytes] = []
    images = 0
    try:
        for part, raw in read_parts(content):
            if part.type in TEXT_PARTS:
                texts.append(part.said)
            else:
                attachments.append(bytes(raw))
                images += part.type in _IMAGE_PARTS
    except msgspec.DecodeError as error:
        param = f"messages[{at}].content"
        raise MalformedRequest(f"{param}: expected text or a list of parts", param=param) from error
    message = _message(role, sent, "".join(texts) or sent.refusal or "", attachments)
    if not attachments and writes == "none":
        return message
    hidden_bytes = sum(map(len, attachments))
    return Piece((message,), apart=Apart(images, len(attachments) - images, hidden_bytes, writes))


def _message(role: Role, sent: _Message, text: str, attachments: Sequence[bytes] = ()) -> Message:
    calls = _tool_calls(sent) if role == "assistant" else ()
    result_id = (sent.tool_call_id or "") if role == "tool" else None
    digest = message_digest(role, text, calls, tool_result_id=result_id, attachments=attachments)
    attached = attached_digest(attachments)
    return Message(role, text, digest, calls, result_id, attached=attached)


def _tool_calls(struct: _Message) -> tuple[ToolCall, ...]:
    """The legacy `function_call` has no id: "" links it to its result, and must prove nothing."""
    if struct.tool_calls is None is struct.function_call:
        return ()
    calls = [ToolCall(call.id or "", *call.called) for call in struct.tool_calls or ()]
    if struct.function_call is not None:
        function = struct.function_call
        calls.append(ToolCall("", function.name or "", argument_text(function.arguments)))
    return tuple(calls)
