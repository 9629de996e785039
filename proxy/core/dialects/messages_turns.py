"""Reads one message of a `/v1/messages` request, which may be several of ours."""

from collections.abc import Iterator, Sequence

import msgspec

from proxy.core.canonical import attached_digest, message_digest
from proxy.core.dialects.body import read_raw
from proxy.core.dialects.exposing import longest_write
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
from proxy.core.request import Apart, Element, Message, Piece, Role
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest

_Said = tuple[Message, Content]


class _Sent(msgspec.Struct, frozen=True):
    role: str
    content: msgspec.Raw = msgspec.Raw()


_MESSAGE = msgspec.json.Decoder(_Sent)


def read_system(raw: msgspec.Raw) -> Piece:
    """The system prompt. Raises MalformedRequest."""
    placed = _blocks(raw, "system")
    said = [_message("system", content_of(placed))] if placed else []
    return _piece(said, marks_of(placed))


def read_turn(raw: msgspec.Raw, at: int) -> Element:
    """The message at this place. Raises MalformedRequest."""
    param = f"messages[{at}]"
    message = read_raw(raw, param, _MESSAGE, "a message")
    placed = _blocks(message.content, param)
    marks = marks_of(placed)
    try:
        piece = _piece(list(_said(message.role, placed, marks)), marks)
    except ValueError as error:
        raise MalformedRequest(f"{param}: expected text or blocks", param=param) from error
    return piece.messages[0] if piece.apart is None and len(piece.messages) == 1 else piece


def _blocks(raw: msgspec.Raw, param: str) -> list[Placed]:
    try:
        return read_blocks(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"{param}: expected text or blocks", param=param) from error


def _said(role: str, placed: Sequence[Placed], marks: list[msgspec.Raw]) -> Iterator[_Said]:
    """An assistant's blocks are one message; each tool result of a user is one of its own. The
    cache markers inside results are put beside."""
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
    attached = attached_digest(content.attachments)
    return Message(role, content.text, digest, calls, result_id, is_error, attached), content


def _piece(said: Sequence[_Said], marks: Sequence[msgspec.Raw]) -> Piece:
    messages = tuple([message for message, _ in said])
    images = files = hidden_bytes = 0
    for _, content in said:
        images += content.images
        files += content.files
        hidden_bytes += content.hidden_bytes
    writes = longest_write(marks)
    if not hidden_bytes and writes == "none":
        return Piece(messages)
    return Piece(messages, apart=Apart(images, files, hidden_bytes, writes))
