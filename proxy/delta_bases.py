"""Finds a recorded list that a new one shares much with though it does not begin with it: of agents
that keep a window of their history, trim it, or rewrite its first message.

The base's list is read back from the ledger the first time; of who does it once and will do it
again, the newest list is kept at hand.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from proxy.core.fingerprints import Fingerprint, Recorded
from proxy.core.ranges import copied, ranges_of
from proxy.core.recording import Overlap, bases_of, framed
from proxy.core.session import SessionKey

LEAST_DELTA_BYTES = 8_192
"""What is less is given again: it costs less than to look for it."""
_TRIED = 3
_KEPT_BYTES = 32 * 1024 * 1024

ListOf = Callable[[SessionKey, str], Awaitable[bytes | None]]
"""Reads the list of a recorded call back; None where that cannot be."""


class DeltaBases:
    """One for each process."""

    def __init__(self, list_of: ListOf) -> None:
        self._list_of = list_of
        self._lists: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def find(
        self, key: SessionKey, listed: bytes, recorded: Recorded, fingerprint: Fingerprint
    ) -> tuple[Overlap, tuple[int, ...]] | None:
        """A base that has at least half of the list, and its ranges; None where none has.
        fingerprint: of the body that the list is in."""
        bases = [
            one for one in bases_of(recorded, fingerprint) if one[1].list_bytes >= LEAST_DELTA_BYTES
        ]
        bases.sort(key=lambda one: sum(framed(one[1], fingerprint)), reverse=True)
        for call_id, base in bases[:_TRIED]:
            before = self._lists.get(call_id)
            if before is None:
                before = await self._list_of(key, call_id)
            if before is None:
                continue
            ranges = await asyncio.to_thread(_ranges, listed, before)
            if 2 * copied(ranges) >= len(listed):
                head, tail = framed(base, fingerprint)
                return Overlap(call_id, 0, head, tail), ranges
        return None

    def keep(self, call_id: str, listed: bytes, instead_of: str = "") -> None:
        """The next one of its history may be like it. instead_of: the one that it is like."""
        self._kept_bytes -= len(self._lists.pop(instead_of, b""))
        self._lists[call_id] = listed
        self._kept_bytes += len(listed)
        while self._kept_bytes > _KEPT_BYTES:
            _, dropped = self._lists.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _ranges(listed: bytes, base: bytes) -> tuple[int, ...]:
    try:
        return ranges_of(listed, base)
    except ValueError:  # with an element that is no JSON by itself
        return ()
