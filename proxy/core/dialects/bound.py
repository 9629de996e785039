"""What of a conversation is bound to the provider that made it: how a refusal of it reads, and what
cannot be taken out at all.

The texts: users' reports of 2025 and 2026, read 2026-11-30 (Anthropic, Bedrock, OpenAI, Azure, xAI,
Gemini, Vertex, DeepSeek, Kimi, Cerebras, Groq, Mistral; routers quote them inside of their own).
"""

import re
from collections.abc import Iterator

import msgspec

from proxy.core.edits import Span, parts_of
from proxy.core.request import Request
from proxy.core.splice import raw_value

_REFUSED = frozenset({400, 404, 422})
_READ_BYTES = 16 * 1024
_QUOTES = b"\\`'\""
"""What texts are quoted with, however often one is inside of another."""
_HTML = re.compile(rb"\s*<(?:!doctype|html)", re.I)
_BOUND = re.compile(
    # Claude: signed thinking, and what of a provider's own search is sealed
    r"invalid signature in (?:redacted_)?thinking|content\.\d+\S*: invalid signature"
    r"|thinking\.signature|invalid data in redacted_thinking"
    r"|expected thinking or redacted_thinking, but found"
    r"|thinking blocks [^.]*cannot be modified|position cannot contain thinking"
    r"|input tag (?:redacted_)?thinking found|invalid encrypted_(?:content|index)"
    # OpenAI and its imitators: encrypted reasoning
    r"|encrypted[ _]content\b.{0,300}?could not be (?:verified|decrypted|parsed)"
    r"|could not decrypt the provided encrypted|could not decode the compaction blob"
    r"|encrypted[ _]content (?:was not issued|is not supported)"
    # their items and ids
    r"|was provided without its required|item with id \S+ not found"
    r"|items are not persisted when store is|expected an id that begins with"
    r"|input\[\d+\]\.(?:id|encrypted_content)\b|duplicate item found with id"
    r"|input\[\d+\]\.content: array too long\. expected an array with maximum length 0,"
    # Gemini; Mistral
    r"|thought[ _]?signature|tool call id was \S+ but must be"
    # reasoning in plain text, where it is not taken back, or wanted back
    r"|property (?:messages\.\d+\.\S*)?reasoning\w* is unsupported"
    r"|messages, ?\d+, ?assistant, ?reasoning|cannot contain reasoning content"
    r"|reasoning_content in the thinking mode must be passed back"
    r"|(?:missing|must include) reasoning_content|reasoning_content is missing"
)

_COMPACTED = frozenset({"compaction", "compaction_summary", "context_compaction"})
"""Items that stand for all that was said before, encrypted."""

_DEEPEST = 6
"""So many levels of content in content are looked into, each of which is read once more. A result
with a document of several parts has three."""


class _Part(msgspec.Struct):
    """A message, an item, or a part of what it says."""

    type: object = None
    id: object = None
    role: object = None
    content: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    encrypted_content: object = None
    file_id: object = None
    file: object = None
    source: object = None
    audio: object = None


_PART = msgspec.json.Decoder(_Part)
_KEPT = {
    "responses": ("previous_response_id", "conversation", "prompt"),
    "messages": ("container",),
}
"""Members that name what the provider keeps."""
_LISTED = {"responses": "input", "chat": "messages", "messages": "messages"}


def is_bound_refusal(status: int, body: bytes) -> bool:
    """Whether a provider refused a request for what another one made (or the same, elsewhere): sent
    again `unbound`, it may be taken. Of all other refusals no.

    status: 400 for the error of a stream that told it there."""
    if status not in _REFUSED or _HTML.match(body):
        return False
    text = body[:_READ_BYTES].translate(None, _QUOTES).decode("utf-8", "replace").lower()
    return _BOUND.search(text) is not None


def needs_state(body: bytes, request: Request) -> str | None:
    """What the request needs that only its provider has kept, by the name it has there; None where
    any other can answer it. Of requests that were parsed.

    Answers and conversations that are gone on from, items named by reference, stored prompts,
    compacted histories, uploaded files, what the model said aloud.
    """
    for key in _KEPT.get(request.dialect, ()):
        if raw_value(body, request.places, key) is not None:
            return key
    listed = _LISTED.get(request.dialect)
    for place in reversed(request.places):
        if place.key == listed:
            parts = _parts(body, Span(place.value_start, place.value_end))
            return next((kept for one in parts if (kept := _kept(one))), None)
    return None


def _kept(raw: bytes) -> str | None:
    """What a message or an item needs, with all of its parts."""
    part = _PART.decode(raw)
    if part.type == "item_reference" or (part.type is None and part.role is None and part.id):
        return "item_reference"
    if part.type in _COMPACTED and part.encrypted_content:
        return "compaction"
    if isinstance(part.audio, dict) and "id" in part.audio:
        return "audio"
    told = (*_inner(part.content, _DEEPEST), *_inner(part.output, _DEEPEST))
    return "file_id" if any(map(_is_upload, told)) else None


def _inner(raw: msgspec.Raw, levels: int) -> Iterator[_Part]:
    """All parts in it, with theirs."""
    if not levels:
        return
    written = bytes(raw)
    for one in _parts(written, Span(0, len(written))):
        part = _PART.decode(one)
        yield part
        yield from _inner(part.content, levels - 1)


def _is_upload(part: _Part) -> bool:
    """Whether it is a file that was uploaded before."""
    held = (part.file, part.source)
    return bool(part.file_id) or any(isinstance(one, dict) and one.get("file_id") for one in held)


def _parts(body: bytes, span: Span) -> Iterator[bytes]:
    if not body.startswith(b"[", span.start):
        return
    for one in parts_of(body, span):
        if body.startswith(b"{", one.start):
            yield body[one.start : one.end]
