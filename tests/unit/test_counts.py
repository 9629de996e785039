"""Counts of several workers, put together."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from proxy.counts import (
    Counts,
    collected,
    decode_counts,
    encode_counts,
    exposition,
    merged,
    without_gauges,
)


def counted(calls: dict[str, int], seconds: tuple[float, ...], held: int) -> CollectorRegistry:
    """What one worker has counted."""
    registry = CollectorRegistry()
    counter = Counter("calls", "Calls.", ("kind",), registry=registry)
    for kind, count in calls.items():
        counter.labels(kind).inc(count)
    histogram = Histogram("took_seconds", "Time.", buckets=(0.1, 1.0), registry=registry)
    for value in seconds:
        histogram.observe(value)
    Gauge("held", "Holds.", registry=registry).set(held)
    return registry


def values(counts: Counts) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(s.name, s.labels): s.value for family in counts for s in family.samples}


def test_what_is_merged_is_the_sum() -> None:
    """Of counters by their labels, of each bucket, and of gauges."""
    one = collected(counted({"a": 2, "b": 1}, (0.05, 0.5), 3))
    two = collected(counted({"b": 10, "c": 5}, (0.5, 5.0), 4))
    whole = values(merged([one, two]))

    assert [whole["calls_total", (("kind", kind),)] for kind in "abc"] == [2, 11, 5]
    buckets = [whole["took_seconds_bucket", (("le", le),)] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [1, 3, 4]
    assert whole["took_seconds_count", ()] == 4
    assert whole["took_seconds_sum", ()] == 6.05
    assert whole["held", ()] == 7


def test_since_when_something_is_counted_is_the_earliest_time() -> None:
    one, two = (collected(counted({"a": 1}, (), 0)) for _ in range(2))
    created = ("calls_created", (("kind", "a"),))

    both = values(merged([two, one]))[created]
    assert both == min(values(one)[created], values(two)[created])


def test_of_how_breakers_stand_the_worst_is_told() -> None:
    """Four workers that say "open" (2) are no 8."""

    def states(of: dict[str, int]) -> Counts:
        registry = CollectorRegistry()
        gauge = Gauge("holdfast_breaker_state", "Breakers.", ("model",), registry=registry)
        for model, state in of.items():
            gauge.labels(model).set(state)
        return collected(registry)

    several = (states({"a": 2, "b": 0}), states({"a": 2, "b": 1}), states({"a": 0}))
    whole = values(merged(several))

    assert [whole["holdfast_breaker_state", (("model", model),)] for model in "ab"] == [2, 1]


def test_reloads_of_the_one_policy_are_not_added_up() -> None:
    """Every worker reads the file: four of them have not reloaded it four times."""

    def reloads(count: int) -> Counts:
        registry = CollectorRegistry()
        Counter("holdfast_policy_reloads", "Reloads.", registry=registry).inc(count)
        return collected(registry)

    whole = values(merged([reloads(2), reloads(3), reloads(3)]))
    assert whole["holdfast_policy_reloads_total", ()] == 3


def test_one_alone_is_written_as_it_would_write_itself() -> None:
    """A scrape does not tell how many workers there are, nor that they spoke to each other."""
    registry = counted({"a": 2}, (0.5,), 1)
    alone = exposition(merged([decode_counts(encode_counts(collected(registry)))]))

    assert sorted(alone.splitlines()) == sorted(generate_latest(registry).splitlines())
    assert alone.index(b"# TYPE calls_total counter") < alone.index(b'calls_total{kind="a"} 2.0')


def test_of_the_dead_only_what_they_counted_stays() -> None:
    """A hold that it had is not held by it any more."""
    left = without_gauges(collected(counted({"a": 2}, (0.5,), 3)))

    assert {family.name for family in left} == {"calls", "took_seconds"}


def test_of_nothing_there_is_nothing() -> None:
    assert decode_counts(b"") == ()
    assert exposition(()) == b""
