"""Messages of the Messages API in their original bytes: where what they say is, and new ones."""

import msgspec

from proxy.core.edits import Span, fields_of


class _Role(msgspec.Struct):
    role: str


_ROLE = msgspec.json.Decoder(_Role)


def role_of(body: bytes, message: Span) -> str:
    """Who says the message that is there."""
    return _ROLE.decode(memoryview(body)[message.start : message.end]).role


def content_of(body: bytes, message: Span) -> Span | None:
    """Where its content is, a string or a list; None where it has none."""
    found = fields_of(body, message).get("content")
    return found if found and body[found.start : found.start + 1] in (b'"', b"[") else None


def user_message(blocks: bytes) -> bytes:
    """A user's message of these blocks."""
    return b'{"role":"user","content":[%b]}' % blocks
