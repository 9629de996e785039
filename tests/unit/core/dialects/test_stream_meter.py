"""What holds for the streams of every dialect."""

import json
import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds, Meter
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from tests.unit.core.dialects.metering import law, pieces, recordings

_EVENTS: Mapping[DialectName, bytes] = {
    "chat": b'data: {"choices":[{"index":0,"delta":{"content":%b}}]}\n\n',
    "responses": b'data: {"type":"response.output_text.delta","output_index":0,"delta":%b}\n\n',
    "messages": (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":%b}}\n\n'
    ),
}
_CALLS: Mapping[DialectName, bytes] = {
    "chat": (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":'
        b'[{"index":0,"id":"c1","function":{"name":"look_up","arguments":""}}]}}]}\n\n'
    ),
    "responses": (
        b'data: {"type":"response.output_item.added","output_index":0,"item":'
        b'{"type":"function_call","call_id":"c1","name":"look_up","arguments":""}}\n\n'
    ),
    "messages": (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"tool_use","id":"c1","name":"look_up","input":{}}}\n\n'
    ),
}
_ARGUMENTS: Mapping[DialectName, bytes] = {
    "chat": (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":'
        b'[{"index":0,"function":{"arguments":"%b"}}]}}]}\n\n'
    ),
    "responses": (
        b'data: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"%b"}\n\n'
    ),
    "messages": (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"input_json_delta","partial_json":"%b"}}\n\n'
    ),
}
_PLAIN = ("openai", "azure_openai", "mistral")
"""Providers whose recorded answers have no reasoning that is billed and not sent."""
_ENDPOINTS: Mapping[str, DialectName] = {"chat.completions": "chat", "responses": "responses"}
streams = st.lists(st.sampled_from(["a", "日本", "", '"usage":null']), max_size=4)
cuts = st.lists(st.integers(0, 400), max_size=6)
line_ends = st.sampled_from([b"\n", b"\r\n"])


def event(dialect: DialectName, text: str) -> bytes:
    return _EVENTS[dialect] % json.dumps(text, ensure_ascii=False).encode()


def metering(dialect: DialectName, *, strip: bool = True, line_bytes: int = 1_000) -> Meter:
    return DIALECTS[dialect].meter(strip_usage=strip, bounds=Bounds(sse_line_bytes=line_bytes))


@pytest.mark.parametrize("text", ["a budget for agents", "治理代理的预算", "Prüfung größer"])
def test_a_text_counts_the_same_in_every_dialect(text: str) -> None:
    """A call must not cost more for the endpoint that it was made on."""
    counts = set()
    for dialect in _EVENTS:
        meter = metering(dialect)
        meter.feed(event(dialect, text))
        counts.add((meter.output_tokens_least, meter.output_tokens_counted))

    assert len(counts) == 1
    assert counts.pop()[0] == 1


@pytest.mark.parametrize("pieces_of", [1, 4], ids=["short pieces", "long pieces"])
def test_a_call_counts_the_same_in_every_dialect(pieces_of: int) -> None:
    """Its name, its frame and its arguments, which come in pieces of a token or in longer ones."""
    counts = set()
    for dialect in _EVENTS:
        meter = metering(dialect)
        meter.feed(_CALLS[dialect])
        for _ in range(6):
            meter.feed(_ARGUMENTS[dialect] % (b"a" * pieces_of))
        counts.add((meter.output_tokens_least, meter.output_tokens_counted))

    assert counts == {(7, 12)}


@pytest.mark.data
@pytest.mark.parametrize("endpoint", ["chat.completions", "responses"])
def test_recorded_calls_are_counted_close_below_what_was_billed(endpoint: str) -> None:
    """Of streams that are nothing but calls, without the provider's own figures: they would be
    booked so, were they cut before their end."""
    counted = billed = 0
    for record in recordings(endpoint):
        response = record["response"]
        assert isinstance(response, dict)
        if not record["stream"] or record["provider"] not in _PLAIN or response["status"] != 200:
            continue
        whole, untold = (metering(_ENDPOINTS[endpoint], line_bytes=100_000) for _ in range(2))
        whole.feed(response["body"].encode())
        untold.feed(response["body"].replace('"usage":{', '"unused":{').encode())
        said = whole.answer()
        if said.tool_calls and not said.text and whole.usage is not None and untold.usage is None:
            assert untold.output_tokens_counted <= whole.usage.output_tokens
            counted += untold.output_tokens_counted
            billed += whole.usage.output_tokens

    print(f"{endpoint}: {counted} of {billed}")
    assert counted >= 0.7 * billed > 0


