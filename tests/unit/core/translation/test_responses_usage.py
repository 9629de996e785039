"""Usage that is told by a response costs what it cost where it was told by chat."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.responses import RESPONSES
from proxy.core.translation.usages import response_usage
from proxy.core.usage import Extras, Usage
from tests.unit.core.dialects.metering import law

counts = st.integers(0, 9)


@st.composite
def usages(draw: st.DrawFn, *, single: bool = False) -> Usage:
    fresh, out = draw(counts), draw(counts)
    read = draw(counts)
    iterations = () if single else tuple(draw(st.lists(usages(single=True), max_size=3)))
    extras = Extras(
        cache_read_audio_tokens=min(read, draw(counts)),
        input_image_tokens=min(fresh, draw(counts)),
        output_image_tokens=min(out, draw(counts)),
        web_searches=0 if single else draw(counts),
        search_context=None if single else draw(st.sampled_from([None, "low", "high"])),
        terms=() if single else draw(
            st.sampled_from([(), ("flex",), ("priority", "speed:fast", "geo:us"), ("geo:us",)])
        ),
        iterations=iterations if len(iterations) > 1 else (),
    )  # fmt: skip
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read,
        cache_write_tokens=draw(counts),
        cache_write_1h_tokens=draw(counts),
        output_tokens=out,
        reasoning_tokens=min(out, draw(counts)),
        input_audio_tokens=min(fresh, draw(counts)),
        output_audio_tokens=min(out, draw(counts)),
        billed_cost_micro_usd=draw(st.none() | st.integers(0, 10**9)),
        extras=None if extras == Extras() else extras,
    )


@law
@given(usages())
def test_every_class_is_read_as_it_was(usage: Usage) -> None:
    body = msgspec.json.encode({"id": "r", "output": [], "usage": response_usage(usage)})

    assert RESPONSES.read_answer(body).usage == usage


def test_odd_iterations_say_nothing() -> None:
    """As all that cannot be read."""
    for odd in ("[1,2]", "3", '[{"input_tokens":1}]', "null"):
        body = b'{"output":[],"usage":{"input_tokens":5,"iterations":%b}}' % odd.encode()
        assert RESPONSES.read_answer(body).usage == Usage(input_tokens=5)
