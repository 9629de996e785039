"""Makes a template of an event that was read in full (`template`)."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

import msgspec

from proxy.core.dialects.template import UNASKED, Kind, Template
from proxy.core.sse import SseEvent, fields_of

_HOLES: Final = re.compile(
    rb'"obfuscation":"(?P<word>[A-Za-z0-9]*)"'
    rb'|"sequence_number":(?P<number>[1-9][0-9]*)(?=[,}])'
    rb"|\}(?P<blank> +)\}(?=\r?\n\r?\n\Z)"
)
_SIGNS: Final = (b'"obfuscation":', b'"sequence_number":', b"} ")
_FILLINGS: Final = {"text": b"any } words", "word": b"Zz9", "number": b"70707", "blank": b"   "}
_ENDS: Final = (b"\n\n", b"\r\n\r\n")
_LONGEST_BYTES: Final = 4_096
"""Of an event that is made a template: a longer one is not like others."""


class Delta(NamedTuple):
    """What an event comes to that brings one piece of text and nothing else. into: where the text
    is added; None where it is only counted."""

    text: str
    into: list[str] | None


ReadPlain = Callable[[bytes, bytes], Delta | None]
"""Reads name and data of an event in full, and changes nothing. None: it is more than a delta."""


def template_of(event: SseEvent, passed: bytes, read_plain: ReadPlain) -> Template | None:
    """Of an event that was read in full, and of which `passed` is forwarded; None where events like
    it would have to be read in full, too."""
    raw = event.raw
    if len(raw) > _LONGEST_BYTES or not raw.endswith(_ENDS):
        return None
    try:
        return _template_of(event, passed, read_plain)
    except (ValueError, RecursionError):
        return None


def _template_of(event: SseEvent, passed: bytes, read_plain: ReadPlain) -> Template | None:
    delta, raw = read_plain(event.name, event.data), event.raw
    if delta is None:
        return None
    holes = _holes(raw, delta.text)
    if not holes:
        return None
    borders = [0, *(place for hole in holes for place in hole[:2]), len(raw)]
    literals = [raw[a:b] for a, b in zip(borders[::2], borders[1::2], strict=True)]
    kinds = [kind for _, _, kind in holes]
    other = read_plain(*fields_of(_put_together(literals, [_FILLINGS[kind] for kind in kinds])))
    if other is None or other.into is not delta.into or other.text.encode() != _FILLINGS["text"]:
        return None
    forwarded = literals
    if passed != raw:
        forwarded = _stripped(literals, kinds.index("text"))
        if _put_together(forwarded, [raw[a:b] for a, b, _ in holes]) != passed:
            return None
    return Template(literals, kinds, forwarded, delta.into)


def _holes(raw: bytes, text: str) -> list[tuple[int, int, Kind]]:
    """Where they begin and end, and what fills them; none where the text cannot be told apart."""
    quoted = msgspec.json.encode(text)
    begin = raw.find(quoted)
    if begin < 0 or raw.find(quoted, begin + 1) >= 0:
        return []
    holes: list[tuple[int, int, Kind]] = [(begin + 1, begin + len(quoted) - 1, "text")]
    if any(sign in raw for sign in _SIGNS):
        for found in _HOLES.finditer(raw):
            kind = cast("Kind", found.lastgroup)
            holes.append((*found.span(kind), kind))
        holes.sort()
    return holes


def _put_together(literals: Sequence[bytes], fillings: Sequence[bytes]) -> bytes:
    parts = [*zip(literals, fillings, strict=False)]
    return b"".join([part for pair in parts for part in pair]) + literals[-1]


def _stripped(literals: Sequence[bytes], text_at: int) -> list[bytes]:
    """Without the last null usage that is behind the text, if there is one."""
    stripped = list(literals)
    for at in range(len(literals) - 1, text_at, -1):
        before, found, after = literals[at].rpartition(UNASKED)
        if found:
            stripped[at] = before + after
            break
    return stripped
