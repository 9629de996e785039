"""What of a price a request can come to be billed at, as far as the request itself shows it."""

from typing import Literal

import msgspec

CacheWrites = Literal["none", "5m", "1h"]


class Exposure(msgspec.Struct, frozen=True, gc=False):
    """Which of the dear classes of a price a request can reach. What it rules out is not held.

    cache_writes: the longest life that a `cache_control` marker asks for. Only providers that write
        to a cache when asked, and not otherwise, are held to it.
    audio: audio may be read or generated.
    searches: the most searches, or other calls by a tool of the provider's own, that it may bill.
    terms: what was asked for beside the ordinary: a service tier, a speed, a region, named as in
        `Extras.terms`.
    """

    cache_writes: CacheWrites = "none"
    audio: bool = False
    searches: int = 0
    terms: tuple[str, ...] = ()


PLAIN = Exposure()
"""Text in, text out, no marker, nothing asked for beside the ordinary."""

ANYTHING = Exposure("1h", audio=True)
"""Of a request that was not looked at."""
