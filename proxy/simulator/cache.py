"""An optional prompt cache: what the same model has read before, as a prefix, costs less."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

_MOST_PREFIXES = 50_000


class PromptCache:
    """Remembers prefixes of requests, part by part. Bounded, forgets the oldest."""

    def __init__(self, minimum_tokens: int = 1024) -> None:
        self._minimum_tokens = minimum_tokens
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def read(self, model: str, parts: Sequence[object], tokens: Sequence[int]) -> int:
        """The tokens of the longest prefix seen before (0 under the minimum); remembers all."""
        known = size = 0
        digest = model.encode()
        for part, count in zip(parts, tokens, strict=True):
            digest = blake2b(digest + msgspec.json.encode(part), digest_size=16).digest()
            size += count
            if digest in self._seen:
                known = size
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > _MOST_PREFIXES:
            self._seen.popitem(last=False)
        return known if known >= self._minimum_tokens else 0
