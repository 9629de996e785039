"""Counters and histograms that cost a dictionary look-up, given out as Prometheus names them.

The library's counters take a lock and two look-ups each, some 30 µs a call for the dozen that a
call moves; and its import is a seventh of the time until ready. These belong to one thread, the
event loop's, which also answers a scrape.
"""

from bisect import bisect_left
from collections.abc import Sequence

from proxy.counts import Family, Sample

Labels = tuple[str, ...]


class Tally:
    """A counter: one value for each combination of labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """`amount` more, 0 or above."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def family(self) -> Family:
        """What it has counted."""
        name = f"{self._name}_total"
        samples = tuple(
            Sample(name, tuple(zip(self._labels, labels, strict=True)), value)
            for labels, value in self.values.items()
        )
        return Family(self._name, self._text, "counter", samples)


class Spread:
    """A histogram, in the unit of its name."""

    def __init__(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._buckets = tuple(buckets)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._begin(())

    def observe(self, value: float, labels: Labels = ()) -> None:
        counts = self._counts.get(labels) or self._begin(labels)
        counts[bisect_left(self._buckets, value)] += 1
        self._sums[labels] += value

    def _begin(self, labels: Labels) -> list[int]:
        self._sums[labels] = 0.0
        counts = self._counts[labels] = [0] * (len(self._buckets) + 1)
        return counts

    def family(self) -> Family:
        """What it has counted."""
        samples: list[Sample] = []
        edges = [*map(str, map(float, self._buckets)), "+Inf"]
        for values, counts in self._counts.items():
            labels = tuple(zip(self._labels, values, strict=True))
            total = 0
            for edge, count in zip(edges, counts, strict=True):
                total += count
                samples.append(Sample(f"{self._name}_bucket", (*labels, ("le", edge)), total))
            samples.append(Sample(f"{self._name}_count", labels, total))
            samples.append(Sample(f"{self._name}_sum", labels, self._sums[values]))
        return Family(self._name, self._text, "histogram", tuple(samples))
