"""How many retries an upstream's calls may have: a few, and a share of its recent calls.

Theory of operation. When a provider fails, retries multiply what it has to bear just then, and they
do so at every layer that has its own. A token bucket for each upstream bounds that whatever the
number of calls: a call adds `ratio` of a token, a retry takes a whole one. So all retries together
are never more than FLOOR + ratio × calls. The bucket starts at FLOOR, so that an agent that has
made few calls can retry at all, and holds at most FLOOR + ratio × RECENT_CALLS, so that a quiet day
does not save up for a storm. Each worker has buckets of its own.
"""

from typing import Final

FLOOR: Final = 10.0
RECENT_CALLS: Final = 1_000
_UPSTREAMS: Final = 4_096
"""More than a policy can name; those of policies that went may not pile up."""


class RetryBudget:
    """The buckets of one process, by the upstream's name. Belongs to one event loop."""

    def __init__(self) -> None:
        self._tokens: dict[str, float] = {}

    def called(self, upstream: str, ratio: float) -> None:
        """A call goes there for the first time; its retries are not told of."""
        tokens = self._tokens
        saved = tokens.get(upstream, FLOOR) + ratio
        most = FLOOR + ratio * RECENT_CALLS
        if upstream not in tokens and len(tokens) >= _UPSTREAMS:
            tokens.clear()
        tokens[upstream] = saved if saved < most else most

    def take(self, upstream: str, ratio: float) -> bool:
        """Takes a token for one retry; False: there is none left. With a ratio of 0 there are
        none at all."""
        left = self._tokens.get(upstream, FLOOR)
        if ratio <= 0 or left < 1:
            return False
        self._tokens[upstream] = left - 1
        return True

    def left(self, upstream: str) -> float:
        """Tokens there, whole and parts."""
        return self._tokens.get(upstream, FLOOR)
