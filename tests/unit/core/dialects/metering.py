"""What the laws of streamed answers are stated with: events, cuts, and what a meter has seen."""

import gzip
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds, Dialect, Meter

Json = dict[str, object]

# Two busy cores are shared with other tests: how long an example takes says nothing.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def frames(events: list[Json], *, named: bool = True, end: bytes = b"\n") -> bytes:
    """A stream of these events, each named by its own type unless its server does not name them."""
    stream = b""
    for event in events:
        name = b"event: " + str(event["type"]).encode() + end if named else b""
        stream += name + b"data: " + json.dumps(event, ensure_ascii=False).encode() + end + end
    return stream


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream cut at these places (taken modulo its length)."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:stop] for start, stop in pairwise(places)]


def metered(dialect: Dialect, chunks: list[bytes], bounds: Bounds | None = None) -> Meter:
    """A meter that has been fed these chunks and closed; each came back as the object it was."""
    meter = dialect.meter(strip_usage=True, bounds=bounds or Bounds())
    for chunk in chunks:
        assert meter.feed(chunk) is chunk
    assert meter.close() == b""
    return meter


def seen(meter: Meter) -> tuple[object, ...]:
    """All that a meter tells."""
    return (
        meter.committed,
        meter.ended,
        meter.finish_seen,
        meter.failed,
        meter.malformed,
        meter.usage,
        meter.output_tokens_least,
        meter.output_tokens_counted,
        meter.answer(),
    )


def recordings(endpoint: str) -> Iterator[Json]:
    """The recorded exchanges of one endpoint; skips where the full sets are not at hand."""
    beside = Path(__file__).parents[5] / "shared" / "data"
    path = Path(os.environ.get("HOLDFAST_DATA", beside)) / "cassettes" / "cassettes_small.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recorded exchanges are not there: {path} (set HOLDFAST_DATA)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            url = record["request"]["url"].partition("?")[0]
            its_own = url.endswith(endpoint.replace(".", "/"))
            if record["endpoint"] == endpoint and its_own and "/threads/" not in url:
                yield record
