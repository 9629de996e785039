"""Streams of the Responses dialect."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES
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

USAGE: Json = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"q":"a"}',
}
MESSAGE: Json = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hé llo"}],
}


def created() -> Json:
    return {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}


def added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(index: int, text: str, kind: str = "output_text") -> Json:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text}


def ended(status: str = "completed", **more: object) -> Json:
    response = {"id": "resp_1", "status": status, "usage": USAGE, "output": [], **more}
    return {"type": f"response.{status}", "response": response}


WHOLE: list[Json] = [
    created(),
    {"type": "response.in_progress", "response": {"id": "resp_1", "usage": None}},
    added(0, {"type": "reasoning", "summary": []}),
    delta(0, "Let me see", "reasoning_summary_text"),
    done(0, {"type": "reasoning", "summary": []}),
    added(1, {"type": "message", "role": "assistant", "content": []}),
    delta(1, "Hé "),
    delta(1, "llo"),
    done(1, MESSAGE),
    added(2, CALL | {"arguments": ""}),
    delta(2, '{"q":', "function_call_arguments"),
    delta(2, '"a"}', "function_call_arguments"),
    done(2, CALL),
    ended(output=[MESSAGE, CALL]),
]


def test_a_whole_stream_is_metered() -> None:
    """Usage, answer and end of the most common sequence, reasoning and a call in it."""
    meter = metered(RESPONSES, [frames(WHOLE)])

    assert meter.committed
    assert meter.ended
    assert meter.finish_seen
    assert meter.failed is None
    assert meter.malformed == 0
    assert meter.usage == Usage(36, cache_read_tokens=64, output_tokens=30, reasoning_tokens=12)
    assert meter.output_tokens_counted == 30
    answer = meter.answer()
    assert answer.text == "Hé llo"
    assert answer.tool_calls == (ToolCall("call_1", "look", '{"q":"a"}'),)
    assert answer.response_id == "resp_1"
    assert answer.finish_reason == "completed"


def test_the_echo_of_a_streamed_answer_has_its_digest() -> None:
    """Inference rests on it: the next request is found by the answer it repeats."""
    answer = metered(RESPONSES, [frames(WHOLE)]).answer()
    echo = {"model": "m", "input": [{"type": "reasoning", "summary": []}, MESSAGE, CALL]}

    request = RESPONSES.parse(json.dumps(echo).encode(), Bounds())

    assert [message.content_digest for message in request.messages] == [
        message_digest("assistant", answer.text, answer.tool_calls)
    ]


def test_servers_that_do_not_name_events_and_say_done_are_metered_the_same() -> None:
    """OpenRouter sends bare data lines, a comment first and [DONE] last."""
    bare = b": PROCESSING\n\n" + frames(WHOLE, named=False) + b"data: [DONE]\n\n"

    assert seen(metered(RESPONSES, [bare])) == seen(metered(RESPONSES, [frames(WHOLE)]))


def test_a_type_that_only_the_event_line_says_is_read() -> None:
    """The format allows it, and a proxy before us may have dropped the member."""
    meter = metered(RESPONSES, [b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n'])

    assert meter.answer().text == "a"


@pytest.mark.parametrize(
    ("event", "commits"),
    [
        (created(), False),
        (added(0, {"type": "message"}), False),
        (added(0, {"type": "reasoning"}), False),
        ({"type": "response.content_part.added", "part": {}}, False),
        ({"type": "keepalive", "sequence_number": 3}, False),
        (delta(0, ""), False),
        (delta(0, "a"), True),
        (delta(0, "a", "reasoning_text"), True),
        (added(0, CALL), True),
        (added(0, {"type": "web_search_call"}), True),
        (done(0, MESSAGE), True),
        ({"type": "response.image_generation_call.partial_image"}, True),
    ],
)
def test_the_first_content_commits(event: Json, commits: bool) -> None:
    """Seen too early it takes an invisible fallback away, seen too late it answers twice."""
    assert metered(RESPONSES, [frames([event])]).committed is commits


def test_an_answer_cut_in_the_middle_is_what_has_come() -> None:
    """A stream that is cut is booked and remembered by what passed."""
    custom: Json = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": ""}
    stream = frames(
        [
            *WHOLE[:8],
            added(2, CALL | {"arguments": ""}),
            delta(2, '{"q":', "function_call_arguments"),
            added(3, custom),
            delta(3, "*** Begin", "custom_tool_call_input"),
            added(4, {"type": "local_shell_call", "call_id": "s", "action": {"command": ["ls"]}}),
        ]
    )

    meter = metered(RESPONSES, [stream])

    assert not meter.ended
    assert meter.usage is None
    assert meter.answer().text == "Hé llo"
    assert meter.answer().tool_calls == (
        ToolCall("call_1", "look", '{"q":'),
        ToolCall("c", "patch", "*** Begin"),
        ToolCall("s", "local_shell", '{"command": ["ls"]}'),
    )
    assert meter.output_tokens_counted == 26  # 49 bytes, one letter of 2, worth 4, and 3 frames


@pytest.mark.parametrize(
    "events",
    [
        [added(0, CALL | {"arguments": ""}), delta(0, '{"q":"a"}', "function_call_arguments")],
        [added(0, CALL | {"arguments": ""}), done(0, CALL)],
        [added(0, CALL | {"arguments": "", "name": None}), done(0, CALL)],
        [done(0, CALL)],
        [
            added(0, CALL | {"arguments": ""}),
            delta(0, '{"q":"a"}', "function_call_arguments"),
            done(0, CALL),
        ],
    ],
    ids=["without its end", "without deltas", "named late", "only its end", "whole"],
)
def test_a_call_is_counted_with_its_name_and_once(events: list[Json]) -> None:
    """It is named where it begins, and again where it ends."""
    meter = metered(RESPONSES, [frames(events)])

    assert (meter.output_tokens_least, meter.output_tokens_counted) == (2, 8)


def test_a_call_is_counted_where_it_is_named() -> None:
    """A stream that is cut there has been billed for it."""
    meter = metered(RESPONSES, [frames([added(0, CALL | {"arguments": ""})])])

    assert (meter.output_tokens_least, meter.output_tokens_counted) == (1, 5)


def test_calls_that_a_server_numbers_alike_are_each_counted() -> None:
    """As each begins anew, it is another one."""
    calls = [added(0, CALL | {"arguments": ""}), done(0, CALL)]

    assert metered(RESPONSES, [frames(calls * 3)]).output_tokens_counted == 22


def test_items_that_come_whole_are_counted_too() -> None:
    """A server that sends no deltas must not stream for nothing."""
    long = MESSAGE | {"content": [{"type": "output_text", "text": "a" * 400}]}

    assert metered(RESPONSES, [frames([done(0, long)])]).output_tokens_counted == 100


def test_the_count_is_never_less_than_what_the_provider_says() -> None:
    """Hidden reasoning is billed and not seen."""
    meter = metered(RESPONSES, [frames([delta(0, "a"), ended()])])

    assert meter.output_tokens_counted == 30


def test_an_incomplete_response_ends_with_its_reason() -> None:
    """A lowered bound ends this way, and it is a clean end."""
    event = ended("incomplete", incomplete_details={"reason": "max_output_tokens"})

    meter = metered(RESPONSES, [frames([event])])

    assert meter.ended
    assert meter.failed is None
    assert meter.answer().finish_reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (ended("failed", error={"code": "server_error", "message": "It broke."}), "It broke."),
        (ended("failed", error={"code": "server_error"}), "server_error"),
        (ended("failed"), "the provider reported an error"),
        ({"type": "error", "code": "x", "message": "Too many."}, "Too many."),
        ({"type": "error", "error": {"message": "Nested."}}, "Nested."),
        ({"type": "error", "error": "Bare."}, "Bare."),
        ({"type": "error"}, "the provider reported an error"),
    ],
)
def test_a_failure_inside_the_stream_is_told_and_ends_it(event: Json, told: str) -> None:
    """Breakers count it, and no second error frame may follow the provider's own."""
    meter = metered(RESPONSES, [frames([created(), event])])

    assert meter.ended
    assert meter.failed == told


