"""Breakers by what they are of: bounded, though the names are partly clients' words.

Whoever makes up names must not push out what is known of others: those of which nothing bad is
known make room first, and those that are open never, before they have been forgotten by all.
"""

from typing import Final

from proxy.breakers.breaker import Breaker

FORGOTTEN_SECONDS: Final = 3_600.0
"""An open breaker whose time came so long ago, and that nobody has tried since, is no longer of
use."""
_SHARE: Final = 8
_AGAIN_SECONDS: Final = 1.0
_WORTH: Final = 3


class Room:
    """At most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self.breakers: dict[tuple[str, str, bytes], Breaker] = {}
        self._capacity = capacity
        self._full_until = 0.0

    def take_in(self, breaker: Breaker, now: float) -> bool:
        """Keeps a new one. Where nothing else may go it is not kept: then its calls are let go,
        each as if it were the first."""
        if len(self.breakers) >= self._capacity and not self._make_room(now):
            return False
        self.breakers[breaker.key] = breaker
        return True

    def _make_room(self, now: float) -> bool:
        """An eighth at once: it looks at all of them, and not for each that comes."""
        if now < self._full_until:
            return False
        worth = {key: _worth(breaker, now) for key, breaker in self.breakers.items()}
        going = sorted((key for key in worth if worth[key] < _WORTH), key=worth.__getitem__)
        for key in going[: max(1, self._capacity // _SHARE)]:
            del self.breakers[key]
        if not going:
            self._full_until = now + _AGAIN_SECONDS
        return bool(going)


def _worth(breaker: Breaker, now: float) -> int:
    """Of what is known of it, the least first; those who came first first among the same."""
    if breaker.is_open or breaker.trying:
        is_forgotten = now > breaker.standing.until + FORGOTTEN_SECONDS and not breaker.trying
        return 2 if is_forgotten else _WORTH
    _, failures, slow = breaker.counted(now)
    if failures or slow:
        return _WORTH if breaker.named else 2
    return 1 if breaker.named else 0
