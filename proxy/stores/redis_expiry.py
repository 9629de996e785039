"""How long a key lives that nobody touches: a safety net, for retention deletes long before."""

from collections.abc import Callable
from typing import Final

MARGIN_SECONDS: Final = 30 * 86_400
"""So much longer than retention: for that long it may be that nobody looks after the ledger."""
_MOST_SECONDS: Final = 36_500 * 86_400


class Expiry:
    """least_seconds: as the URL has it. retention_seconds: what the policy says now; it may change.
    now: seconds since the epoch."""

    def __init__(
        self, least_seconds: int, retention_seconds: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._least = least_seconds
        self._retention = retention_seconds
        self._now = now
        self._known = 0
        self._since = now()

    @property
    def since(self) -> float:
        """When it became this long, as far as this process knows: keys that were given an end
        before that are given another when they are touched."""
        self._look()
        return self._since

    @property
    def seconds(self) -> int:
        """From now on."""
        return self._look()

    def _look(self) -> int:
        wanted = min(self._retention() + MARGIN_SECONDS, _MOST_SECONDS)
        seconds = max(self._least, int(wanted))
        if seconds != self._known:
            if seconds > self._known:
                self._since = self._now()
            self._known = seconds
        return seconds
