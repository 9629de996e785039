"""How a list is told by another that it does not begin with: trimmed, slid, its first message
rewritten. Element by element, so that what both have is found wherever it is."""

from collections.abc import Iterator

import msgspec

from proxy.errors import UNREADABLE

_LEAST_BYTES = 64
"""Shorter elements are given: naming them costs as much."""
_BETWEEN_BYTES = 1_024
"""So much between two elements is looked for in the base: it grows as long as nothing is found."""
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def ranges_of(listed: bytes, base: bytes) -> tuple[int, ...]:
    """`RequestDelta.ranges` of a list by its base, both without their closing brackets.

    Raises ValueError where either is not what a JSON list begins with."""
    known: dict[bytes, int] = {}
    for start, element in _elements(base):
        known.setdefault(element, start)
    ranges: list[list[int]] = [[0, 0, 0]]
    at = 0
    for start, element in _elements(listed):
        if len(element) < _LEAST_BYTES:
            continue
        last, between = ranges[-1], start - at
        end = last[0] + last[1]
        if (
            at
            and between <= _BETWEEN_BYTES
            and base.startswith(element, end + between)
            and base.startswith(listed[at:start], end)
        ):
            last[1] += between + len(element)
        elif (found := known.get(element)) is not None:
            last[2] = between
            ranges.append([found, len(element), 0])
        else:
            continue
        at = start + len(element)
    ranges[-1][2] = len(listed) - at
    return tuple([number for one in ranges for number in one])


def copied(ranges: tuple[int, ...]) -> int:
    """How many bytes of a list need not be given."""
    return sum(ranges[1::3])


def _elements(listed: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each begins, and what it is."""
    try:
        elements = _split(listed + b"]")
    except UNREADABLE as error:
        raise ValueError(f"not a list: {error}") from error
    at = 0
    for raw in elements:
        element = bytes(raw)
        at = listed.index(element, at)
        yield at, element
        at += len(element)
