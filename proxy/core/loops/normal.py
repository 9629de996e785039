"""One spelling for what an agent does again: calls, results and texts, without what changes by
itself.

Of arguments nothing is left out but those that the policy names (`ignore_arguments`): to delete
five different ids is five different things. Of results everything is left out that
`core.loops.volatile` finds, and all white space. Digests are persisted with a session's log: what
goes into them may change between versions, then a loop is counted anew once.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Final

import msgspec
import xxhash

from proxy.core.canonical import canonical_arguments
from proxy.core.loops.volatile import volatile_spans, without_countdown
from proxy.core.usage import ToolCall

DIGEST_BYTES: Final = 8
TOOL_BYTES: Final = 4
NO_DIGEST: Final = bytes(DIGEST_BYTES)
NO_TOOL: Final = bytes(TOOL_BYTES)
NORMALISED_BYTES: Final = 32_768
"""Of one text; what comes after is compared as it stands."""
_SPACE: Final = b" \t\n\r\x0b\x0c"
_PLACEHOLDER: Final = b"\x00"
_ARGUMENTS_BYTES: Final = 65_536
_REMINDER: Final = re.compile(r"<system-reminder>.*?(?:</system-reminder>|\Z)", re.DOTALL)

digest = xxhash.xxh3_64_digest


def normal_text(text: str) -> bytes:
    """What a text says, without what changes by itself and without white space."""
    raw = text.encode("utf-8", "surrogatepass")
    head, rest = raw[:NORMALISED_BYTES], raw[NORMALISED_BYTES:]
    spans = volatile_spans(head)
    if spans:
        head = _without(head, spans)
    normal = head.translate(None, _SPACE)
    return normal + rest if rest else normal


def timeless_text(text: str) -> bytes:
    """What a text says, without when and for how long. Its ids stay: what follows may name them."""
    raw = text.encode(*_UTF8)
    head, rest = raw[:NORMALISED_BYTES], raw[NORMALISED_BYTES:]
    return _without(head, volatile_spans(head, ids=False)) + rest


def text_digest(text: str) -> bytes:
    """8 bytes over what a text says."""
    return digest(normal_text(text))


def user_digest(text: str) -> bytes | None:
    """8 bytes over what a user says; None where it is nothing. To ask for another id, or at another
    time, is to ask for something else: only white space is left out, and what is nobody's word:
    what agents put in between (`<system-reminder>`), and what a harness counts down."""
    if "<system-reminder>" in text:
        text = _REMINDER.sub("", text)
    said = without_countdown(text.encode(*_UTF8)).translate(None, _SPACE)
    return digest(said) if said else None


def call_digest(call: ToolCall, ignored: Sequence[str] = ()) -> bytes:
    """8 bytes over a tool and its arguments, whatever their spelling. ignored: globs of names."""
    return digest(f"{call.name}\x00{normal_arguments(call.arguments, ignored)}".encode(*_UTF8))


def tool_digest(name: str) -> bytes:
    return xxhash.xxh32_digest(name.encode(*_UTF8))


_UTF8: Final = ("utf-8", "surrogatepass")


def normal_arguments(arguments: str, ignored: Sequence[str] = ()) -> str:
    """Canonical JSON, without the members that any of the globs names, at any depth."""
    if ignored and len(arguments) <= _ARGUMENTS_BYTES and _names(tuple(ignored)).search(arguments):
        try:
            value = msgspec.json.decode(arguments)
            left = msgspec.json.encode(_without_members(value, ignored))
        except (ValueError, RecursionError):
            return canonical_arguments(arguments)
        arguments = left.decode()
    return canonical_arguments(arguments)


def _without(text: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    kept: list[bytes] = []
    at = 0
    for start, end in spans:
        kept.append(text[at:start])
        at = end
    kept.append(text[at:])
    return _PLACEHOLDER.join(kept)


@lru_cache(64)
def _names(ignored: tuple[str, ...]) -> re.Pattern[str]:
    """Where one of these may be the name of a member: most arguments have none."""
    globs = "|".join(
        translate(glob).removesuffix(r"\Z").replace(".*", r'[^"]*') for glob in ignored
    )
    return re.compile(f'"(?:{globs})"')


def _without_members(value: object, ignored: Sequence[str]) -> object:
    if isinstance(value, dict):
        return {
            name: _without_members(inner, ignored)
            for name, inner in value.items()
            if not any(fnmatchcase(name, glob) for glob in ignored)
        }
    if isinstance(value, list):
        return [_without_members(inner, ignored) for inner in value]
    return value