def test_an_error_without_a_type_fails() -> None:
    """Gateways before a provider answer in chat's manner."""
    meter = metered(RESPONSES, [b'data: {"error":{"message":"No."}}\n\n'])

    assert meter.failed == "No."


def test_the_usage_of_a_failed_response_is_kept() -> None:
    """It may be billed."""
    usage = metered(RESPONSES, [frames([ended("failed")])]).usage

    assert usage is not None
    assert usage.output_tokens == 30


def test_broken_lines_are_counted_and_passed_over() -> None:
    """One bad line must not end an agent's run."""
    broken = b"data: {oops\n\n" + b'data: {"type":3}\n\n' + b'data: "text"\n\n'

    meter = metered(RESPONSES, [frames(WHOLE[:8]) + broken + frames(WHOLE[8:])])

    assert meter.malformed == 3
    assert meter.answer() == metered(RESPONSES, [frames(WHOLE)]).answer()


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "response.completed", "response": 3},
        {"type": "response.completed", "response": {"id": 3, "output": 4, "error": 5, "usage": 6}},
        {"type": "response.output_item.done", "output_index": "1", "item": 3},
        {"type": "response.output_item.added", "item": {"type": "function_call", "name": 3}},
        {"type": "response.new_kind.delta", "delta": {"may": "be anything"}},
        {"type": "response.new_kind", "sequence_number": 3},
        done(0, {"type": "message", "content": [3]}),
    ],
)
def test_odd_values_do_not_stop_the_meter(odd: Json) -> None:
    """A provider's novelty is no reason to cut its stream."""
    meter = metered(RESPONSES, [frames([odd, delta(7, "still here"), ended()])])

    assert meter.answer().text in ("still here", "")
    assert meter.usage is not None
    assert meter.malformed <= 1


