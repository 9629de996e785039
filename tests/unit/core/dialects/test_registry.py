"""All dialects in one place, and what is asked of each of them."""

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from proxy.core.usage import Extras, Usage
from tests.unit.core.dialects.metering import law

ANSWERS: dict[DialectName, bytes] = {
    "chat": b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":%b}',
    "completions": b'{"choices":[{"text":"x","finish_reason":"stop"}],"usage":%b}',
    "embeddings": b'{"data":[],"usage":%b}',
    "messages": b'{"id":"m","content":[{"type":"text","text":"x"}],"usage":%b}',
    "responses": b'{"id":"r","status":"completed","output":[],"usage":%b}',
}
EVENTS: dict[DialectName, tuple[bytes, ...]] = {
    "chat": (b'{"choices":[],"usage":%b}',),
    "completions": (b'{"choices":[],"usage":%b}',),
    "messages": (
        b'{"type":"message_start","message":{"id":"m","content":[],"usage":%b}}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":%b}',
    ),
    "responses": (
        b'{"type":"response.completed","response":{"id":"r","status":"completed","usage":%b}}',
    ),
}
FIELDS = (
    *("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens"),
    *("input_tokens_details", "output_tokens_details", "prompt_tokens_details"),
    *("completion_tokens_details", "cached_tokens", "cache_write_tokens", "audio_tokens"),
    *("reasoning_tokens", "thinking_tokens", "prompt_cache_hit_tokens", "cache_creation"),
    *("cache_creation_input_tokens", "cache_read_input_tokens", "ephemeral_1h_input_tokens"),
    *("ephemeral_5m_input_tokens", "iterations", "cost", "cost_details", "total_cost", "is_byok"),
    *("upstream_inference_cost", "cost_in_usd_ticks"),
)
ODD = (
    *("true", "false", "null", "0", "-1", "-0.0", "7", "0.5", "1e400", "-1e400", "1e-400", "1e30"),
    *(f"1{'0' * digits}" for digits in (18, 400, 4299, 4300, 9000)),
    *('"NaN"', '"sNaN"', '"Infinity"', '"1e999999"', '"0.1"', '"x"', "[]", "{}", "[[1]]"),
)


def written(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{key}":{raw}' for key, raw in members.items()) + "}"


odd_values = st.recursive(
    st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda values: f"[{','.join(values)}]")
        | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4).map(written)
    ),
    max_leaves=4,
)
odd_usages = (
    st.dictionaries(st.sampled_from(FIELDS), odd_values, max_size=4)
    .map(lambda odd: written({**dict.fromkeys(FIELDS[:4], "7"), **odd}))
    .map(str.encode)
)


def test_every_dialect_is_there_under_its_own_name() -> None:
    """A request is answered by the dialect that it names."""
    assert list(ANSWERS) == sorted(DIALECTS)
    assert all(dialect.name == name for name, dialect in DIALECTS.items())


def figures(told: object) -> Iterator[int]:
    """Every number in a record of usage, those of its extras and iterations too."""
    if isinstance(told, Usage | Extras):
        told = structs.astuple(told)
    if isinstance(told, tuple):
        for part in told:
            yield from figures(part)
    elif isinstance(told, int):
        yield told


def believable(usage: Usage | None) -> bool:
    """No negative figure, and none that overflows a sum or a store."""
    return all(0 <= figure <= 10**13 for figure in figures(usage))


@pytest.mark.parametrize("name", ANSWERS)
@law
@given(usage=odd_usages)
def test_nothing_that_a_provider_reports_breaks_a_whole_answer(
    name: DialectName, usage: bytes
) -> None:
    """What it was is billed either way, and the client is owed its answer."""
    read = DIALECTS[name].read_answer(ANSWERS[name] % usage)

    assert read.malformed is None
    assert believable(read.usage)


@pytest.mark.parametrize("name", EVENTS)
@law
@given(usage=odd_usages)
def test_nothing_that_a_provider_reports_breaks_a_stream(name: DialectName, usage: bytes) -> None:
    meter = DIALECTS[name].meter(strip_usage=False, bounds=Bounds())
    for event in EVENTS[name]:
        meter.feed(b"data: " + event % usage + b"\n\n")
    meter.close()

    assert believable(meter.usage)
