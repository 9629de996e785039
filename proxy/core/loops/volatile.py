"""Finds what changes by itself in a tool's result: ids, times, durations, blobs.

Theory of operation. A regular expression over 10 KB of text takes hundreds of microseconds, and
most results have nothing to find. So the text is translated, byte by byte, into a *view* in which
all digits (or hex digits, or letters and digits) are "0"; a plain substring search finds where a
shape could begin; and only there an expression is tried on the text itself. Names of members
(`duration`) are looked for at both ends of a long text alone, where such things stand.

Numbers that mean something stay: counts, progress, pages, prices, short ids, dates without a time.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

Span = tuple[int, int]

_DIGITS: Final = b"0123456789"
_WORD: Final = _DIGITS + b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EDGE_BYTES: Final = 1_024


def _as_zeros(these: bytes) -> bytes:
    """A table for bytes.translate."""
    return bytes.maketrans(these, b"0" * len(these))


_TO_DIGITS: Final = _as_zeros(_DIGITS)
_TO_HEX: Final = _as_zeros(_DIGITS + b"abcdefABCDEF")
_TO_WORDS: Final = _as_zeros(_WORD)


class _Shape(NamedTuple):
    """What may stand where `anchor` is found in a view, or begin so many bytes before."""

    anchor: bytes
    pattern: re.Pattern[bytes]
    back: int = 0


_ZONE: Final = rb"(?:\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?!\w))?"
_NO_MORE: Final = rb"(?!\d|:[0-9A-Fa-f])"  # neither a ratio nor a hardware address
_CLOCKS: Final = (
    _Shape(
        b"00:00:00",
        re.compile(
            rb"(?:\d{4}[-/]\d\d[-/]\d\d[T ])?(?<![\d:])\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
            + _NO_MORE
            + _ZONE
        ),
        11,
    ),
    # How long it took, as Python says it: (0:01:05).
    _Shape(b"0:00:", re.compile(rb"(?<![\d:.])\d:\d\d:\d\d(?:\.\d{1,9})?" + _NO_MORE)),
    # When a file was written, as `ls -l` says it, after its size.
    _Shape(b"0 00:", re.compile(rb"(?<=\d )[A-Z][a-z]{2} [ \d]\d \d\d:\d\d(?= )"), 5),
)
_IN_DIGITS: Final = (
    _Shape(b"00000000T000000", re.compile(rb"(?<!\d)\d{8}T\d{6}Z?")),
    # Seconds, milli-, micro- and nanoseconds since 1970, of the years 2017 to 2033.
    _Shape(
        b"0" * 10,
        re.compile(rb"(?<![\w.#])1[5-9]\d{8}(?:\d{3}|\d{6}|\d{9})?(?:\.\d{1,9})?(?![\w]|\.\d)"),
    ),
)
_IN_HEX: Final = (
    _Shape(
        b"-0000-0000-0000-",
        re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        8,
    ),
    _Shape(
        b"0" * 8,
        re.compile(
            rb"(?:(?<![0-9A-Za-z])|(?<=0x))(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}"
            rb"(?![0-9A-Za-z])"
        ),
    ),
)
_ESCAPES: Final = (
    _Shape(
        b"\x1b",
        re.compile(
            rb"(?:\x1b(?:\[[0-9:;<=>?]*[ -/]*[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|.|\Z))+"
        ),
    ),
    _Shape(b"\\u001b", re.compile(rb"(?:\\u001b(?:\[[0-9:;<=>?]*[ -/]*[@-~])?)+")),
)
_UNITS: Final = (b"0s", b"0ms", b"0 ms", b"0 s")
_DURATION: Final = re.compile(
    rb"(?<![\w.])(?:\d{1,3}m)?(?:\d+\.\d+ ?(?:s|sec|secs|seconds|ms)|\d+ ?ms|\d+ seconds?)(?!\w)"
    rb"|(?<![\w.])\d{1,3}m\d{1,2}(?:\.\d+)?s(?!\w)"
)
_DURATION_BYTES: Final = frozenset(b"0123456789.m")
_MEMBERS: Final = (b"uration", b"lapsed", b"atency", b"took", b"_ms", b"stamp", b"equest_id")
_MEMBER: Final = re.compile(
    rb"""[\w-]{0,16}\\?["']?\s?[:=]\s?(?:\\?"[^"\\]{0,64}\\?"|'[^']{0,64}'|-?\d[\d.eE+-]*|\w{1,64})"""
)
# What a harness says to its agent of what it may still do: it counts down whatever comes of it.
_COUNTDOWN: Final = re.compile(
    rb" have \d+ [a-z][^.\n]{0,120}\b(?:left|remaining)\b[.!]?"
    rb"(?:\s{1,2}You should [^.\n]{0,120}\.)?"
)
_CHUNK: Final = re.compile(rb"Chunk ID: [0-9a-f]+")  # Codex's shell
_TEMPORARY: Final = re.compile(rb"[A-Za-z0-9_]{8}(?![A-Za-z0-9_])")
_TOKEN: Final = b"0" * 20
_WORDS: Final = re.compile(rb"[0-9A-Za-z]+")
_BLOB: Final = re.compile(rb"[A-Za-z0-9+/_=-]{64,}")
_BLOB_BYTES: Final = frozenset(_WORD + b"+/_=-")
_JUDGED_BYTES: Final = 256
_BLOB_LEAST: Final = 64
_KINDS: Final = bytes.maketrans(_WORD, b"0" * 10 + b"a" * 26 + b"A" * 26)
_CHANGES: Final = (b"aA", b"Aa", b"a0", b"0a", b"A0", b"0A")


