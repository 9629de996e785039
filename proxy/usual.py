"""What the answers of a model usually come to, for the holds of streams: learned from settled ones.

By tenant, so that nobody's answers say anything of another's; by agent, and where an agent has none
yet, by model alone. Memory of this process: after a start the full bound is held until enough is
known again.
"""

from bisect import bisect_left, insort
from collections import deque

_SAMPLES_KEPT = 64
_SAMPLES_NEEDED = 8
_SHARE_PERCENT = 95
_ENTRIES = 4_096
"""Names that clients make up must not grow the process."""

_Place = tuple[str, str, str | None]


class _Samples:
    """The newest, as they came and by size: each is put in its place and taken out again, as
    sorting all of them for each answer costs ten times as much."""

    __slots__ = ("_by_size", "_newest")

    def __init__(self) -> None:
        self._newest: deque[int] = deque()
        self._by_size: list[int] = []

    def add(self, tokens: int) -> None:
        newest, by_size = self._newest, self._by_size
        if len(newest) == _SAMPLES_KEPT:
            del by_size[bisect_left(by_size, newest.popleft())]
        newest.append(tokens)
        insort(by_size, tokens)

    @property
    def usual(self) -> int | None:
        known = len(self._by_size)
        if known < _SAMPLES_NEEDED:
            return None
        return self._by_size[(known - 1) * _SHARE_PERCENT // 100]


class UsualOutput:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._samples: dict[_Place, _Samples] = {}

    def tokens(self, tenant: str, model: str, agent: str | None) -> int | None:
        """Output tokens that 95 % of the newest answers stayed within; None where too few are
        known."""
        samples = self._samples.get((tenant, model, agent))
        usual = None if samples is None else samples.usual
        if usual is None:
            samples = self._samples.get((tenant, model, ""))
            usual = None if samples is None else samples.usual
        return usual

    def observe(self, tenant: str, model: str, agent: str | None, tokens: int) -> None:
        """One choice of an answer that came to its end."""
        known = self._samples
        for place in ((tenant, model, agent), (tenant, model, "")):
            samples = known.pop(place, None)
            if samples is None:
                samples = _Samples()
            samples.add(tokens)
            known[place] = samples  # at the end: the newest
        while len(known) > _ENTRIES:
            del known[next(iter(known))]