@pytest.mark.parametrize("dialect", _EVENTS)
def test_an_empty_delta_has_not_passed(dialect: DialectName) -> None:
    """Anthropic's arguments begin with one: what passed for certain decides about a cut."""
    meter = metering(dialect)
    meter.feed(event(dialect, "") * 3)

    assert (meter.output_tokens_least, meter.output_tokens_counted) == (0, 0)


@pytest.mark.parametrize("dialect", _EVENTS)
def test_a_long_answer_is_kept_as_its_text(dialect: DialectName) -> None:
    """A thousand streams at once are a thousand answers in memory; a piece of two letters alone
    takes 60 bytes."""
    meter, words = metering(dialect), [f"{number % 90 + 10} " for number in range(2_000)]
    chunks = [event(dialect, word) for word in words]
    meter.feed(chunks[0])
    tracemalloc.start()
    for chunk in chunks[1:]:
        meter.feed(chunk)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 4 * len("".join(words)) + 1_000
    assert meter.answer().text == "".join(words)


@law
@given(st.sampled_from(sorted(_EVENTS)), st.booleans(), streams, cuts, line_ends)
def test_a_border_is_told_where_an_event_has_ended(
    dialect: DialectName, strip: bool, texts: list[str], at: list[int], line_end: bytes
) -> None:
    """Only there can an error of ours follow: after a blank line, even if half of its end is yet
    to come."""
    stream = b"".join(event(dialect, text) for text in texts).replace(b"\n", line_end)
    meter = metering(dialect, strip=strip)
    passed = b""
    for piece in pieces(stream, at):
        passed += meter.feed(piece)

        ended = passed + b"\n" if passed.endswith(b"\n\r") else passed
        events = ended.count(line_end * 2)
        whole = b"".join(event(dialect, text) for text in texts[:events])
        assert meter.at_border == (ended == whole.replace(b"\n", line_end))
    assert passed == stream


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("dialect", _EVENTS)
def test_whole_events_pass_as_the_object_they_came_in(dialect: DialectName, strip: bool) -> None:
    """Nothing is copied where nothing has to be changed."""
    meter = metering(dialect, strip=strip)
    for chunk in (event(dialect, "a"), event(dialect, "a") * 20, b": comment\n\n"):
        assert meter.feed(chunk) is chunk
        assert meter.at_border


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("dialect", _EVENTS)
def test_in_an_event_beyond_the_bound_there_is_no_border(dialect: DialectName, strip: bool) -> None:
    """It passes in parts; an error in the middle of it would be lost in it."""
    meter = metering(dialect, strip=strip, line_bytes=100)
    borders = []
    for part in (b"data: " + b"x" * 250, b"x" * 250, b"\n\n"):
        meter.feed(part)
        borders.append(meter.at_border)

    assert borders == [False, False, True]
    assert meter.malformed == 1


@pytest.mark.parametrize("dialect", _EVENTS)
def test_an_event_that_was_cut_off_is_not_malformed(dialect: DialectName) -> None:
    """The provider is blamed for what it sent, not for where the connection broke."""
    meter = metering(dialect)
    meter.feed(event(dialect, "a") + event(dialect, "b")[:-9])
    meter.close()

    assert (meter.malformed, meter.output_tokens_least) == (0, 1)


@pytest.mark.parametrize("dialect", _EVENTS)
def test_the_last_event_counts_without_its_blank_line(dialect: DialectName) -> None:
    """Some servers close right after it."""
    meter = metering(dialect)
    meter.feed(event(dialect, "a")[:-2])
    assert meter.output_tokens_least == 0
    meter.close()

    assert meter.output_tokens_least == 1
