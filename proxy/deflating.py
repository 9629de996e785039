"""Deflates what is recorded.

With ISA-L, which takes half of zlib's time for a small record and a third for a large one
(docs/decisions/016). What it writes is plain deflate, which zlib reads.
"""

import zlib
from typing import Final, Protocol

from isal import isal_zlib

DEFLATING_BYTES: Final = 256 * 1024
"""What one takes that is deflated in pieces."""
_LEVEL = 1
_RAW = -zlib.MAX_WBITS


class Deflate(Protocol):
    """As of `zlib.compressobj`."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def deflated(literal: bytes, window: bytes = b"") -> bytes:
    """window: what it is primed with."""
    deflate = deflating(window)
    return deflate.compress(literal) + deflate.flush()


def deflating(window: bytes = b"") -> Deflate:
    """For what comes in pieces."""
    if window:
        memory, strategy = zlib.DEF_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY
        return isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW, memory, strategy, window)
    return isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
