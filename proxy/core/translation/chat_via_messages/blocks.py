"""Content parts of chat as blocks of the Messages API.

Blank texts are left out, for Anthropic refuses them ("text content blocks must contain
non-whitespace text", read in users' reports 2026-11-30).
"""

import re
from collections.abc import Iterator

import msgspec

from proxy.core.dialects.chat_messages import TEXT_PARTS
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.json_values import ABSENT, Json, is_given

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[\w-]+=[^;,]*)*);base64,(.+)", re.S | re.A)
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_THOUGHTS = frozenset({"thinking", "reasoning"})


class _ImageUrl(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | str | None = None
    file: _File | None = None
    cache_control: msgspec.Raw = ABSENT


_STRING = msgspec.json.Decoder(str)
_PARTS = msgspec.json.Decoder(list[_Part | str])


def blocks_of(content: msgspec.Raw, marker: msgspec.Raw = ABSENT) -> list[Json]:
    """The blocks of a message's content. marker: its `cache_control`, which its last block gets.

    Raises Untranslatable, and ValueError for what is no content."""
    blocks = list(_blocks(content)) if is_given(content) else []
    if blocks and is_given(marker):
        blocks[-1].setdefault("cache_control", marker)
    return blocks


def text_block(text: str) -> list[Json]:
    """One block, or none where there is nothing to read in the text."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _blocks(content: msgspec.Raw) -> Iterator[Json]:
    if bytes(content).startswith(b'"'):
        yield from text_block(_STRING.decode(content))
        return
    for part in _PARTS.decode(content):
        if isinstance(part, str):
            yield from text_block(part)
            continue
        for block in _block(part):
            if is_given(part.cache_control):
                block["cache_control"] = part.cache_control
            yield block


def _block(part: _Part) -> list[Json]:
    if part.type in _THOUGHTS:
        return []
    if part.type in TEXT_PARTS:
        return text_block(part.text or part.refusal or "")
    if part.type == "image_url" and part.image_url is not None:
        sent = part.image_url
        return [_image(sent if isinstance(sent, str) else sent.url)]
    if part.type == "file" and part.file is not None:
        return [_document(part.file)]
    raise Untranslatable(f"Messages have no content of type {part.type[:64]!r}.")


def _image(url: str) -> Json:
    if url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _inline(url)
    if media_type not in _IMAGES:
        raise Untranslatable(f"Messages take no images of type {media_type[:64]!r}.")
    return {"type": "image", "source": _source(media_type, data)}


def _document(file: _File) -> Json:
    if file.file_data is None:
        raise Untranslatable("A file that the client's provider keeps is known to no other.")
    media_type, data = _inline(file.file_data)
    if media_type != _PDF:
        raise Untranslatable(f"Messages take no files of type {media_type[:64]!r}.")
    title: Json = {"title": file.filename} if file.filename else {}
    return {"type": "document", "source": _source(media_type, data)} | title


def _inline(url: str) -> tuple[str, str]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise Untranslatable("An image or a file is neither at a URL nor in base64.")
    return found[1].lower().replace("image/jpg", "image/jpeg"), found[3]


def _source(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}
