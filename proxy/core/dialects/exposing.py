"""What a request shows of the dear classes that it can be billed at."""

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from proxy.core.dialects.body import Members
from proxy.core.dialects.reported import member, terms_of, value_of
from proxy.core.exposure import PLAIN, CacheWrites, Exposure
from proxy.core.request import Apart, Piece

USUAL_SEARCHES = 10
"""Held for a tool that the provider runs where the request sets no bound. Most answers search once
to three times; OpenAI's and Anthropic's documents have no figure (read 2026-11-22)."""

NOTHING = Apart()
SHORT_LIVES = (None, "5m")
"""What a marker says that asks for the usual life; all else counts as the dearest."""

_MARK = b"cache_control"
_ESCAPE = b"\\u00"
_MARKER = re.compile(rb'"cache_control"')
_HIDDEN_MARKER = re.compile(rb"\\u00[3567]")
_NEAR_BYTES = 128
_ABSENT = msgspec.Raw()
_TERMS = ("service_tier", "speed", "inference_geo")
_NO_MEMBER = (b"", b"null")


def apart_in(pieces: Iterable[Piece]) -> Apart | None:
    """What all of these have beside text, None where it is nothing."""
    return sum_of([piece.apart for piece in pieces if piece.apart is not None])


def sum_of(found: Sequence[Apart]) -> Apart | None:
    if len(found) < 2:
        return found[0] if found else None
    return Apart(
        images=sum([one.images for one in found]),
        files=sum([one.files for one in found]),
        hidden_bytes=sum([one.hidden_bytes for one in found]),
        writes=longest([one.writes for one in found]),
        searches=sum([one.searches for one in found]),
    )


def longest(writes: Collection[CacheWrites]) -> CacheWrites:
    if "1h" in writes:
        return "1h"
    return "5m" if "5m" in writes else "none"


def longest_write(marks: Iterable[msgspec.Raw]) -> CacheWrites:
    """The longest that these `cache_control` members ask for; one of a life that is not known here
    counts as the dearest."""
    longest: CacheWrites = "none"
    for mark in marks:
        if bytes(mark) not in _NO_MEMBER:
            if member(value_of(mark), "ttl") not in SHORT_LIVES:
                return "1h"
            longest = "5m"
    return longest


def scanned_write(part: msgspec.Raw | bytes) -> CacheWrites:
    """The same from the text of a part that is not read member by member. Escaped letters may spell
    a marker, and count as one."""
    raw = bytes(part)
    if _MARK not in raw and _ESCAPE not in raw:
        return "none"
    longest: CacheWrites = "none"
    for found in _MARKER.finditer(raw):
        if b'"1h"' in raw[found.end() : found.end() + _NEAR_BYTES]:
            return "1h"
        longest = "5m"
    return longest if _HIDDEN_MARKER.search(raw) is None else "1h"


def may_be_marked(written: msgspec.Raw | bytes | memoryview) -> bool:
    """Whether `scanned_write` of any part of this could find one."""
    raw = bytes(written)
    return _MARK in raw or _ESCAPE in raw


def exposure_of(
    members: Members, *, writes: CacheWrites = "none", audio: bool = False, searches: int = 0
) -> Exposure:
    """With the terms that the request asks for."""
    terms: tuple[str, ...] = ()
    if any(key in members for key in _TERMS):
        terms = terms_of(*(value_of(members.get(key, _ABSENT)) for key in _TERMS))
    if writes == "none" and not (audio or searches or terms):
        return PLAIN
    return Exposure(writes, audio=audio, searches=searches, terms=terms)
