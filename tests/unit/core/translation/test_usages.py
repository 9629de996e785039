"""Usage in the words of another dialect: its own reader must bill the same."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.chat_usage import read_usage
from proxy.core.dialects.messages_answer import read_figures
from proxy.core.translation.usages import chat_usage, messages_usage, no_messages_usage
from proxy.core.usage import Extras, Usage

counts = st.integers(0, 10**6)
terms = st.lists(
    st.sampled_from(["flex", "priority", "batch", "speed:fast", "geo:us"]), max_size=3, unique=True
)


@st.composite
def iterations(draw: Any) -> Usage:
    return Usage(draw(counts), draw(counts), draw(counts), draw(counts), draw(counts))


@st.composite
def usages(draw: Any) -> Usage:
    """Any that a provider can tell. Parts are no larger than what they are parts of."""
    fresh, read, made = draw(counts), draw(counts), draw(counts)
    into, out = draw(st.integers(0, fresh)), draw(st.integers(0, made))
    chosen = draw(terms)
    tiers = [term for term in chosen if ":" not in term][:1]
    served = (*tiers, *sorted([term for term in chosen if ":" in term], reverse=True))
    extras = Extras(
        cache_read_audio_tokens=draw(st.sampled_from([0, read // 2])),
        input_image_tokens=draw(st.integers(0, fresh)),
        output_image_tokens=draw(st.integers(0, made)),
        web_searches=draw(st.integers(0, 9)),
        search_context=draw(st.sampled_from([None, "low", "high"])),
        terms=served,
    )
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read,
        cache_write_tokens=draw(counts),
        cache_write_1h_tokens=draw(counts),
        output_tokens=made,
        reasoning_tokens=draw(st.integers(0, made)),
        input_audio_tokens=into,
        output_audio_tokens=out,
        billed_cost_micro_usd=draw(st.none() | st.integers(0, 10**12)),
        extras=None if extras == Extras() else extras,
    )


@st.composite
def sampled_twice(draw: Any) -> Usage:
    each = draw(st.lists(iterations(), min_size=2, max_size=3))
    return Usage(
        input_tokens=sum([one.input_tokens for one in each]),
        cache_read_tokens=sum([one.cache_read_tokens for one in each]),
        cache_write_tokens=sum([one.cache_write_tokens for one in each]),
        cache_write_1h_tokens=sum([one.cache_write_1h_tokens for one in each]),
        output_tokens=sum([one.output_tokens for one in each]),
        extras=Extras(iterations=tuple(each)),
    )


def in_chat(usage: Usage) -> Usage | None:
    return read_usage(msgspec.Raw(msgspec.json.encode(chat_usage(usage))))


def in_messages(usage: Usage) -> Usage | None:
    return read_figures(msgspec.Raw(msgspec.json.encode(messages_usage(usage)))).usage()


law = settings(deadline=None, max_examples=300)


@law
@given(usages() | sampled_twice())
def test_the_reader_of_chat_reads_what_was_written(usage: Usage) -> None:
    assert in_chat(usage) == usage


@law
@given(usages() | sampled_twice())
def test_the_reader_of_messages_reads_what_was_written(usage: Usage) -> None:
    assert in_messages(usage) == usage


def test_what_is_not_known_is_told_in_numbers_and_read_as_unknown() -> None:
    """SDKs add them up; we must not bill nothing for a call whose provider tells nothing."""
    told = no_messages_usage()

    assert (told["input_tokens"], told["output_tokens"]) == (0, 0)
    assert read_figures(msgspec.Raw(msgspec.json.encode(told))).usage() is None


def test_an_odd_list_of_iterations_costs_none_of_the_figures() -> None:
    sent = b'{"prompt_tokens": 5, "completion_tokens": 2, "iterations": %s}'

    for odd in (b'"many"', b"[7]", b"[]", b'[{"prompt_tokens": 5}]'):
        assert read_usage(msgspec.Raw(sent % odd)) == Usage(input_tokens=5, output_tokens=2)


def test_the_words_are_those_of_the_dialects() -> None:
    """What clients show."""
    usage = Usage(10, 20, 3, 4, 50, 6)

    assert chat_usage(usage) == {
        "prompt_tokens": 37,
        "completion_tokens": 50,
        "total_tokens": 87,
        "prompt_tokens_details": {
            "cached_tokens": 20,
            "cache_write_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        "completion_tokens_details": {"reasoning_tokens": 6},
    }
    assert messages_usage(usage) == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 20,
        "output_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens_details": {"thinking_tokens": 6},
    }