def volatile_spans(text: bytes, *, ids: bool = True) -> list[Span]:
    """Where it changes by itself, from left to right; spans neither touch nor overlap. ids: also
    where there are ids and blobs."""
    found: list[Span] = []
    digits = text.translate(_TO_DIGITS)
    if b"0" in digits:
        if b":" in text:
            _look(text, digits, _CLOCKS, found)
        _look(text, digits, _IN_DIGITS, found)
        if ids:
            _look(text, text.translate(_TO_HEX), _IN_HEX, found)
            words = text.translate(_TO_WORDS)
            if _TOKEN in words:
                found += _tokens(text, words)
        found += _at_the_edges(text, digits)
    if b"\x1b" in text or b"\\" in text:
        _look(text, text, _ESCAPES, found)
    return _merged(found) if len(found) > 1 else found


def without_countdown(text: bytes) -> bytes:
    """Without what a harness says, at the end of a text, of how much its agent may still do."""
    edge = max(len(text) - _EDGE_BYTES, 0)
    if text.find(b"left", edge) < 0 and text.find(b"remaining", edge) < 0:
        return text
    kept, at = b"", 0
    spans = _after(text, (b"You", b"you"), _COUNTDOWN, edge, len(text))
    for start, end in _merged([(0, 0), *spans]):
        kept, at = kept + text[at:start], end
    return kept + text[at:]


def _look(text: bytes, view: bytes, shapes: tuple[_Shape, ...], found: list[Span]) -> None:
    for anchor, pattern, back in shapes:
        at = view.find(anchor)
        while at >= 0:
            match = pattern.match(text, at - back if at > back else 0)
            if match is None and back:
                match = pattern.match(text, at)
            if match:
                found.append(match.span())
            at = view.find(anchor, max(at + len(anchor), match.end() if match else 0))


def _at_the_edges(text: bytes, digits: bytes) -> Iterator[Span]:
    """What is short to look for, and so takes long: in all of a short text, at both ends of a long
    one."""
    end = len(text)
    if end <= 4 * _EDGE_BYTES:
        edges: tuple[Span, ...] = ((0, end),)
    else:
        edges = ((0, _EDGE_BYTES), (end - _EDGE_BYTES, end))
    for start, stop in edges:
        yield from _durations(text, digits, start, stop)
        yield from _after(text, _MEMBERS, _MEMBER, start, stop)
        yield from _after(text, (b"/tmp/tmp",), _TEMPORARY, start, stop)
        yield from _after(text, (b"You", b"you"), _COUNTDOWN, start, stop)
    if match := _CHUNK.match(text):
        yield match.span()


def _durations(text: bytes, digits: bytes, start: int, stop: int) -> Iterator[Span]:
    """Numbers with a unit of time after them: `0.53s`, `12 ms`, `1m2.5s`."""
    for unit in _UNITS:
        at = digits.find(unit, start, stop)
        while at >= 0:
            if match := _DURATION.match(text, _leftmost(text, at, _DURATION_BYTES, 24)):
                yield match.span()
            at = digits.find(unit, at + 1, stop)


def _after(
    text: bytes, words: Sequence[bytes], pattern: re.Pattern[bytes], start: int, stop: int
) -> Iterator[Span]:
    """What follows one of these words."""
    for word in words:
        at = text.find(word, start, stop)
        while at >= 0:
            if match := pattern.match(text, at + len(word)):
                yield match.span()
            at = text.find(word, at + len(word), stop)


def _tokens(text: bytes, words: bytes) -> Iterator[Span]:
    """Ids of 20 letters and digits and more, and base64 in any of its alphabets."""
    at = words.find(_TOKEN)
    while at >= 0:
        match = _BLOB.match(text, _leftmost(text, at, _BLOB_BYTES, 256)) or _WORDS.match(text, at)
        assert match is not None  # there are at least the 20
        if _is_random(match[0]):
            yield match.span()
        at = words.find(_TOKEN, match.end())


def _is_random(run: bytes) -> bool:
    """Whether capitals, small letters and digits are mixed as they are by chance, not as in a name
    or a path. In a token three of five neighbours are of two kinds; of base64, which may hold long
    rows of one letter, two fifths are capitals."""
    kinds = run[:_JUDGED_BYTES].translate(_KINDS)
    size, digits = len(kinds), kinds.count(b"0")
    if size >= _BLOB_LEAST:
        capitals, letters = kinds.count(b"A"), kinds.count(b"a")
        return 10 * capitals >= 3 * size and 10 * letters >= size and digits >= 2
    changes = sum(map(kinds.count, _CHANGES))
    return 2 * changes >= size or (5 * changes >= 2 * size and digits >= 3)


def _leftmost(text: bytes, at: int, these: frozenset[int], most: int) -> int:
    """How far left of `at` nothing but these bytes stand."""
    least = max(at - most, 0)
    while at > least and text[at - 1] in these:
        at -= 1
    return at


def _merged(spans: list[Span]) -> list[Span]:
    spans.sort()
    whole = [spans[0]]
    for start, end in spans[1:]:
        last_start, last_end = whole[-1]
        if start <= last_end:
            whole[-1] = (last_start, max(last_end, end))
        else:
            whole.append((start, end))
    return whole
