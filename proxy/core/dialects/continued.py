"""Takes up a conversation where an earlier body left it, by what the two have in common.

Why that is sound: `core.memo`.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.request import Frame, Past

_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
BORDERS = 8
"""How many messages may be changed at the end of a history, as cache markers are that move on."""
_LOOKED_AT = 64
"""Messages that may be, the first time that they are."""
_BLANK = ord(" ")
_CLOSED = ord("}")

Borders = tuple[tuple[int, int], ...]


def between(body: bytes, past: Past, frame: Frame) -> tuple[int, int] | None:
    """After how many known messages, and from where, this body's list says something new; None
    where it does not go on from that one. frame: its own."""
    head_bytes = len(frame.head)
    if head_bytes != len(past.frame.head) or frame.request.model != past.frame.request.model:
        return None  # what a message says may depend on the model
    end, view = len(body) - len(frame.tail), memoryview(past.body)
    for known, border in past.borders:
        if border <= end and body.startswith(view[:border]):
            return known, border
    if len(past.borders) >= min(BORDERS, len(past.conversation.elements)):
        return None
    common = min(_common(body, past.body), end)
    if 2 * (common - head_bytes) < len(past.body) - len(past.frame.tail) - head_bytes:
        return None
    return next(((known, at) for known, at in _all_borders(past) if at <= common), None)


def parts_of(middle: bytes) -> list[msgspec.Raw] | None:
    """The messages after a known one, where `middle` is nothing else."""
    try:
        if not middle.isascii():
            middle.decode()
        return _PARTS.decode(b"[{}%b]" % middle)[1:]
    except (ValueError, RecursionError):
        return None


def borders_of(
    whole: bytes, list_end: int, parts: Sequence[msgspec.Raw], count: int, most: int = BORDERS
) -> Borders:
    """Where the last messages of a list end, and how many there are by then; from the end
    backwards, as far as they are parted as serialisers do.

    parts: the last of `count`. list_end: of the bracket that closes it."""
    at = list_end
    found: list[tuple[int, int]] = []
    for part in reversed(parts[-most:]):
        if whole[at - 1] != _CLOSED:
            break
        found.append((count, at))
        count -= 1
        at -= len(memoryview(part))
        at -= 1 + (whole[at - 1] == _BLANK)  # the comma, if a message ends before it
    return tuple(found)


def _all_borders(past: Past) -> Borders:
    start, end = len(past.frame.head), len(past.body) - len(past.frame.tail)
    parts = _PARTS.decode(memoryview(past.body)[start - 1 : end + 1])
    return borders_of(past.body, end, parts, len(parts), _LOOKED_AT)


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two bodies begin with alike."""
    view = memoryview(other)
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one.startswith(view[least:middle], least):
            least = middle
        else:
            most = middle - 1
    return least
