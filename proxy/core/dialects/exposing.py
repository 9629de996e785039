"""What a request shows of the dear classes that it can be billed at."""

import re
from collections.abc import Iterable

import msgspec

from proxy.core.dialects.body import Members
from proxy.core.dialects.reported import member, terms_of, value_of
from proxy.core.exposure import PLAIN, CacheWrites, Exposure

USUAL_SEARCHES = 10
"""Held for a tool that the provider runs where the request sets no bound. Most answers search once
to three times; OpenAI's and Anthropic's documents have no figure (read 2026-11-22)."""

_MARKER = re.compile(rb'"cache_control"')
_HIDDEN_MARKER = re.compile(rb"\\u00[3567]")
_NEAR_BYTES = 128
_ABSENT = msgspec.Raw()
_TERMS = ("service_tier", "speed", "inference_geo")
_NO_MEMBER = (b"", b"null")


def longest_write(marks: Iterable[msgspec.Raw]) -> CacheWrites:
    """The longest that these `cache_control` members ask for; one of a life that is not known here
    counts as the dearest."""
    longest: CacheWrites = "none"
    for mark in marks:
        if bytes(mark) not in _NO_MEMBER:
            if member(value_of(mark), "ttl") not in (None, "5m"):
                return "1h"
            longest = "5m"
    return longest


def scanned_write(body: bytes) -> CacheWrites:
    """The same from the text of a body whose parts are not read one by one. Escaped letters may
    spell a marker, and count as one."""
    longest: CacheWrites = "none"
    for found in _MARKER.finditer(body):
        if b'"1h"' in body[found.end() : found.end() + _NEAR_BYTES]:
            return "1h"
        longest = "5m"
    return longest if _HIDDEN_MARKER.search(body) is None else "1h"


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
