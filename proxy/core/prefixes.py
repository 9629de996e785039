"""Hashes of what a list begins with, gone on with from one body of a conversation to the next.

A conversation's body begins like the one before it, and who reads it compares the two
(`core.memo`). So what was hashed of that one need not be hashed again, however long it is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from xxhash import xxh3_64

_NEAR_BYTES = 4_096
"""A list may be changed so near its end: a state before that is kept as well."""
_HASHES = 32
"""As many are kept, or those of one list alone."""
States = tuple[tuple[int, xxh3_64], ...]


class Prefixes(msgspec.Struct, eq=False):
    """Those of one body's list, which begins at `start` and has `size` bytes.

    hashes: by how many bytes are hashed. states: to hash on from, of the most bytes first. before:
    of the body that this one goes on from, both having `common` bytes.
    """

    start: int = -1
    seed: int = 0
    size: int = 0
    hashes: dict[int, int] = {}
    states: States = ()
    before: "Prefixes | None" = None
    common: int = 0

    def of_next(self, common: int) -> "Prefixes":
        """Of a body that has so many bytes in common with this one."""
        return Prefixes(before=self if self.states else None, common=common)

    def begin(self, start: int, seed: int) -> bool:
        """Takes over what is known of the body before; whether that is anything."""
        before, self.before = self.before, None
        if self.states and self.start == start and self.seed == seed:
            return True
        self.start, self.seed, self.hashes, self.states = start, seed, {}, ()
        if before is None or before.start != start or before.seed != seed:
            return False
        common = self.common - start
        if before.size <= common:
            self.hashes, self.states = before.hashes.copy(), before.states
        else:
            self.hashes = {at: known for at, known in before.hashes.items() if at <= common}
            self.states = tuple([one for one in before.states if one[0] <= common])
        return bool(self.states)

    def hash(self, listed: memoryview, places: Iterable[int]) -> Mapping[int, int]:
        """With the hashes of the list up to each of these places."""
        self.size = size = len(listed)
        hashes, states = self.hashes, self.states
        missing = [place for place in places if place not in hashes]
        if not missing:
            return hashes
        missing.sort()
        at, hashing = 0, None
        for at, state in states:
            if at <= missing[0]:
                hashing = state.copy()
                break
        if hashing is None:
            at, hashing = 0, xxh3_64(seed=self.seed)
        back = bisect_right(missing, size - _NEAR_BYTES) - 1
        for n, place in enumerate(missing):
            hashing.update(listed[at:place])
            hashes[place] = hashing.intdigest()
            at = place
            if n == back:
                states = _with(states, place, hashing.copy())
        self.states = _with(states, at, hashing) if at == size else states
        return hashes

    def shorten(self, places: Sequence[int]) -> None:
        """Lets go of hashes but those up to these places, the longest first, where there are many;
        and of all states but that at the end, one not near it, and the one that is that next."""
        if len(self.hashes) > _HASHES:
            self.hashes = {at: self.hashes[at] for at in places}
        states = self.states
        if len(states) > 2:
            most, back = places[0] - _NEAR_BYTES, 1
            while back < len(states) - 1 and states[back][0] > most:
                back += 1
            self.states = (states[0], *states[max(back - 1, 1) : back + 1])


def _with(states: States, place: int, state: xxh3_64) -> States:
    """In the place of those that are no earlier."""
    return ((place, state), *[one for one in states if one[0] < place])
