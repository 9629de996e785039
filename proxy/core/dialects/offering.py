"""Takes tools off a list of those that are offered, in its original bytes."""

from collections.abc import Callable

from proxy.core.edits import Edit, Span, parts_of, without

Fewer = tuple[list[Edit], bool]
"""What takes some off a list, and whether any is left then."""


def fewer(body: bytes, offered: Span, is_off: Callable[[bytes], bool]) -> Fewer:
    """Takes those off the list that is there of whose JSON that is so."""
    parts = parts_of(body, offered)
    dropped = [at for at, one in enumerate(parts) if is_off(body[one.start : one.end])]
    return without(parts, dropped), len(dropped) < len(parts)
