"""Content blocks of the Messages API as content parts of chat."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.json_values import ABSENT, Json, is_given

_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


class _Source(msgspec.Struct):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: msgspec.Raw = ABSENT


class SentBlock(msgspec.Struct):
    type: str = ""
    text: str | None = None
    source: _Source | str | None = None  # a text in search results
    title: str | None = None
    content: msgspec.Raw = ABSENT
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    tool_use_id: str | None = None
    is_error: bool | None = None


class Content(NamedTuple):
    """texts: in order. parts: all, in order. others: those that are no text."""

    texts: list[str]
    parts: list[Json]
    others: list[Json]

    @property
    def written(self) -> str | list[Json]:
        """As `content`: one text where there is nothing else, for several providers read no list
        of parts (DeepSeek, templates of local models)."""
        return self.parts if self.others else "\n\n".join(self.texts)


_STRING = msgspec.json.Decoder(str)
_BLOCKS = msgspec.json.Decoder(list[SentBlock])


def read_blocks(raw: msgspec.Raw) -> list[SentBlock]:
    """Content as blocks; a string is one of text. Raises ValueError for what is neither."""
    if not is_given(raw):
        return []
    if bytes(raw).startswith(b'"'):
        return [SentBlock("text", _STRING.decode(raw))]
    return _BLOCKS.decode(raw)


def content_of(blocks: Iterable[SentBlock]) -> Content:
    """What a user, the system or a tool's result says. Raises Untranslatable, ValueError."""
    parts: list[Json] = []
    for block in blocks:
        parts += _parts(block)
    texts = [str(part["text"]) for part in parts if part["type"] == "text"]
    return Content(texts, parts, [part for part in parts if part["type"] != "text"])


def text_parts(texts: Sequence[str]) -> list[Json]:
    return [{"type": "text", "text": text} for text in texts if text]


def _parts(block: SentBlock) -> list[Json]:
    if block.type in _THOUGHTS:
        return []
    if block.type == "text":
        return text_parts([block.text or ""])
    if block.type == "image" and isinstance(block.source, _Source):
        return [{"type": "image_url", "image_url": {"url": _url(block.source)}}]
    if block.type == "document" and isinstance(block.source, _Source):
        return _document(block.source, block.title or "")
    if block.type == "search_result":
        source = block.source if isinstance(block.source, str) else ""
        inside = content_of(read_blocks(block.content))
        return text_parts([block.title or "", source, *inside.texts])
    raise Untranslatable(f"Chat has no content of type {block.type[:64]!r}.")


def _document(source: _Source, title: str) -> list[Json]:
    if source.type == "text":
        return text_parts([title, source.data])
    if source.type == "content":
        return text_parts([title]) + content_of(read_blocks(source.content)).parts
    if source.type == "base64":
        file = {"filename": title or "document.pdf", "file_data": _url(source)}
        return [{"type": "file", "file": file}]
    raise Untranslatable(f"Chat has no documents from a source of type {source.type[:64]!r}.")


def _url(source: _Source) -> str:
    if source.type == "url":
        return source.url
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    raise Untranslatable("A file that the client's provider keeps is known to no other.")
