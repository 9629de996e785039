"""Takes apart a body that goes on from an earlier one, by what the two have in common.

Why that is sound: `core.memo`.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Body
from proxy.core.request import Past
from proxy.core.splice import Member

_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_BORDERS = 8
"""How many messages may be changed at the end of a history, as cache markers are that move on."""
_BLANK = ord(" ")
_CLOSED = ord("}")


def between(body: bytes, past: Past) -> tuple[int, int, int] | None:
    """What of a body is new: after how many known messages, from where, to where; None where it
    does not go on from that one."""
    before = memoryview(past.body)
    tail = before[past.places[past.at].value_end - 1 :]
    if body.endswith(tail):
        end = len(body) - len(tail)
        for known, border in past.borders:
            if border <= end and body.startswith(before[:border]):
                return known, border, end
    return None


def continued(body: bytes, past: Past, bounds: Bounds) -> Body | None:
    """The body taken apart, None where it does not go on from that one, or not well."""
    new = between(body, past)
    if new is None:
        return None
    known, border, end = new
    parts = _parts(body[border:end])
    if parts is None or known + len(parts) > bounds.messages:
        return None
    return Body(
        whole=body,
        members=past.members,
        places=_moved(past, end + 1 - past.places[past.at].value_end),
        parts=parts,
        keys=past.keys[:known],
        borders=tuple([one for one in past.borders if one[0] <= known]),
    )


def past_of(
    body: Body, listed: str, parts: Sequence[msgspec.Raw], keys: tuple[bytes, ...]
) -> Past | None:
    """The body for those that go on from it, None where none can be known to. parts: those of its
    list that were not known, the last ones; keys: of all."""
    at = next((at for at, place in enumerate(body.places) if place.key == listed), None)
    if at is None:
        return None
    borders = _borders(body, body.places[at].value_end - 1, parts, len(keys))
    if not borders:
        return None
    members = body.members
    if not body.keys:  # they are views of the whole body, which goes when the next is kept
        members = {key: raw.copy() for key, raw in members.items() if key != listed}
    return Past(body.whole, members, body.places, at, borders, keys)


def _borders(
    body: Body, list_end: int, parts: Sequence[msgspec.Raw], count: int
) -> tuple[tuple[int, int], ...]:
    """From the end backwards, as far as messages are parted as serialisers do."""
    whole, at = body.whole, list_end
    found: list[tuple[int, int]] = []
    for part in reversed(parts[-_BORDERS:]):
        if whole[at - 1] != _CLOSED:
            break
        found.append((count, at))
        count -= 1
        at -= len(memoryview(part))
        at -= 1 + (whole[at - 1] == _BLANK)  # the comma, if a message ends before it
    return (*found, *body.borders)[:_BORDERS]


def _parts(middle: bytes) -> list[msgspec.Raw] | None:
    """The messages after a known one, where `middle` is nothing else."""
    try:
        if not middle.isascii():
            middle.decode()
        return _PARTS.decode(b"[{}%b]" % middle)[1:]
    except (ValueError, RecursionError):
        return None


def _moved(past: Past, by: int) -> tuple[Member, ...]:
    """Where the members are if the list has grown by so much."""
    at = past.at
    listed = past.places[at]
    return (
        *past.places[:at],
        Member(listed.key, listed.key_start, listed.value_start, listed.value_end + by),
        *[
            Member(one.key, one.key_start + by, one.value_start + by, one.value_end + by)
            for one in past.places[at + 1 :]
        ],
    )
