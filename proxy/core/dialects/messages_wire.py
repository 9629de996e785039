"""Messages of the Messages API in their original bytes: where what they say is, and new ones."""

import msgspec

from proxy.core.edits import Span
from proxy.core.splice import members


class _Role(msgspec.Struct):
    role: str


_ROLE = msgspec.json.Decoder(_Role)


def role_of(body: bytes, message: Span) -> str:
    """Who says the message that is there."""
    return _ROLE.decode(memoryview(body)[message.start : message.end]).role


def content_of(body: bytes, message: Span) -> Span | None:
    """Where its content is, a string or a list; None where it has none."""
    raw = body[message.start : message.end]
    for place in reversed(members(raw)):
        if place.key == "content":
            start, end = message.start + place.value_start, message.start + place.value_end
            return Span(start, end) if body[start : start + 1] in (b'"', b"[") else None
    return None


def user_message(blocks: bytes) -> bytes:
    """A user's message of these blocks."""
    return b'{"role":"user","content":[%b]}' % blocks
