"""Streams of the Messages dialect."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES
from proxy.core.usage import Extras, ToolCall, Usage
from tests.unit.core.dialects.metering import (
    Json,
    frames,
    json_values,
    law,
    metered,
    pieces,
    seen,
    texts,
)


def started(**usage: object) -> Json:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": usage}
    return {"type": "message_start", "message": message}


def opened(index: int, block: Json) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **what: object) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": what}


def text(index: int, said: str) -> Json:
    return delta(index, type="text_delta", text=said)


def written(index: int, said: str) -> Json:
    return delta(index, type="input_json_delta", partial_json=said)


def finished(stop_reason: str | None = "end_turn", **usage: object) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage}


TEXT: Json = {"type": "text", "text": ""}
CALL: Json = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
STOP: Json = {"type": "message_stop"}
WHOLE: list[Json] = [
    started(
        input_tokens=20,
        cache_creation_input_tokens=300,
        cache_read_input_tokens=1000,
        cache_creation={"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
        output_tokens=1,
    ),
    {"type": "ping"},
    opened(0, {"type": "thinking", "thinking": "", "signature": ""}),
    delta(0, type="thinking_delta", thinking="Let me see"),
    delta(0, type="signature_delta", signature="EqQB" * 400),
    {"type": "content_block_stop", "index": 0},
    opened(1, TEXT),
    text(1, "Hé "),
    text(1, "llo"),
    {"type": "content_block_stop", "index": 1},
    opened(2, CALL),
    written(2, ""),
    written(2, '{"q":'),
    written(2, '"a"}'),
    {"type": "content_block_stop", "index": 2},
    finished("tool_use", output_tokens=40),
    STOP,
]


def test_a_whole_stream_is_metered() -> None:
    """Usage, answer and end of the most common sequence, thinking and a call in it."""
    meter = metered(MESSAGES, [frames(WHOLE)])

    assert meter.committed
    assert meter.ended
    assert meter.finish_seen
    assert meter.failed is None
    assert meter.malformed == 0
    assert meter.usage == Usage(
        20,
        cache_read_tokens=1000,
        cache_write_tokens=200,
        cache_write_1h_tokens=100,
        output_tokens=40,
    )
    assert meter.output_tokens_counted == 40
    answer = meter.answer()
    assert answer.text == "Hé llo"
    assert answer.tool_calls == (ToolCall("toolu_1", "look", '{"q":"a"}'),)
    assert answer.response_id == "msg_1"
    assert answer.finish_reason == "tool_use"


def test_the_echo_of_a_streamed_answer_has_its_digest() -> None:
    """Inference rests on it: the next request is found by the answer it repeats."""
    answer = metered(MESSAGES, [frames(WHOLE)]).answer()
    echo = [
        {"type": "thinking", "thinking": "Let me see", "signature": "EqQB"},
        {"type": "text", "text": "Hé llo", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "a"}},
    ]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": echo}]}

    request = MESSAGES.parse(json.dumps(body).encode(), Bounds())

    assert [message.content_digest for message in request.messages] == [
        message_digest("assistant", answer.text, answer.tool_calls)
    ]


def test_later_figures_win_and_nought_is_a_figure() -> None:
    """`message_delta` is cumulative; what it leaves out stands as `message_start` said it."""
    events = [
        started(input_tokens=20, cache_read_input_tokens=7, output_tokens=5),
        finished(cache_read_input_tokens=0, output_tokens=9),
    ]

    usage = metered(MESSAGES, [frames(events)]).usage

    assert usage == Usage(20, cache_read_tokens=0, output_tokens=9)


def test_every_iteration_is_billed() -> None:
    """With compaction the figures beside the list leave the costliest iteration out."""
    iterations = [
        {
            "type": "compaction",
            "input_tokens": 180_000,
            "output_tokens": 3_500,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_1h_input_tokens": 4},
        },
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
    ]
    events = [
        started(input_tokens=23_000, output_tokens=1),
        finished(output_tokens=1_000, iterations=iterations),
    ]

    usage = metered(MESSAGES, [frames(events)]).usage

    each = (
        Usage(180_000, 0, 6, 4, output_tokens=3_500),
        Usage(23_000, output_tokens=1_000),
    )
    assert usage == Usage(
        203_000,
        cache_write_tokens=6,
        cache_write_1h_tokens=4,
        output_tokens=4_500,
        extras=Extras(iterations=each),
    )


def test_how_a_stream_is_served_is_told_at_its_start() -> None:
    """What it used of the provider's tools only at its end."""
    events = [
        started(input_tokens=5, output_tokens=1, service_tier="batch", inference_geo="us"),
        finished(output_tokens=9, server_tool_use={"web_search_requests": 2}),
    ]

    usage = metered(MESSAGES, [frames(events)]).usage

    extras = Extras(web_searches=2, terms=("batch", "geo:us"))
    assert usage == Usage(5, output_tokens=9, extras=extras)


@pytest.mark.parametrize(
    ("event", "commits"),
    [
        (started(input_tokens=1, output_tokens=1), False),
        ({"type": "ping"}, False),
        (opened(0, TEXT), False),
        (opened(0, {"type": "thinking", "thinking": ""}), False),
        (opened(0, {"type": "text", "text": "a"}), True),
        (opened(0, {"type": "redacted_thinking", "data": "x"}), True),
        (opened(0, CALL), True),
        (text(0, "a"), True),
        (delta(0, type="thinking_delta", thinking="a"), True),
        (written(0, "{"), True),
        ({"type": "content_block_delta", "index": 0, "delta": None}, False),
    ],
)
def test_the_first_content_commits(event: Json, commits: bool) -> None:
    """Seen too early it takes an invisible fallback away, seen too late it answers twice."""
    assert metered(MESSAGES, [frames([event])]).committed is commits


def test_an_answer_cut_in_the_middle_is_what_has_come() -> None:
    """A stream that is cut is booked and remembered by what passed."""
    meter = metered(MESSAGES, [frames(WHOLE[:13])])

    assert not meter.ended
    assert not meter.finish_seen
    assert meter.answer().tool_calls == (ToolCall("toolu_1", "look", '{"q":'),)
    assert meter.output_tokens_counted == 11  # a call's frame, and 26 bytes; signatures are none


def test_a_call_without_arguments_has_an_empty_object() -> None:
    """The stream says "" and the client echoes {}."""
    meter = metered(MESSAGES, [frames([opened(0, CALL), written(0, "")])])

    assert meter.answer().tool_calls == (ToolCall("toolu_1", "look", "{}"),)


def test_a_call_may_come_whole_in_its_first_event() -> None:
    """Imitators of the API do not stream arguments."""
    meter = metered(MESSAGES, [frames([opened(0, CALL | {"input": {"q": 1}})])])

    assert meter.answer().tool_calls == (ToolCall("toolu_1", "look", '{"q": 1}'),)


def test_text_in_the_first_event_of_a_block_is_kept() -> None:
    """Imitators again."""
    meter = metered(MESSAGES, [frames([opened(0, TEXT | {"text": "a"}), text(0, "b")])])

    assert meter.answer().text == "ab"


def test_what_the_provider_runs_by_itself_is_no_call_of_the_client() -> None:
    """A web search is answered in the same message; its echo does not count either."""
    search = CALL | {"type": "server_tool_use", "name": "web_search"}

    meter = metered(MESSAGES, [frames([opened(0, search), written(0, '{"query":"a"}')])])

    assert meter.answer().tool_calls == ()
    assert meter.answer().text == ""


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "Busy"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "overloaded_error"),
        ({"type": "error", "error": "Bare"}, "Bare"),
        ({"type": "error"}, "the provider reported an error"),
    ],
)
def test_a_failure_inside_the_stream_is_told_and_ends_it(event: Json, told: str) -> None:
    """Breakers count it, and no second error frame may follow the provider's own."""
    meter = metered(MESSAGES, [frames([*WHOLE[:3], event])])

    assert meter.ended
    assert not meter.finish_seen
    assert meter.failed == told


def test_an_error_without_a_type_fails() -> None:
    """Gateways before a provider answer in chat's manner."""
    assert metered(MESSAGES, [b'data: {"error":{"message":"No."}}\n\n']).failed == "No."


def test_done_is_no_end_of_this_dialect() -> None:
    """Some imitators send it; without `message_stop` the SDKs do not see an end."""
    meter = metered(MESSAGES, [frames(WHOLE[:-2]) + b"data: [DONE]\n\n"])

    assert not meter.ended
    assert meter.malformed == 0


def test_broken_lines_are_counted_and_passed_over() -> None:
    """One bad line must not end an agent's run."""
    broken = b'data: {oops\n\ndata: {"type":3}\n\nevent: message_start\ndata: {"message":3}\n\n'

    meter = metered(MESSAGES, [frames(WHOLE[:8]) + broken + frames(WHOLE[8:])])

    assert meter.malformed == 3
    assert meter.answer() == metered(MESSAGES, [frames(WHOLE)]).answer()


@pytest.mark.parametrize(
    "odd",
    [
        opened(3, {"type": 3}),
        delta(3, type="text_delta", text={"may": "be anything"}),
        {"type": "content_block_delta", "index": "3", "delta": {"type": "citations_delta"}},
        {"type": "new_kind"},
        finished(None),
        {"type": "message_delta", "usage": [3]},
    ],
)
def test_odd_values_do_not_stop_the_meter(odd: Json) -> None:
    """A provider's novelty is no reason to cut its stream."""
    meter = metered(MESSAGES, [frames([*WHOLE[:9], odd, *WHOLE[9:]])])

    assert meter.malformed == 0
    assert meter.answer() == metered(MESSAGES, [frames(WHOLE)]).answer()
    assert meter.usage == metered(MESSAGES, [frames(WHOLE)]).usage


def test_events_beyond_the_line_bound_are_passed_over() -> None:
    """They are forwarded unread; nothing is held back for them."""
    big = text(0, "a" * 2000)

    meter = metered(MESSAGES, [frames([big, STOP])], Bounds(sse_line_bytes=1000))

    assert meter.ended
    assert meter.answer().text == ""


def test_an_end_without_its_blank_line_is_read() -> None:
    """Some servers close right after the last line."""
    assert metered(MESSAGES, [frames([STOP])[:-1]]).ended


odd_members = st.fixed_dictionaries(
    {"type": st.sampled_from(["error", "message_start", "message_delta", "content_block_start"])},
    optional=dict.fromkeys(("message", "error", "usage", "delta", "content_block"), json_values),
)
events = st.lists(
    st.sampled_from(WHOLE) | st.builds(text, st.integers(0, 3), texts) | odd_members, max_size=10
)


@law
@given(events, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_any_chunking_meters_the_same(sent: list[Json], cuts: list[int], end: bytes) -> None:
    """TCP cuts where it likes."""
    stream = frames(sent, end=end)

    assert seen(metered(MESSAGES, pieces(stream, cuts))) == seen(metered(MESSAGES, [stream]))


@law
@given(events, st.integers(0, 10_000), st.lists(st.integers(0, 10_000), max_size=6))
def test_a_stream_cut_at_any_byte_meters_as_far_as_it_came(
    sent: list[Json], cut: int, cuts: list[int]
) -> None:
    """What is booked for a broken stream must not depend on how its bytes arrived."""
    stream = frames(sent)
    head = stream[: cut % (len(stream) + 1)]

    broken = metered(MESSAGES, pieces(head, cuts))

    assert seen(broken) == seen(metered(MESSAGES, [head]))
    assert metered(MESSAGES, [stream]).committed or not broken.committed


@law
@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_break_the_meter(chunks: list[bytes]) -> None:
    """A hostile provider gets its bytes passed on and nothing else."""
    metered(MESSAGES, chunks)
