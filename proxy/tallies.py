"""Counters and histograms that cost a dictionary look-up, given out in Prometheus' own families.

The library's counters take a lock and two look-ups each: some 30 µs a call for the dozen that a
call moves. These belong to one thread, the event loop's, which also answers a scrape.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Tally(Collector):
    """A counter: one value for each combination of labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """`amount` more, 0 or above."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        yield family


class Spread(Collector):
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

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        edges = [*map(str, map(float, self._buckets)), "+Inf"]
        for labels, counts in self._counts.items():
            total, buckets = 0, []
            for edge, count in zip(edges, counts, strict=True):
                total += count
                buckets.append((edge, float(total)))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family
