"""Reads the messages of a `/v1/messages` request all at once, where they are as most are.

What has a member that is not listed here, or says more than text, calls and results, is left to
`messages_turns`. So all that is taken here is known to be no deeper than `DEPTH`, the arguments of
calls excepted.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import msgspec

from proxy.core.canonical import canonical_arguments, parts_nest_deeper, said_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.exposing import SHORT_LIVES
from proxy.core.exposure import CacheWrites
from proxy.core.request import Apart, Element, Frame, Message, Piece, Role
from proxy.core.usage import ToolCall

DEPTH = 8
"""Of a body whose messages are of these shapes, but for the arguments of calls, at most."""
_ARGUMENTS_LEVEL = 5
_QUOTE = b'"'
_ABSENT = msgspec.Raw()

_Scalar = str | int | float | bool | None
_Flat = dict[str, _Scalar] | None


class _Inner(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A block of a result."""

    type: str | None = None
    text: str | None = None
    citations: None = None
    cache_control: _Flat = None


class _Block(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: str | None = None
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _ABSENT
    tool_use_id: str | None = None
    content: str | list[_Inner] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    citations: None = None
    caller: _Flat = None
    cache_control: _Flat = None


class _Sent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str | list[_Block] | None = None
    id: str | None = None
    type: str | None = None
    model: str | None = None


_SENT = msgspec.json.Decoder(list[_Sent])
_ANSWER_BLOCKS = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
_USER_BLOCKS = frozenset({"text", "tool_result"})


def read_told(written: msgspec.Raw | bytes | memoryview, frame: Frame) -> list[Element] | None:
    """What each of these messages says, as `read_turn` would have it; None where that has to be
    asked, for one is of another shape, or none at all."""
    try:
        sent = _SENT.decode(written)
        arguments = _arguments(sent)
    except (ValueError, RecursionError):
        return None
    deepest = cast(Bounds, frame.bounds).json_depth - _ARGUMENTS_LEVEL
    if parts_nest_deeper(map(str.encode, arguments), deepest):
        return None
    elements: list[Element] = []
    written_each = iter(arguments)
    for one in sent:
        if one.role != "assistant":
            element = _heard(one)
        elif isinstance(one.content, list):
            element = _answered(one.content, written_each)
        else:
            element = _message("assistant", one.content or "")
        if element is None:
            return None
        elements.append(element)
    return elements


def _arguments(sent: Sequence[_Sent]) -> list[str]:
    """Of all calls in a row. Raises ValueError for what is not UTF-8."""
    return [
        bytes(block.input).decode() or "{}"
        for one in sent
        if one.role == "assistant" and isinstance(one.content, list)
        for block in one.content
        if block.type == "tool_use"
    ]


def _answered(blocks: Sequence[_Block], written: Iterator[str]) -> Element | None:
    """written: the arguments of these calls come next in it."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    spelled: list[tuple[str, str, str]] = []
    for block in blocks:
        if block.type == "tool_use":
            call = ToolCall(block.id or "", block.name or "", next(written))
            calls.append(call)
            spelled.append((call.call_id, call.name, canonical_arguments(call.arguments)))
        elif block.type not in _ANSWER_BLOCKS or block.input is not _ABSENT:
            return None
        elif block.type == "text":
            texts.append(block.text or "")
    sealed_bytes = _sealed_bytes(blocks)
    if sealed_bytes is None:
        return None
    text = "".join(texts)
    digest = said_digest("assistant", text, spelled, "")
    message = Message("assistant", text, digest, tuple(calls))
    writes = _writes(blocks)
    if not sealed_bytes and writes == "none":
        return message
    return Piece((message,), apart=Apart(hidden_bytes=sealed_bytes, writes=writes))


def _sealed_bytes(blocks: Sequence[_Block]) -> int | None:
    """Of what is ciphertext; None where something else stands in its place."""
    size_bytes = 0
    for block in blocks:
        if block.signature is not _ABSENT or block.data is not _ABSENT:
            for sealed in (bytes(block.signature), bytes(block.data)):
                if not sealed.isascii() or sealed[:1] not in (_QUOTE, b""):
                    return None
                size_bytes += len(sealed)
    return size_bytes


def _heard(one: _Sent) -> Element | None:
    """What a user said, or the tools that an answer called."""
    role: Role = "system" if one.role == "system" else "user"
    if not isinstance(one.content, list):
        return _message(role, one.content or "")
    texts: list[str] = []
    messages: list[Message] = []
    for block in one.content:
        text = _text(block.content) if block.type == "tool_result" else block.text or ""
        if block.type not in _USER_BLOCKS or text is None or not _is_bare(block):
            return None
        if block.type == "text":
            texts.append(text)
        else:
            messages.append(_result(block, text))
    if texts or not messages:
        messages.append(_message(role, "".join(texts)))
    writes = _writes(_marked(one.content))
    if len(messages) == 1 and writes == "none":
        return messages[0]
    return Piece(tuple(messages), apart=None if writes == "none" else Apart(writes=writes))


def _text(content: str | list[_Inner] | None) -> str | None:
    """What a result says; None where something in it is no text."""
    if not isinstance(content, list):
        return content or ""
    for inner in content:
        if inner.type != "text":
            return None
    return "".join([inner.text or "" for inner in content])


def _marked(blocks: Sequence[_Block]) -> Iterator[_Block | _Inner]:
    """All that may have a marker."""
    for block in blocks:
        yield block
        if block.type == "tool_result" and isinstance(block.content, list):
            yield from block.content


def _is_bare(block: _Block) -> bool:
    """Whether nothing in it has to be looked at for how deep it is."""
    return block.input is _ABSENT and block.signature is _ABSENT and block.data is _ABSENT


def _message(role: Role, text: str) -> Message:
    return Message(role, text, said_digest(role, text, (), ""))


def _result(block: _Block, text: str) -> Message:
    digest = said_digest("tool", text, (), block.tool_use_id or "")
    return Message("tool", text, digest, (), block.tool_use_id, block.is_error is True)


def _writes(blocks: Iterable[_Block | _Inner]) -> CacheWrites:
    """The longest that these blocks' markers ask for; one of a life that is not known here counts
    as the dearest."""
    longest: CacheWrites = "none"
    for block in blocks:
        if block.cache_control is not None:
            if block.cache_control.get("ttl") not in SHORT_LIVES:
                return "1h"
            longest = "5m"
    return longest
