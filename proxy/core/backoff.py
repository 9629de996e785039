"""How long to wait before the same provider is asked again."""

from typing import Final

_FIRST_SECONDS: Final = 0.25
_MOST_SECONDS: Final = 4.0
_MOST_DOUBLINGS: Final = 4


def backoff_seconds(retry: int, chance: float) -> float:
    """Full jitter: anything up to 0.25 s, doubled with each retry before this one, never over 4 s.

    Whoever failed together is spread over the whole of it. retry: 0 for the first. chance: drawn
    evenly from 0 to 1 by the caller.
    """
    most = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(max(retry, 0), _MOST_DOUBLINGS))
    return most * min(max(chance, 0.0), 1.0)
