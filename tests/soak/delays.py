"""How late chunks came, and which of them were on their way while something else went on."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

_MARKS = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
_AFTER_SECONDS = 0.005
"""What waited for something is worked off a moment after it."""


class Delays:
    """Of chunks: when each was sent and how late it came. begun, whole: streams that began, and
    that came to their end."""

    def __init__(self) -> None:
        self.begun = 0
        self.whole = 0
        self._sent = array("d")
        self._late = array("d")

    def __len__(self) -> int:
        return len(self._late)

    def add(self, sent: float, came: float) -> None:
        """One chunk, by the clock of both ends."""
        self._sent.append(sent)
        self._late.append(came - sent)

    def between(self, begin: float, end: float) -> "Delays":
        """Only what was sent then."""
        return self._some(begin <= sent <= end for sent in self._sent)

    def split(self, spans: Sequence[tuple[float, float]]) -> tuple["Delays", "Delays"]:
        """Those on their way in one of these spans of time, and the others."""
        spans = sorted(spans)
        ends = [end + _AFTER_SECONDS for _, end in spans]
        beside = [
            (at := bisect_left(ends, sent)) < len(spans) and spans[at][0] <= sent + late
            for sent, late in zip(self._sent, self._late, strict=True)
        ]
        return self._some(iter(beside)), self._some(not one for one in beside)

    def at(self, share: float) -> float:
        """The delay in milliseconds that this share of the chunks stays within."""
        delays = sorted(self._late)
        return delays[min(int(len(delays) * share), len(delays) - 1)] * 1e3 if delays else 0.0

    def shown(self) -> str:
        """The figures in one line."""
        told = (f"{name} {self.at(share):.1f}" for name, share in _MARKS)
        return f"{', '.join(told)} ms of {len(self):,} chunks"

    def _some(self, which: Iterator[bool]) -> "Delays":
        some = Delays()
        for sent, late, one in zip(self._sent, self._late, which, strict=True):
            if one:
                some.add(sent, sent + late)
        return some
