"""What the answers of a model usually come to, for the holds of streams: learned from settled ones.

By tenant, so that nobody's answers say anything of another's; by agent, and where an agent has none
yet, by model alone. Memory of this process: after a start the full bound is held until enough is
known again.
"""

from collections import deque
from dataclasses import dataclass, field

_SAMPLES_KEPT = 64
_SAMPLES_NEEDED = 8
_SHARE_PERCENT = 95
_ENTRIES = 4_096
"""Names that clients make up must not grow the process."""

_Place = tuple[str, str, str | None]


@dataclass(slots=True)
class _Samples:
    tokens: deque[int] = field(default_factory=lambda: deque(maxlen=_SAMPLES_KEPT))
    usual: int | None = None

    def add(self, tokens: int) -> None:
        self.tokens.append(tokens)
        if len(self.tokens) >= _SAMPLES_NEEDED:
            ordered = sorted(self.tokens)
            self.usual = ordered[(len(ordered) - 1) * _SHARE_PERCENT // 100]


class UsualOutput:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._samples: dict[_Place, _Samples] = {}

    def tokens(self, tenant: str, model: str, agent: str | None) -> int | None:
        """Output tokens that 95 % of the newest answers stayed within; None where too few are
        known."""
        samples = self._samples.get((tenant, model, agent))
        if samples is None or samples.usual is None:
            samples = self._samples.get((tenant, model, ""))
        return None if samples is None else samples.usual

    def observe(self, tenant: str, model: str, agent: str | None, tokens: int) -> None:
        """One choice of an answer that came to its end."""
        for place in ((tenant, model, agent), (tenant, model, "")):
            samples = self._samples.pop(place, None) or _Samples()  # it goes to the end: the newest
            samples.add(tokens)
            self._samples[place] = samples
        while len(self._samples) > _ENTRIES:
            del self._samples[next(iter(self._samples))]
