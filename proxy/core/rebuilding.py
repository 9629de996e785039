"""Reads back what `core.recording` has written."""

import zlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from proxy.core.fingerprints import Fingerprint, seed_name
from proxy.core.recording import SAME, UNPRIMED, VERSION, PackedAnswer, RequestDelta
from proxy.errors import UNREADABLE

MOST_BYTES = 1024 * 1024 * 1024
"""Of a body or an answer, the most that a policy allows: what came from a file may be made to fill
the memory."""

Record = TypeVar("Record", RequestDelta, PackedAnswer)

_decode_delta = msgspec.msgpack.Decoder(RequestDelta).decode
_decode_answer = msgspec.msgpack.Decoder(PackedAnswer).decode


def inflated(data: bytes, window: bytes = b"") -> bytes:
    """Raises ValueError for what is damaged, or larger than anything that is recorded."""
    inflate = zlib.decompressobj(-15, window) if window else zlib.decompressobj(-15)
    try:
        literal = inflate.decompress(data, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"it cannot be inflated: {error}") from error
    if inflate.unconsumed_tail or len(literal) == MOST_BYTES:
        raise ValueError("it is larger than anything that is recorded")
    if not inflate.eof:
        raise ValueError("it is cut short")
    return literal


def decode_delta(data: bytes) -> RequestDelta:
    """Raises ValueError for what no version up to this one wrote."""
    delta = _decoded(_decode_delta, data)
    if len(delta.ranges) % 3:
        raise ValueError("its ranges are not whole")
    if delta.primed != UNPRIMED and not delta.base:
        raise ValueError("it goes on from none")
    return delta


def decode_answer(data: bytes) -> PackedAnswer:
    """Raises ValueError, as `decode_delta`."""
    return _decoded(_decode_answer, data)


class Body:
    """A body as it is read back, record after record. Grows in place, so that a thousand records
    that each add a little are read in the time that the last body takes."""

    __slots__ = ("head", "listed", "tail")

    def __init__(
        self, head: bytes = b"", listed: bytes | bytearray = b"", tail: bytes = b""
    ) -> None:
        self.head = head
        self.listed = bytearray(listed)
        self.tail = tail

    def apply(self, delta: RequestDelta, literal: bytes) -> None:
        """From its base's body to that of a record. Raises ValueError where that tells of more
        than there is; then this is no body any more."""
        at = 0 if delta.head == SAME else delta.head
        end = len(literal) - (0 if delta.tail == SAME else delta.tail)
        if delta.head != SAME:
            self.head = literal[:at]
        if delta.tail != SAME:
            self.tail = literal[end:]
        before, ranges = self.listed, _bounded(delta.ranges)
        if len(ranges) > 3 or ranges[:1] != (0,):
            self.listed = bytearray()
        for n in range(0, len(ranges), 3):
            offset, size, given = ranges[n : n + 3]
            if offset + size > len(before):
                raise ValueError("it is told by more than its base has")
            if self.listed is before:
                del before[size:]
            else:
                self.listed += memoryview(before)[offset : offset + size]
            self.listed += literal[at : at + given]
            at += given
        if at != end:
            raise ValueError("what it gives is not what it tells of")

    def copy(self) -> "Body":
        return Body(self.head, self.listed, self.tail)

    def whole(self) -> bytes:
        return b"".join((self.head, self.listed, self.tail))

    def is_of(self, fingerprint: Fingerprint, seed: int) -> bool:
        """Whether it is the one that was recorded; of another ledger's, as far as can be said."""
        sizes = (len(self.head), len(self.listed), len(self.tail))
        if sizes != (fingerprint.head_bytes, fingerprint.list_bytes, fingerprint.tail_bytes):
            return False
        return seed_name(seed) != fingerprint.seed or (
            xxh3_64_intdigest(self.head, seed) == fingerprint.head
            and xxh3_64_intdigest(self.tail, seed) == fingerprint.tail
            and fingerprint.borders[:1] == (xxh3_64_intdigest(self.listed, seed),)
        )


def _bounded(ranges: tuple[int, ...]) -> tuple[int, ...]:
    if min(ranges, default=0) < 0:
        raise ValueError("its ranges are none")
    if sum(ranges[1::3]) + sum(ranges[2::3]) > MOST_BYTES:
        raise ValueError("it is larger than anything that is recorded")
    return ranges


def _decoded(decode: Callable[[bytes], Record], data: bytes) -> Record:
    try:
        record = decode(data)
    except UNREADABLE as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if record.version != VERSION:
        raise ValueError(f"it is of a later version ({record.version})")
    return record
