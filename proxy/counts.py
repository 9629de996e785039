"""What was counted, as a value: put together over workers, and written down for Prometheus."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

_EACH_COUNTS_THE_SAME: Final = frozenset({"holdfast_policy_reloads"})
"""Every worker reads the one policy file: the count of any is the count of all."""
_WORST: Final = frozenset({"holdfast_breaker_state"})
"""Workers tell each other how it stands: one that has not heard yet says nothing against it."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line. labels: name and value each."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with all its labels. kind: counter, gauge or histogram."""

    name: str
    documentation: str
    kind: str
    samples: tuple[Sample, ...]


Counts: TypeAlias = tuple[Family, ...]

_DECODER = msgspec.msgpack.Decoder(Counts)


def collected(registry: CollectorRegistry) -> Counts:
    """All that a registry has now."""
    return tuple(
        Family(metric.name, metric.documentation, metric.type, tuple(_samples(metric)))
        for metric in registry.collect()
    )


def _samples(metric: Metric) -> Iterator[Sample]:
    for sample in metric.samples:
        yield Sample(sample.name, tuple(sample.labels.items()), sample.value)


def encode_counts(counts: Counts) -> bytes:
    return msgspec.msgpack.encode(counts)


def decode_counts(encoded: bytes) -> Counts:
    """Raises msgspec.DecodeError. Of nothing: nothing."""
    return _DECODER.decode(encoded) if encoded else ()


def merged(several: Iterable[Counts]) -> Counts:
    """The sum of all. Of the time since when something is counted, the earliest."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for counts in several:
        for family in counts:
            families.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, sample.labels)
                value = sample.value
                known[key] = (
                    _together(family.name, key[0], known[key], value) if key in known else value
                )
    return tuple(
        msgspec.structs.replace(
            family, samples=tuple(Sample(*key, value) for key, value in values[name].items())
        )
        for name, family in families.items()
    )


def _together(family: str, sample: str, one: float, other: float) -> float:
    if sample == f"{family}_created":
        return min(one, other)
    return max(one, other) if family in _EACH_COUNTS_THE_SAME | _WORST else one + other


def without_gauges(counts: Counts) -> Counts:
    """What stays of one who has gone: what was counted, not what was so while it lived."""
    return tuple(family for family in counts if family.kind != "gauge")


def exposition(counts: Counts) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    registry.register(_Written(counts))
    return generate_latest(registry)


class _Written(Collector):
    """Gives out what is known already."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        for family in self._counts:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric
