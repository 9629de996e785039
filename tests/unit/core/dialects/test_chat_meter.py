"""Streams and answers of the chat family: what passes, what is metered, what is taken out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.dialects import chat_meter
from proxy.core.dialects.base import Bounds, Meter
from proxy.core.dialects.chat_meter import meter_of, read_answer, read_embeddings
from proxy.core.usage import Answer, Extras, ToolCall, Usage
from tests.unit.core.dialects.metering import Json, json_values, law, pieces, seen, texts

USAGE: Json = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
BOOKED = Usage(9, output_tokens=4)
DONE = b"data: [DONE]\n\n"


def chunk(delta: Json | None, finish: str | None = None, index: int = 0, **rest: object) -> Json:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **rest}


def call(index: int | None, call_id: str | None, name: str | None, arguments: str | None) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": call_id, "function": function}]}


def stream(*chunks: Json, end: bytes = DONE) -> bytes:
    frames = [b"data: " + json.dumps(one, separators=(",", ":")).encode() for one in chunks]
    return b"".join(frame + b"\n\n" for frame in frames) + end


def metered(raw: bytes, cuts: list[int] | None = None, *, strip: bool = False) -> Meter:
    return run(raw, cuts or [], strip=strip)[0]


def run(raw: bytes, cuts: list[int], *, strip: bool) -> tuple[Meter, bytes]:
    meter = meter_of(strip_usage=strip, bounds=Bounds(sse_line_bytes=4096))
    passed = [meter.feed(piece) for piece in pieces(raw, cuts)]
    return meter, b"".join([*passed, meter.close()])


def test_a_stream_is_metered_whole() -> None:
    """Text, reasoning, calls in parts, finish, usage and end, in one pass."""
    meter = metered(
        stream(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Hé"}),
            chunk({"content": " llo"}),
            chunk(call(0, "c1", "look", "")),
            chunk(call(0, None, None, '{"q":')),
            chunk(call(1, "c2", "sh", "ls")),
            chunk(call(0, None, None, '"a"}')),
            chunk({}, "tool_calls"),
            {"id": "chatcmpl-1", "choices": [], "usage": USAGE},
        )
    )

    assert meter.answer() == Answer(
        "Hé llo",
        (ToolCall("c1", "look", '{"q":"a"}'), ToolCall("c2", "sh", "ls")),
        "chatcmpl-1",
        "tool_calls",
    )
    assert (meter.committed, meter.ended, meter.finish_seen) == (True, True, True)
    assert (meter.usage, meter.failed, meter.malformed) == (BOOKED, None, 0)


def test_a_role_alone_commits_to_nothing() -> None:
    """Until content comes, another provider can still take over unseen."""
    meter = metered(stream(chunk({"role": "assistant", "content": ""}), end=b""))

    assert not meter.committed
    assert not meter.finish_seen
    assert meter.answer() == Answer(response_id="chatcmpl-1")


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"reasoning": "a"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"refusal": "a"},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]},
        {"tool_calls": [{"index": 0, "id": "c"}]},
        {"function_call": {"name": "f"}},
        {"audio": {"data": "AAAA"}},
    ],
)
def test_any_content_commits(delta: Json) -> None:
    """What a client shows or acts on cannot be taken back."""
    assert metered(stream(chunk(delta), end=b"")).committed


def test_each_provider_s_way_to_number_calls_is_followed() -> None:
    """Gemini numbers parallel calls 0; others give no index; the legacy call has neither."""
    same_index = metered(stream(chunk(call(0, "c1", "f", "{}")), chunk(call(0, "c2", "g", "{}"))))
    no_index = metered(
        stream(
            chunk(call(None, None, None, "{")),
            chunk(call(None, "c1", "f", '{"a"')),
            chunk(call(None, None, None, ":1}")),
        )
    )
    legacy = metered(
        stream(
            chunk({"function_call": {"name": "f", "arguments": '{"a"'}}),
            chunk({"function_call": {"arguments": ":1}"}}),
        )
    )

    assert same_index.answer().tool_calls == (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
    assert no_index.answer().tool_calls == (ToolCall("", "", "{"), ToolCall("c1", "f", '{"a":1}'))
    assert legacy.answer().tool_calls == (ToolCall("", "f", '{"a":1}'),)


def test_of_several_choices_the_answer_is_the_first_and_all_must_finish() -> None:
    """`n: 2`: the stream is not finished with one of them."""
    chunks = [chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({}, "stop", index=1)]

    assert not metered(stream(*chunks)).finish_seen
    assert metered(stream(*chunks, chunk({}, "length"), chunk({}, "stop"))).finish_seen
    assert metered(stream(*chunks)).answer().text == "a"


def test_usage_in_every_chunk_counts_once() -> None:
    """Perplexity repeats it: the last one is the bill. An unreadable one takes nothing back."""
    first = chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1, "total_tokens": 10})
    meter = metered(stream(first, chunk({}, "stop", usage=USAGE), chunk({}, usage={"x": 1})))

    assert meter.usage == BOOKED


def test_groq_s_usage_is_read_where_it_stands() -> None:
    """In `x_groq` of the last chunk, with choices."""
    meter = metered(stream(chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})))

    assert meter.usage == BOOKED


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (b'data: {"error":{"message":"Over capacity","code":503}}', "Over capacity"),
        (b'event: error\ndata: {"message":"Broken"}', "Broken"),
        (b"event: error\ndata: gone", "gone"),
        (b'data: {"error":"plain"}', '"plain"'),
        (b'data: {"error":{"code":400}}', '{"code":400}'),
        (b'data: {"choices":[],"x_groq":{"error":{"message":"Tool failed"}}}', "Tool failed"),
        (b'data: {"choices":5,"error":{"message":"Odd"}}', "Odd"),
        (b'data: {"error":null}', None),
    ],
)
def test_an_error_inside_a_stream_is_a_failure(event: bytes, message: str | None) -> None:
    """A 200 that ends in an error must not pass for an answer; the first one says why."""
    raw = event + b'\n\ndata: {"error":null}\n\n'
    later = b'event: error\ndata: {"error":{"message":"Later"}}\n\n'

    assert metered(raw).failed == message
    assert message is None or metered(raw + later).failed == message


def test_bad_lines_are_counted_and_survived() -> None:
    """One bad line must not end a stream, nor take its usage along."""
    meter = metered(
        b": hello\n\ndata: {broken\n\ndata: []\n\ndata: "
        + b"x" * 5000
        + b"\n\n"
        + b'data: {"choices":[{"delta":{"content":[5]}}],"usage":{"prompt_tokens":9,'
        b'"completion_tokens":4}}\n\n' + stream(chunk({"content": "a"}))
    )

    assert meter.malformed == 4
    assert meter.usage == BOOKED
    assert (meter.answer().text, meter.ended) == ("a", True)


def test_a_cut_line_is_not_a_malformed_one() -> None:
    """The provider is blamed for what it sent, not for where the connection broke."""
    meter = metered(b'data: {"choices":[{"del')

    assert (meter.malformed, meter.ended) == (0, False)


def test_an_end_without_its_blank_line_is_an_end() -> None:
    """Some servers close right after it."""
    assert metered(stream(chunk({"content": "a"}, "stop"), end=b"data: [DONE]")).ended


@pytest.mark.parametrize(
    ("delta", "tokens"),
    [
        ({"content": "abcdefghi"}, 3),
        ({"content": "日本"}, 3),
        ({"content": "aé"}, 2),
        (call(0, "c1", "look", "{}"), 6),
        ({"function_call": {"name": "look", "arguments": "{}"}}, 6),
        ({"tool_calls": [{"index": 0, "id": "c", "custom": {"name": "look", "input": "ls"}}]}, 6),
        (call(0, "c1", None, ""), 0),
        ({"content": [{"type": "text", "text": "abcd"}, {"type": "reference"}]}, 1),
        ({"audio": {"data": "A" * 2048}}, 3),
    ],
)
def test_output_is_estimated_from_what_passed(delta: Json, tokens: int) -> None:
    """A stream cut short has no other figure."""
    assert metered(stream(chunk(delta), end=b"")).output_tokens_counted == tokens


def test_each_call_s_name_is_counted_once() -> None:
    """Some say it again with each part of the arguments; parallel calls each have theirs."""
    named = [chunk(call(0, "c1", "look", part)) for part in ("", '{"a', '":1}')]
    other = chunk(call(1, "c2", "sh_a", ""))
    meter = metered(stream(*named, other, end=b""))

    assert meter.output_tokens_least == 4
    assert meter.output_tokens_counted == 12  # two frames of 4, two names of 1, 7 bytes


def test_the_provider_s_own_figure_is_the_least() -> None:
    """It knows of what is hidden."""
    meter = metered(stream(chunk({"content": "a"}), chunk({}, usage={**USAGE, "total_tokens": 99})))

    assert meter.output_tokens_counted == 90


def test_what_has_passed_is_not_less_than_its_pieces() -> None:
    """Perplexity's figures grow from chunk to chunk, and may be behind."""
    behind = {"prompt_tokens": 9, "completion_tokens": 1}
    meter = metered(stream(chunk({"content": "a"}), chunk({"content": "b"}, usage=behind)))

    assert (meter.output_tokens_least, meter.output_tokens_counted) == (2, 2)


def test_only_what_we_asked_for_is_taken_out() -> None:
    """The stream a client gets is the one it would have got without us."""
    asked = stream(
        chunk({"content": '"usage":null'}, usage=None),
        chunk({"content": "b"}, usage=None, obfuscation="x"),
        {"usage": None, **chunk({}, "stop")},
        {"choices": [], "prompt_filter_results": []},
        {"choices": [], "usage": USAGE, "obfuscation": "x"},
    )
    plain = stream(
        chunk({"content": '"usage":null'}),
        chunk({"content": "b"}, obfuscation="x"),
        chunk({}, "stop"),
        {"choices": [], "prompt_filter_results": []},
    )

    meter, passed = run(asked, [], strip=True)

    assert passed == plain
    assert meter.usage == BOOKED


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"error":{"message":"x"}}\n\n',
        b'data: {"choices":[],\ndata: "usage" : null}\n\n',
        b": comment\r\n\r\n",
        b"data: {broken\n\n",
        b"data: " + b"x" * 5000 + b"\n\n",
        b"data: {cut",
        DONE,
    ],
)
def test_everything_else_passes_as_it_is(event: bytes) -> None:
    """Usage beside choices is the provider's own way; what is odd is not ours to change."""
    assert run(event, [9], strip=True)[1] == event


def test_a_null_that_stands_elsewhere_is_cut_out_by_the_slow_path() -> None:
    """Spaces, or the word in another place, are no reason to pass it."""
    spaced = b'data: {"choices":[{"delta":{"content":"a"}}], "usage": null}\n\n'
    nested = b'data: {"choices":[{"delta":{},"usage":null}],"usage":null}\n\n'
    before = b'data: {"id":"a","usage":null,"choices":[{"delta":{},"usage":null}]}\n\n'

    assert run(spaced, [], strip=True)[1] == b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    assert run(nested, [], strip=True)[1] == b'data: {"choices":[{"delta":{},"usage":null}]}\n\n'
    assert run(before, [], strip=True)[1] == before.replace(b',"usage":null', b"", 1)


deltas = (
    st.builds(lambda text: {"content": text}, texts)
    | st.builds(lambda text: {"reasoning": text}, texts)
    | st.builds(call, st.integers(0, 1), st.sampled_from([None, "c1"]), texts, texts)
    | json_values
)
usage_chunks = st.just({"choices": [], "usage": USAGE})


def streams(choices: int) -> st.SearchStrategy[bytes]:
    chunks = st.builds(
        chunk,
        deltas,
        st.sampled_from([None, None, "stop"]),
        st.integers(0, choices - 1),
        usage=st.sampled_from([None, USAGE]),
    )
    return st.builds(
        lambda parts, end: stream(*parts, end=end),
        st.lists(chunks | usage_chunks, max_size=5),
        st.sampled_from([DONE, b"", b": bye\r\n\r\n", b"data: {cut"]),
    )


cut_places = st.lists(st.integers(0, 2000), max_size=8)


@law
@given(streams(choices=2), cut_places)
def test_any_chunking_meters_and_passes_the_same(raw: bytes, cuts: list[int]) -> None:
    """Chunk borders are the network's whim."""
    for strip in (False, True):
        one, passed = run(raw, [], strip=strip)
        other, passed_in_pieces = run(raw, cuts, strip=strip)

        assert seen(other) == seen(one)
        assert passed_in_pieces == passed


@law
@given(streams(choices=1), st.integers(0, 2000))
def test_a_cut_stream_has_metered_what_came(raw: bytes, at: int) -> None:
    """Fed and closed at any byte, and with or without stripping, the figures are one and the same,
    and never more than those of the whole."""
    cut = raw[: at % (len(raw) + 1)]
    part = metered(cut)
    whole = metered(raw)

    assert seen(metered(cut, strip=True)) == seen(part)
    assert part.answer().text == whole.answer().text[: len(part.answer().text)]
    assert part.malformed <= whole.malformed
    assert not part.committed or whole.committed


@law
@given(streams(choices=2), cut_places)
def test_without_stripping_chunks_pass_as_the_objects_they_are(raw: bytes, cuts: list[int]) -> None:
    """Nothing is copied on the way."""
    meter = meter_of(strip_usage=False, bounds=Bounds())

    for piece in pieces(raw, cuts):
        assert meter.feed(piece) is piece
    assert meter.close() == b""


def message(**said: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "choices": [choice], "usage": USAGE}).encode()


def test_an_unstreamed_answer_is_metered_the_same() -> None:
    """One code for both, or the two would drift apart."""
    function = {"name": "look", "arguments": '{"q": 1}'}
    body = message(
        content="Hi", tool_calls=[{"id": "c1", "type": "function", "function": function}]
    )

    found = read_answer(body)

    assert (found.usage, found.malformed) == (BOOKED, None)
    assert found.answer == Answer(
        *("Hi", (ToolCall("c1", "look", '{"q": 1}'),), "chatcmpl-1", "stop")
    )
    echo = message_digest("assistant", "Hi", [ToolCall("c1", "look", '{"q":1}')])
    assert message_digest("assistant", found.answer.text, found.answer.tool_calls) == echo


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"  ", "it is empty"),
        (b"<html>", "it cannot be read: JSON is malformed: invalid character (byte 0)"),
        (b"[]", "it cannot be read: Expected `object`, got `array`"),
        (b"{}", "it has no choices"),
        (b'{"choices":[]}', "it has no choices"),
        (b'{"error":{"message":"Overloaded"}}', "Overloaded"),
        (b"[" * 5000, "it cannot be read: Expected `object`, got `array`"),
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes, reason: str) -> None:
    """SDKs take an empty 200 for an empty answer: it has to become a 502."""
    found = read_answer(body)

    assert (found.malformed, found.usage) == (reason, None)


def test_embeddings_are_metered_by_their_input() -> None:
    """Nothing is generated; a `data` that is missing is no answer."""
    usage = b'"usage":{"prompt_tokens":5,"total_tokens":5}'

    assert read_embeddings(b'{"data":[{"embedding":[0.1]}],' + usage + b"}").usage == Usage(5)
    assert read_embeddings(b'{"data":[]}').malformed is None
    assert read_embeddings(b"{" + usage + b"}").malformed == "it has no data"
    assert read_embeddings(b'{"error":{"message":"No"}}').malformed == "No"
    assert read_embeddings(b"").malformed == "it is empty"


def test_the_service_tier_of_the_answer_is_metered_streamed_and_not() -> None:
    """OpenAI says it in every chunk, also in the one that has the usage."""
    served: Json = {"service_tier": "flex", "usage": USAGE}
    whole: Json = {"choices": [{"message": {"content": "a"}}], **served}

    usage = metered(stream({"choices": [], **served})).usage

    assert usage == Usage(9, output_tokens=4, extras=Extras(terms=("flex",)))
    assert read_answer(json.dumps(whole).encode()).usage == usage


_NOTHING = st.sampled_from([None, None, "", "said"])
_FUNCTION = {"name": "f", "arguments": "{}"}
_MESSAGES = st.fixed_dictionaries(
    {
        "content": st.sampled_from([None, "", "said", [{"type": "text", "text": "part"}], [1]]),
        "refusal": _NOTHING,
        "reasoning": _NOTHING,
        "tool_calls": st.sampled_from([None, None, [], [{"id": "c", "function": _FUNCTION}]]),
        "function_call": st.sampled_from([None, None, _FUNCTION]),
        "audio": st.sampled_from([None, {"data": "AAAA"}]),
    }
)
_CHOICES = st.fixed_dictionaries(
    {
        "index": st.integers(0, 2),
        "text": _NOTHING,
        "finish_reason": st.sampled_from([None, "stop"]),
        "message": _MESSAGES | _MESSAGES | st.none(),
    }
)


@law
@given(st.lists(_CHOICES, max_size=1) | st.lists(_CHOICES, max_size=2))
def test_a_whole_answer_that_is_a_text_is_read_like_any(choices: list[Json]) -> None:
    """Most are, and are not put together piece by piece."""
    body = json.dumps({"id": "c", "choices": choices}).encode()

    found = read_answer(body)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chat_meter, "plain_text", lambda choice: None)
        assert read_answer(body) == found
