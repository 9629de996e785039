"""The fingerprint of a recorded request: what its event says of its body, and how a later body is
found to go on from it.

A body is head, list and tail: the list is the dialect's messages, without the bracket that closes
them. A list that goes on is the old one and more; clients that rewrite their last messages keep
what is before them. So a fingerprint has hashes of the list up to its end and up to places before
it, a few bytes for each doubling of the distance: whoever hashes a new list once, up to the same
places, knows how much of it is the old one, without the old one at hand. The hashes are seeded with
what no client knows.
"""

import struct
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

DIGEST_BYTES: Final = 16
NOTHING_KEPT: Final = bytes(DIGEST_BYTES)
"""In the place of the digest of what was kept, where only fingerprints are."""
IN_CLEAR: Final = bytes(4)
"""In the place of the name of a key."""

_BORDER_BYTES = 512
_HISTORIES = 8
_LAYOUT = struct.Struct(">16sB4s4sIIIQQB")
_BORDER = struct.Struct(">Q")
_VERSION = 2
_BASE_AT = _LAYOUT.size
_LENGTH_AT = _LAYOUT.size - 1

Recorded = tuple[tuple[str, bytes], ...]
"""A call id and its packed fingerprint: the newest of a session's histories, newest last."""


def is_kept(fingerprint: bytes) -> bool:
    """Whether an event's `content`, of a request or an answer, says that something can be read
    back."""
    return len(fingerprint) >= DIGEST_BYTES and not fingerprint.startswith(NOTHING_KEPT)


class Fingerprint(msgspec.Struct, frozen=True, gc=False):
    """What a packed fingerprint says.

    digest: of what was kept of the body (`stores.Content.data`), 16 bytes. key: names what that was
    sealed with, 4 bytes. seed: names what the hashes are seeded with, 4 bytes: those of another
    ledger cannot be compared. head_bytes, list_bytes, tail_bytes: of the body. head, tail: their
    hashes. base: the call whose history this one goes on with, "" for none. borders: hashes of the
    list up to each of `borders_of`.
    """

    digest: bytes
    key: bytes
    seed: bytes
    head_bytes: int
    list_bytes: int
    tail_bytes: int
    head: int
    tail: int
    base: str = ""
    borders: tuple[int, ...] = ()


def pack(fingerprint: Fingerprint, digest: bytes = b"") -> bytes:
    """digest: in the place of the one that it has."""
    base = fingerprint.base.encode()
    fixed = _LAYOUT.pack(
        digest or fingerprint.digest, _VERSION, fingerprint.key, fingerprint.seed,
        fingerprint.head_bytes, fingerprint.list_bytes, fingerprint.tail_bytes,
        fingerprint.head, fingerprint.tail, len(base),
    )  # fmt: skip
    borders = fingerprint.borders
    return b"".join((fixed, base, struct.pack(f">{len(borders)}Q", *borders)))


@lru_cache(4_096)
def unpack(packed: bytes) -> Fingerprint | None:
    """None for what this version did not write, or only a digest."""
    if not _is_fingerprint(packed):
        return None
    fields = _LAYOUT.unpack_from(packed)
    digest, _, key, seed, head_bytes, list_bytes, tail_bytes, head, tail, length = fields
    end = _BASE_AT + length
    base = packed[_BASE_AT:end].decode(errors="replace")
    left = packed[end:]
    borders = struct.unpack_from(f">{len(left) // _BORDER.size}Q", left)
    sizes = (head_bytes, list_bytes, tail_bytes)
    return Fingerprint(digest, key, seed, *sizes, head, tail, base, borders)


def borders_of(list_bytes: int) -> list[int]:
    """Up to which of its bytes a list is hashed: all of them first, then ever fewer.

    For each doubling of a distance its last two multiples: one of them is no nearer to the end than
    that distance, and no farther than twice it. A longer list has its borders beyond this one's
    end, or where this one has them, too: what was hashed once need not be again.
    """
    places, step = [list_bytes], _BORDER_BYTES
    if 0 < (at := list_bytes & -step) < list_bytes:
        places.append(at)
    while (at := (list_bytes & -step) - step) > 0:  # the last one is one of the step before's
        places.append(at)
        step *= 2
    return places


@lru_cache(16)
def seed_name(seed: int) -> bytes:
    """4 bytes that tell one seed from another, and nothing of either."""
    return blake2b(seed.to_bytes(8, "big"), digest_size=4).digest()


def base_of(packed: bytes) -> str:
    """The base of a fingerprint, without a look at the rest of it."""
    if not _is_fingerprint(packed):
        return ""
    end = _BASE_AT + packed[_LENGTH_AT]
    return packed[_BASE_AT:end].decode(errors="replace")


def remembered(recorded: Recorded, call_id: str, packed: bytes) -> Recorded:
    """The newest requests after one more, which takes the place of the one that it goes on from."""
    if not _is_fingerprint(packed):
        return recorded
    if recorded:
        base = base_of(packed)
        recorded = tuple([one for one in recorded if one[0] != base])
    return (*recorded, (call_id, packed))[-_HISTORIES:]


def _is_fingerprint(packed: bytes) -> bool:
    return len(packed) >= _LAYOUT.size and packed[DIGEST_BYTES] == _VERSION
