"""The inputs of completions and embeddings: text, tokens, or a list of either."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

from proxy.core.changes import Given
from proxy.core.dialects.body import Members, refuse
from proxy.core.request import Request

_BYTES_PER_TOKEN = 8  # of any text at most, so that an estimate from bytes is never short
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_TOKENS = msgspec.json.Decoder(list[int])
_TEXT = msgspec.json.Decoder(str)


class Prompt(NamedTuple):
    """One input. text: "" unless it is text. size_bytes: what its tokens come to as text."""

    text: str
    raw: bytes
    size_bytes: int


def read_prompts(members: Members, key: str) -> tuple[Prompt, ...]:
    """Empty where the member is absent or null. Raises MalformedRequest."""
    raw = bytes(members.get(key, b"null"))
    if raw == b"null":
        return ()
    try:
        if raw[:1] != b"[":
            return (_prompt(raw),)
        parts = [bytes(part) for part in _RAWS.decode(raw)]
        if parts and parts[0][:1] not in (b'"', b"[", b"{"):
            return (_prompt(raw),)
        return tuple(map(_prompt, parts))
    except (ValueError, RecursionError):
        refuse("expected text, tokens, or a list of either", key)


def _prompt(raw: bytes) -> Prompt:
    """Raises ValueError for what is no input; objects are multimodal inputs at some providers."""
    if raw[:1] == b"{":
        return Prompt("", raw, len(raw))
    if raw[:1] == b"[":
        return Prompt("", raw, len(_TOKENS.decode(raw)) * _BYTES_PER_TOKEN)
    return Prompt(_TEXT.decode(raw), raw, len(raw))


class NoConversation:
    """What a dialect of prompts has of `Dialect` that is about calls and their results: nothing."""

    def follow_up(
        self,
        body: bytes,
        request: Request,
        turn: bytes,
        given: Sequence[Given],
        response_id: str | None = None,
    ) -> bytes:
        return body

    def answer_turn(self, body: bytes) -> bytes:
        return b""

    def without_calls(self, body: bytes, call_ids: Collection[str]) -> bytes:
        return body

    def result_contents(self, body: bytes) -> Mapping[str, bytes]:
        return {}
