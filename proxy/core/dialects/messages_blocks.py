"""Content blocks of the Messages API, as requests send them and answers hold them.

The shapes: https://docs.anthropic.com/en/api/messages (read 2026-11-22).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from proxy.core.usage import ToolCall

_ABSENT = msgspec.Raw()
_INLINE_FILES = frozenset({"document", "container_upload"})
_TEXT_SOURCES = frozenset({"text", "content"})


class Block(msgspec.Struct, frozen=True):
    """One block, of any type."""

    type: str | None = None
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _ABSENT
    tool_use_id: str | None = None
    content: msgspec.Raw = _ABSENT
    is_error: bool | None = None
    source: msgspec.Raw = _ABSENT
    signature: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    cache_control: msgspec.Raw = _ABSENT

    def tool_call(self, written: str = "") -> ToolCall | None:
        """The call that it asks the client for; None if it is no such block.

        written: the arguments as they were streamed; without any, `input` holds them.
        """
        if self.type != "tool_use":
            return None
        return ToolCall(
            self.id or "", self.name or "", written or bytes(self.input).decode() or "{}"
        )


class _Source(msgspec.Struct, frozen=True):
    type: str | None = None


class Placed(NamedTuple):
    """A block and its JSON as it was sent."""

    block: Block
    raw: bytes


class Content(msgspec.Struct, frozen=True):
    """What a message or a result says. `hidden_bytes` of it are no text that is tokenised."""

    text: str = ""
    attachments: tuple[bytes, ...] = ()
    images: int = 0
    files: int = 0
    hidden_bytes: int = 0


_STRING = msgspec.json.Decoder(str)
_BLOCKS = msgspec.json.Decoder(list[Block])
_RAW_BLOCKS = msgspec.json.Decoder(list[msgspec.Raw])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SOURCE = msgspec.json.Decoder(_Source)


def read_blocks(raw: msgspec.Raw) -> list[Placed]:
    """Content as blocks; a string is one block of text; absent or null is none.

    Raises ValueError for anything else.
    """
    written = bytes(raw)
    if written in (b"", b"null"):
        return []
    if written.startswith(b'"'):
        return [Placed(Block("text", _STRING.decode(written)), written)]
    blocks = _BLOCKS.decode(written)
    return [
        Placed(block, bytes(one))
        for block, one in zip(blocks, _RAW_BLOCKS.decode(written), strict=True)
    ]


def marks_of(placed: Iterable[Placed]) -> list[msgspec.Raw]:
    """The cache markers on these blocks."""
    return [one.block.cache_control for one in placed if one.block.cache_control is not _ABSENT]


def content_of(placed: Sequence[Placed]) -> Content:
    """What the blocks of a user, or of a tool's result, say. Raises ValueError."""
    others = [one for one in placed if one.block.type != "text"]
    text = "".join(one.block.text or "" for one in placed if one.block.type == "text")
    if not others:
        return Content(text)
    images = sum(one.block.type == "image" for one in others)
    files = sum(_is_file(one.block) for one in others)
    inline = (one for one in others if one.block.type == "image" or _is_file(one.block))
    hidden = sum(len(one.raw) for one in inline)
    return Content(text, tuple(_unmarked(one.raw) for one in others), images, files, hidden)


def said(blocks: Iterable[Block]) -> tuple[str, tuple[ToolCall, ...]]:
    """Text and calls of an answer. What the provider thought or ran by itself says nothing."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for block in blocks:
        call = block.tool_call()
        if call is not None:
            calls.append(call)
        elif block.type == "text":
            texts.append(block.text or "")
    return "".join(texts), tuple(calls)


def sealed_bytes(blocks: Iterable[Block]) -> int:
    """Signatures and redacted thinking: ciphertext, far longer than what it stands for."""
    return sum(
        memoryview(block.signature).nbytes + memoryview(block.data).nbytes for block in blocks
    )


def _unmarked(raw: bytes) -> bytes:
    """A block in one spelling, without the cache marker that moves from step to step."""
    members = _MEMBERS.decode(raw)
    members.pop("cache_control", None)
    return msgspec.json.encode(members, order="deterministic")


def _is_file(block: Block) -> bool:
    """A document of plain text is text, whatever it is called."""
    if block.type not in _INLINE_FILES:
        return False
    source = bytes(block.source)
    return not source.startswith(b"{") or _SOURCE.decode(source).type not in _TEXT_SOURCES