def test_a_final_event_beyond_the_line_bound_is_still_an_end() -> None:
    """A generated image comes inside it; a truncated stream would be retried and billed again."""
    big = ended(output=[{"type": "image_generation_call", "result": "A" * 2000}])

    meter = metered(RESPONSES, [frames([big])], Bounds(sse_line_bytes=1000))

    assert meter.ended
    assert meter.usage is None


def test_other_events_beyond_the_line_bound_are_passed_over() -> None:
    """They are forwarded unread; nothing is held back for them."""
    big = done(0, {"type": "image_generation_call", "result": "A" * 2000})

    meter = metered(RESPONSES, [frames([big])], Bounds(sse_line_bytes=1000))

    assert not meter.ended


def test_an_end_without_its_blank_line_is_read() -> None:
    """Some servers close right after the last line; its usage is what the call cost."""
    meter = metered(RESPONSES, [frames([ended()])[:-1]])

    assert meter.ended


odd_members = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["error", "response.completed", "response.output_item.done", "x.delta"]
        )
    },
    optional=dict.fromkeys(("response", "error", "item", "delta", "output_index"), json_values),
)
events = st.lists(
    st.sampled_from(WHOLE) | st.builds(delta, st.integers(0, 3), texts) | odd_members, max_size=10
)


@law
@given(
    events, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"])
)
def test_any_chunking_meters_the_same(sent: list[Json], cuts: list[int], end: bytes) -> None:
    """TCP cuts where it likes."""
    stream = frames(sent, end=end)

    assert seen(metered(RESPONSES, pieces(stream, cuts))) == seen(metered(RESPONSES, [stream]))


@law
@given(events, st.integers(0, 10_000), st.lists(st.integers(0, 10_000), max_size=6))
def test_a_stream_cut_at_any_byte_meters_as_far_as_it_came(
    sent: list[Json], cut: int, cuts: list[int]
) -> None:
    """What is booked for a broken stream must not depend on how its bytes arrived."""
    stream = frames(sent)
    head = stream[: cut % (len(stream) + 1)]

    broken = metered(RESPONSES, pieces(head, cuts))

    assert seen(broken) == seen(metered(RESPONSES, [head]))
    whole = metered(RESPONSES, [stream])
    assert broken.output_tokens_counted <= whole.output_tokens_counted
    assert whole.committed or not broken.committed


@law
@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_break_the_meter(chunks: list[bytes]) -> None:
    """A hostile provider gets its bytes passed on and nothing else."""
    metered(RESPONSES, chunks)


def test_how_it_was_served_and_what_tools_did_is_metered_at_the_end() -> None:
    """The same as of an unstreamed answer."""
    search: Json = {"type": "web_search_call", "action": {"type": "search"}}
    response: Json = {"id": "r", "output": [search], "usage": USAGE, "service_tier": "flex"}
    end: Json = {"type": "response.completed", "response": response}

    usage = metered(RESPONSES, [frames([end])]).usage

    assert usage is not None
    assert usage.extras == Extras(web_searches=1, terms=("flex",))
    assert usage == RESPONSES.read_answer(json.dumps(response).encode()).usage
