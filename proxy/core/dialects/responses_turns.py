"""Reads one item of a `/v1/responses` request, which may be part of a message or none."""

from collections.abc import Iterable, Iterator

import msgspec

from proxy.core.canonical import attached_digest, message_digest
from proxy.core.dialects.body import read_raw
from proxy.core.dialects.conversations import answer_of
from proxy.core.dialects.responses_items import (
    APPROVED,
    DENIED,
    ITEM,
    Content,
    Item,
    read_content,
)
from proxy.core.request import Apart, Element, Message, Piece, Role, Saying
from proxy.errors import MalformedRequest


class Named(msgspec.Struct, frozen=True):
    """A tool, a tool choice or a format, by what tells it from others. tools: a namespace's."""

    type: str | None = None
    name: str | None = None
    server_label: str | None = None
    mode: str | None = None
    tools: list["Named"] | None = None


TOOL = msgspec.json.Decoder(Named)
TOOLS = msgspec.json.Decoder(list[Named])


def tool_names(tools: Iterable[Named]) -> Iterator[str]:
    """The names of tools; calls name a namespace's tool by its own."""
    for tool in tools:
        if tool.type == "namespace":
            yield from tool_names(tool.tools or ())
        else:
            yield name_of(tool)


def name_of(tool: Named) -> str:
    return tool.name or tool.server_label or tool.type or ""


def plain_message(role: Role, text: str) -> Message:
    return _message(role, Content(text))


def read_item(raw: msgspec.Raw, at: int) -> Element:
    """The item at this place; nothing of what the provider did by itself (reasoning, searches).

    Raises MalformedRequest."""
    param = f"input[{at}]"
    item = read_raw(raw, param, ITEM, "an item")
    if item.type == "additional_tools" and bytes(item.tools) not in (b"", b"null"):
        tools = read_raw(item.tools, f"{param}.tools", TOOLS, "a list of tools")
        return Piece(names=tuple(tool_names(tools)))
    try:
        answered = _answered(item)
        content = None if answered else _content(item)
    except ValueError as error:
        raise MalformedRequest(f"{param}: expected text or parts", param=param) from error
    if answered:
        return answered
    if content is None:
        return Piece()
    result_id = item.result_id if item.is_result else None
    message = _message(_role(item), content, result_id=result_id)
    apart = _apart(content)
    return message if apart is None else Piece((message,), apart=apart)


def _answered(item: Item) -> Element | None:
    """What an item of an earlier answer said; None if it is from somebody else."""
    call = item.tool_call()
    if call is not None:
        return _saying(Saying(tool_call=call))
    if item.is_message:
        if item.role != "assistant":
            return None
        said = read_content(item.content)
        saying = Saying(said.text, said.attachments)
        return _saying(saying, _apart(said))
    if item.type in (None, "item_reference") and item.id:
        # The provider kept what it said; two references are the same only if they name the same.
        reference = msgspec.json.encode({"item_reference": item.id})
        return _saying(Saying(attachments=(reference,)))
    return None


def _saying(saying: Saying, apart: Apart | None = None) -> Element:
    message = answer_of((saying,))
    return Piece((message,), saying, apart=apart) if saying.attachments else message


def _apart(content: Content) -> Apart | None:
    if not content.attachments:
        return None
    return Apart(content.images, content.files, content.inline_bytes)


def _content(item: Item) -> Content | None:
    """What a message or a tool's result says; None for items that say nothing."""
    if item.is_message:
        return read_content(item.content)
    if item.type == "mcp_approval_response":
        return Content(APPROVED if item.approve else DENIED)
    return read_content(item.output) if item.is_result else None


def _role(item: Item) -> Role:
    if item.is_result:
        return "tool"
    return "system" if item.role in ("system", "developer") else "user"


def _message(role: Role, content: Content, result_id: str | None = None) -> Message:
    digest = message_digest(
        role, content.text, tool_result_id=result_id, attachments=content.attachments
    )
    attached = attached_digest(content.attachments)
    return Message(role, content.text, digest, (), result_id, attached=attached)
