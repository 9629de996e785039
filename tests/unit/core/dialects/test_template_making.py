"""What is read by its like comes to what it would have come to decoded, whatever it is."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds, Meter
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from tests.unit.core.dialects.metering import law, pieces, seen

# Each has a hole for what is between the quotes of its text (T), and some for what else varies.
_CHAT = b'data: {"id":"c","choices":[{"index":%b,"delta":{%b},"finish_reason":%b}]%b}'
_CONTENT = b'"content":"T"'
_ARGUMENTS = b'"tool_calls":[{"index":%b,"function":{"arguments":"T"}}]'
_ARGUED = b'"tool_calls":[{"index":%b,"id":"%b","function":{"name":"f","arguments":""}}]'
_EVENTS: Mapping[DialectName, Sequence[bytes]] = {
    "chat": (
        *(_CHAT % (index, _CONTENT, b"null", b"") for index in (b"0", b"0", b"0", b"1")),
        _CHAT % (b"0", _CONTENT, b"null", b',"usage":null'),
        _CHAT % (b"0", _CONTENT, b"null", b',"usage":null,"obfuscation":"W"'),
        _CHAT % (b"0", _CONTENT, b"null", b',"obfuscation":"W","usage":null'),
        _CHAT % (b"0", _CONTENT, b"null", b',"p":{"usage":null}'),
        _CHAT % (b"0", _CONTENT, b"null", b',"usage":null,"usage":null'),
        _CHAT % (b"0", _CONTENT, b"null", b',"usage":{"prompt_tokens":8,"completion_tokens":N}'),
        _CHAT % (b"0", _CONTENT, b"null", b',"x_groq":{"id":"r","error":"T"}'),
        _CHAT % (b"0", _CONTENT, b"null", b',"error":{"message":"T"}'),
        _CHAT % (b"0", _CONTENT, b'"stop"', b""),
        _CHAT % (b"0", b'"content":null', b"null", b""),
        _CHAT % (b"0", b'"content":[{"type":"text","text":"T"}]', b"null", b""),
        _CHAT % (b"0", b'"content":"","reasoning_content":"T"', b"null", b""),
        _CHAT % (b"0", b'"reasoning":"T","reasoning_content":"also"', b"null", b""),
        _CHAT % (b"0", b'"reasoning_content":"T","reasoning":"also"', b"null", b""),
        _CHAT % (b"0", b'"content":"T","refusal":"also"', b"null", b""),
        _CHAT % (b"0", b'"content":"once","content":"T"', b"null", b""),
        _CHAT % (b"0", b'"content":"T","content":"twice"', b"null", b""),
        *(_CHAT % (b"0", _ARGUED % (b"0", name), b"null", b"") for name in (b"a", b"b")),
        *(_CHAT % (b"0", _ARGUMENTS % index, b"null", b"") for index in (b"0", b"0", b"null")),
        b'data: {"usage":null,"choices":[{"delta":{"content":"T"}}]}',
        b'data: {"choices":[{"delta":{"content":"T"}},{"index":1,"delta":{"content":"T"}}]}',
        b'data: {"choices":[{"text":"T"}]}',
        b'data: {"usage":null,"choices":[{"delta":{"content":"T"}}],"p":{"a":1,"usage":null}}',
        b'data: {"choices":[{"delta":{"content":""},"text":"T"}]}',
        b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":N}}',
        b'data: {"id":"d","choices" : [ { "delta" :\ndata: {"content" : "T" } } ] }',
        b'event: error\ndata: {"choices":[{"delta":{"content":"T"}}]}',
    ),
    "responses": (
        *(
            b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
            b'"sequence_number":N,"output_index":%b,"delta":"T","obfuscation":"W"}' % index
            for index in (b"0", b"0", b"1")
        ),
        (
            b'data: {"type":"response.output_text.delta","delta":"T","output_index":0,'
            b'"sequence_number":N}'
        ),
        b'data: {"type":"response.reasoning_summary_text.delta","delta":"T"}',
        b'data: {"type":"response.function_call_arguments.delta","output_index":1,"delta":"T"}',
        b'event: response.output_text.delta\ndata: {"delta":"T"}',
        (
            b'data: {"type":"response.output_item.added","output_index":1,"item":{"type":'
            b'"function_call","call_id":"c","name":"T","arguments":""}}'
        ),
        (
            b'data: {"type":"response.output_item.done","output_index":1,"item":{"type":"message",'
            b'"content":"T"}}'
        ),
        b'data: {"type":"error","message":"T"}',
        (
            b'data: {"type":"response.completed","response":{"id":"r","output":[],"usage":{'
            b'"input_tokens":8,"output_tokens":N}}}'
        ),
    ),
    "messages": (
        *(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%b,'
            b'"delta":{"type":"text_delta","text":"T"}B}' % index
            for index in (b"0", b"0", b"1")
        ),
        b'data: {"type":"content_block_delta","index":1,"delta":{"partial_json":"T"}}',
        b'data: {"type":"content_block_delta","index":1,"delta":{"thinking":"T"}}',
        b'data: {"type":"content_block_delta","index":1,"delta":{"thinking":"T","text":"too"}}',
        b'data: {"type":"content_block_delta","index":1,"delta":{"signature":"T"}}',
        (
            b'data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use",'
            b'"id":"t","name":"T","input":{}}}'
        ),
        (
            b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{'
            b'"output_tokens":N}}'
        ),
    ),
}
_ANYWHERE = (b"event: ping\ndata: {}", b": a comment", b"data: [DONE]", b"data: {", b"data:")
_TEXTS = (
    *(b" governed", b"a", b" words, more", b"", b"any } words", b"x\\ny", b'\\"', b"\\\\"),
    *("日本".encode(), "ü".encode(), b"\xc3", b"\xbc", b"\\u65e5", b"\\ud800", b"\\", b'"'),
    *(b'","content":"', b'"}}]}\n\ndata: {"', b"\n", b"\r", b"\t", b"\x00", b"\x7f", b"usage"),
    *(b',"usage":null', b'"},"finish_reason":null}]}', b"c", b"0", b"null"),
)
_WORDS = (b"Zz9", b"", b"aB3xyz", b"a b", b'"', b"\\n", b"\xc3\xbc", b"}")
_NUMBERS = (b"7", b"70707", b"8", b"0", b"07", b"", b"-1", b"1.5", b"9" * 30)
_BLANKS = (b"", b"  ", b"     ", b"\t", b"\n", b",")


def filled(event: bytes, text: bytes, word: bytes, number: bytes, blank: bytes) -> bytes:
    """An event with its holes filled."""
    for hole, filling in ((b'"T"', b'"%b"' % text), (b'"W"', b'"%b"' % word)):
        event = event.replace(hole, filling)
    event = event.replace(b":N", b":" + number)
    return event.replace(b'"}B}', b'"}%b}' % blank)


def a_run(dialect: DialectName) -> st.SearchStrategy[bytes]:
    """Several events of one kind, mostly as they are in every stream."""
    usual = st.sampled_from(_TEXTS[:3])
    fillings = st.tuples(
        usual | usual | st.sampled_from(_TEXTS),
        st.sampled_from(_WORDS[:3]) | st.sampled_from(_WORDS),
        st.sampled_from(_NUMBERS[:3]) | st.sampled_from(_NUMBERS),
        st.sampled_from(_BLANKS[:3]) | st.sampled_from(_BLANKS),
    )
    return st.builds(
        lambda event, fillings, ends: b"".join(
            filled(event, *one).replace(b"\n", ends) + ends * 2 for one in fillings
        ),
        st.sampled_from((*_EVENTS[dialect], *_ANYWHERE)),
        st.lists(fillings, min_size=1, max_size=6),
        st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"]),
    )


def metering(dialect: DialectName, *, strip: bool, fast: bool, line_bytes: int = 500) -> Meter:
    meter = DIALECTS[dialect].meter(strip_usage=strip, bounds=Bounds(sse_line_bytes=line_bytes))
    if not fast:
        meter._tries = 0  # type: ignore[attr-defined]
    return meter


@law
@pytest.mark.parametrize("dialect", _EVENTS)
@given(st.data())
def test_what_is_not_decoded_comes_to_the_same(dialect: DialectName, data: st.DataObject) -> None:
    """Money, kills and sessions stand on it: each event decoded is the measure, however odd it is,
    and however the stream is cut."""
    stream = b"".join(data.draw(st.lists(a_run(dialect), max_size=5)))
    cuts = data.draw(st.lists(st.integers(0, 2_000), max_size=6))
    strip = data.draw(st.booleans())
    agree(dialect, pieces(stream, cuts), strip=strip)


def agree(
    dialect: DialectName, chunks: Sequence[bytes], *, strip: bool, line_bytes: int = 500
) -> None:
    """What is told and forwarded after each chunk is what it is where each event is decoded."""
    fast = metering(dialect, strip=strip, fast=True, line_bytes=line_bytes)
    slow = metering(dialect, strip=strip, fast=False, line_bytes=line_bytes)
    for chunk in chunks:
        assert fast.feed(chunk) == slow.feed(chunk)
        assert fast.at_border == slow.at_border
        assert seen(fast) == seen(slow)

    assert fast.close() == slow.close()
    assert seen(fast) == seen(slow)


_ONE = _CHAT % (b"0", b'"content":"one"', b"null", b"") + b"\n\n"
_LONG = _CHAT % (b"0", b'"content":"%b"' % (b"long" * 99), b"null", b"") + b"\n\n"
_CALLS = [_CHAT % (b"0", _ARGUED % (b"0", name), b"null", b"") + b"\n\n" for name in (b"a", b"b")]
_PART = (_CHAT % (b"0", _ARGUMENTS % b"0", b"null", b"") + b"\n\n").replace(b"T", b"part")


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    "chunks",
    [
        [_ONE, b'data: {"choices":[],"error":{"message":"m"}}\n\n', _ONE],
        [_ONE, b"data: {", _ONE, _ONE],
        [_ONE, b"data: {", _ONE + _ONE],
        [_ONE, b": ping\n", _ONE + _ONE],
        [_ONE, _ONE[:-1], _ONE[-1:] + _ONE + _ONE[:9], _ONE[9:]],
        [b"\xef\xbb\xbf" + _ONE] * 3,
        [_ONE, _LONG, _LONG + _ONE],
        [_CALLS[0], _PART, _PART, _CALLS[1], _PART, _PART, _CALLS[0] + _PART * 3],
        [_CALLS[0], _PART, _PART, _CALLS[1].replace(b's":""', b's":"x"'), _PART, _PART],
        [_ONE + b'data: {"choices":[{"finish_reason":"stop"}]}\n\n' + _ONE * 2],
    ],
)
def test_a_template_is_of_its_place(chunks: list[bytes], strip: bool) -> None:
    """What was begun before, what is too long, and which call goes on, is not in its bytes."""
    agree("chat", chunks, strip=strip, line_bytes=200)


def _no_reading(event: object) -> bytes:
    raise AssertionError(f"decoded: {event}")


def learns(dialect: DialectName, event: bytes, *, strip: bool = False) -> bool:
    """Whether the next event of the kind is read without decoding it."""
    meter = metering(dialect, strip=strip, fast=True, line_bytes=10_000)
    if dialect != "chat" or b"tool_calls" not in event:
        meter.feed(filled(event, b"\\n words", b"", b"1", b"") + b"\n\n")
    else:
        meter.feed(_CHAT % (b"0", _ARGUED % (b"0", b"a"), b"null", b"") + b"\n\n")
    meter.feed(filled(event, b"\\n words", b"x", b"7", b" ") + b"\n\n")
    meter._read = _no_reading  # type: ignore[attr-defined]
    try:
        meter.feed(filled(event, b'\\"', b"yz", b"8", b"   ") + b"\n\n")
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        *(("chat", _EVENTS["chat"][at]) for at in (0, 4, 5, 6, 15)),
        ("chat", _CHAT % (b"0", _ARGUMENTS % b"0", b"null", b"")),
        ("chat", b'data: {"choices":[{"text":"T"}]}'),
        *(("responses", _EVENTS["responses"][at]) for at in (0, 3, 4, 5, 6)),
        *(("messages", _EVENTS["messages"][at]) for at in (0, 3, 4)),
    ],
)
def test_an_event_as_providers_send_them_is_decoded_once(
    dialect: DialectName, event: bytes, strip: bool
) -> None:
    """Then its like is read by a template, or a chunk costs three times as much."""
    assert learns(dialect, event, strip=strip)


@pytest.mark.parametrize(
    "event",
    [
        _CHAT % (b"0", _CONTENT, b'"stop"', b""),
        _CHAT % (b"0", _CONTENT, b"null", b',"also":"\\n words"'),
        _CHAT % (b"0", _CONTENT, b"null", b',"x":"%b"' % (b"x" * 4_096)),
        _CHAT % (b"0", b'"content":"once","content":"T","x":"\\n words"', b"null", b""),
        _CHAT % (b"0", b'"content":"\\u000a words","x":"T"', b"null", b""),
        b'data: {"usage":null,"choices":[{"delta":{"content":"T"}}]}',
        b'data: {"usage":null,"choices":[{"delta":{"content":"T"}}],"p":{"a":1,"usage":null}}',
        b'data: {"choices":[{"delta":{"content":"T"}},{"index":1,"delta":{}}]}',
        b'data: {"choices":[{"delta":{"content":"T"},"text":""},{"text":""}]}',
        b'data: {"choices":[{"delta":{"content":""},"text":"T"}]}',
    ],
)
def test_what_would_not_be_read_for_certain_is_decoded(event: bytes) -> None:
    """Where the text cannot be told apart, and where the event says more."""
    assert not learns("chat", event, strip=True)


def test_a_kind_of_event_that_never_comes_again_is_not_kept_forever() -> None:
    """Of a stream whose events all differ, only the first few are taken apart."""
    meter = metering("chat", strip=False, fast=True)
    for number in range(9):
        meter.feed(
            _CHAT % (b"0", b'"content":"a%d"' % number, b"null", b',"n":%d' % number) + b"\n\n"
        )

    assert meter._tries == 0  # type: ignore[attr-defined]
    assert meter.answer().text == "a0a1a2a3a4a5a6a7a8"


def test_an_event_that_nests_as_deep_as_can_be_read_is_not_read_again_in_vain() -> None:
    """Where one look more would be too deep, it is not made a template."""
    for depth in range(1, 1_000):
        meter = metering("chat", strip=False, fast=True, line_bytes=10_000)
        nested = b',"n":%b%b' % (b"[" * depth, b"]" * depth)
        meter.feed((_CHAT % (b"0", b'"content":"a"', b"null", nested) + b"\n\n") * 2)

        assert meter.output_tokens_least in (0, 2)
