"""Whole answers and streams of chat, told as responses."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.translation.base import Translation
from proxy.core.translation.registry import translation
from proxy.core.translation.responses_via_chat.translation import RESPONSES_VIA_CHAT
from proxy.core.usage import Answer, ToolCall, Usage
from tests.unit.core.dialects.made import made
from tests.unit.core.dialects.metering import law, metered, pieces
from tests.unit.core.translation.test_recordings import bodies, cost, kept
from tests.unit.core.translation.test_recordings import metered as spoken_meter

Json = dict[str, Any]

ASKED: Json = {
    "model": "gpt-5",
    "input": "hi",
    "instructions": "Be brief.",
    "max_output_tokens": 99,
    "temperature": 0.5,
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "tools": [
        {"type": "function", "name": "look"},
        {"type": "custom", "name": "apply_patch"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "wait"}]},
    ],
}
BODY = json.dumps(ASKED).encode()


def whole(message: Json, finish: str | None = "stop", **more: object) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = json.dumps({"id": "c1", "model": "qwen3", "choices": [choice], **more}).encode()
    told = RESPONSES_VIA_CHAT.answer(body, asked=BODY, created=7)
    assert RESPONSES.read_answer(told).malformed is None
    found: Json = json.loads(told)
    return found


def stream(*chunks: Json | bytes, end: bytes = b"data: [DONE]\n\n", asked: bytes = BODY) -> bytes:
    sent = b"".join(
        chunk if isinstance(chunk, bytes) else b"data: %b\n\n" % json.dumps(chunk).encode()
        for chunk in chunks
    )
    between = RESPONSES_VIA_CHAT.stream(asked, created=7)
    return between.feed(sent + end) + between.close()


def events(told: bytes) -> list[Json]:
    """Numbered from 0, each named as it names itself; comments are none."""
    found: list[Json] = []
    for frame in told.decode().split("\n\n"):
        if frame and not frame.startswith(":"):
            name, data = frame.split("\n", 1)
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            assert event.pop("sequence_number") == len(found)
            found.append(event)
    return found


def kinds(told: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events(told)]


def delta(finish: str | None = None, **said: object) -> Json:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def part(arguments: str, index: int | None = 0, **more: object) -> Json:
    """A part of a call."""
    named = {key: more.pop(key) for key in ("name",) if key in more}
    call = {"index": index, "function": {**named, "arguments": arguments}, **more}
    return delta(tool_calls=[call])


def text_item(text: str, status: str = "completed") -> Json:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"type": "message", "role": "assistant", "status": status, "content": content}


def thought_item(text: str) -> Json:
    return {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
        "encrypted_content": None,
        "status": "completed",
    }


def call_item(arguments: str, name: str = "look", call_id: str = "c1", **more: object) -> Json:
    return {
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **more,
    }


def output(told: Json) -> list[Json]:
    """The items, whose ids are like OpenAI's, each of its own."""
    prefixes = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
    ids = [item.pop("id") for item in told["output"]]
    for item, item_id in zip(told["output"], ids, strict=True):
        assert item_id.startswith(prefixes.get(item["type"], "ctc") + "_")
    assert len(set(ids)) == len(ids)
    found: list[Json] = told["output"]
    return found


USAGE: Json = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def test_an_answer_is_a_response_that_tells_of_its_request() -> None:
    told = whole({"role": "assistant", "content": "So"}, usage=USAGE, service_tier="flex")

    assert output(told) == [text_item("So")]
    assert told["id"].startswith("resp_")
    expected = {
        "object": "response",
        "created_at": 7,
        "status": "completed",
        "model": "qwen3",
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "temperature": 0.5,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "error": None,
        "incomplete_details": None,
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 15,
            "service_tier": "flex",
        },
    }
    assert {key: told[key] for key in expected} == expected


def test_what_is_not_told_is_not_made_up() -> None:
    """No usage is none; a model that the provider does not name is the one that was asked."""
    body = b'{"choices":[{"message":{"content":"So"}}],"model":5}'
    told = json.loads(RESPONSES_VIA_CHAT.answer(body, asked=b'{"model":"m"}', created=7))

    assert (told["usage"], told["model"], told["status"]) == (None, "m", "completed")
    assert (told["temperature"], told["tool_choice"]) == (1.0, "auto")


def test_each_answer_has_ids_of_its_own() -> None:
    """Chat providers give the same id to all, or none; the same call at another time has others."""
    body = b'{"choices":[{"message":{"content":"So"}}]}'

    def ids(asked: bytes, created: int) -> set[str]:
        told = json.loads(RESPONSES_VIA_CHAT.answer(body, asked=asked, created=created))
        return {told["id"], told["output"][0]["id"]}

    assert len(ids(BODY, 7) | ids(BODY, 8) | ids(b'{"model":"m"}', 7)) == 6
    assert ids(BODY, 7) == ids(BODY, 7)


def test_all_that_an_answer_says_is_an_item() -> None:
    told = whole(
        {"content": "So", "refusal": "no", "reasoning_content": "hm", "tool_calls": [CALL]},
        "tool_calls",
    )

    message = text_item("So")
    message["content"].append({"type": "refusal", "refusal": "no"})
    assert output(told) == [thought_item("hm"), message, call_item("{}")]


def test_parts_and_old_calls_are_read_as_well() -> None:
    """Mistral's thinking, and `function_call`, which has no id and may be empty (Snowflake)."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    told = whole({"content": [thought, {"type": "text", "text": "So"}, "!"]})
    message = text_item("So")
    message["content"] += text_item("!")["content"]
    assert output(told) == [thought_item("hm"), message]
    assert output(whole({"content": [{"type": "thinking", "thinking": "hm"}]}))[0] == thought_item(
        "hm"
    )
    refusing = whole({"content": [{"type": "refusal", "refusal": "no"}, {"type": "text"}]})
    assert output(refusing)[0]["content"] == [{"type": "refusal", "refusal": "no"}]

    old = whole({"content": None, "function_call": {"name": "look", "arguments": "{}"}})
    (item,) = output(old)
    assert item.pop("call_id").startswith("call_")
    assert item == {key: value for key, value in call_item("{}").items() if key != "call_id"}
    empty = whole({"content": "So", "function_call": {"name": "", "arguments": ""}})
    assert output(empty) == [text_item("So")]


def test_calls_are_told_as_they_were_offered() -> None:
    """A custom tool's call has a text, a namespace's tool its namespace, an unknown one a name."""
    calls = [
        {"id": "c1", "function": {"name": "apply_patch", "arguments": '{"input": "*** Begin"}'}},
        {"id": "c2", "function": {"name": "wait", "arguments": "{}"}},
        {"id": "c3", "function": {"name": "made_up", "arguments": "{}"}},
    ]
    told = output(whole({"content": None, "tool_calls": calls}, "tool_calls"))

    patch = {"type": "custom_tool_call", "status": "completed", "call_id": "c1"}
    assert told == [
        patch | {"name": "apply_patch", "input": "*** Begin"},
        call_item("{}", "wait", "c2", namespace="n"),
        call_item("{}", "made_up", "c3"),
    ]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        (None, "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("error", "failed", None),
    ],
)
def test_why_it_ended_is_told(finish: str | None, status: str, reason: str | None) -> None:
    told = whole({"content": "So", "tool_calls": [CALL]}, finish)
    streamed = events(stream(delta(content="So"), delta(finish)))[-1]["response"]

    for response in (told, streamed):
        assert response["status"] == status
        assert response["incomplete_details"] == (reason and {"reason": reason})
        assert (response["error"] is not None) == (status == "failed")
    assert told["output"][0]["status"] == "completed"
    assert told["output"][1]["status"] == ("incomplete" if reason else "completed")
    assert streamed["output"][0]["status"] == ("incomplete" if reason else "completed")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"choices":[]}', b'{"error":"no"}'])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    told = RESPONSES_VIA_CHAT.answer(body, asked=BODY, created=7)

    assert RESPONSES.read_answer(told).malformed is not None


def test_a_text_is_told_event_by_event() -> None:
    """The whole sequence, as typed readers want it."""
    told = stream(
        {"model": "qwen3", **delta(role="assistant", content="")},
        delta(content="S"),
        delta(content="o"),
        delta("stop"),
        {"choices": [], "usage": USAGE},
    )

    found = events(told)
    assert kinds(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    (first, _, added, opened, grown, _, done, closed, ended, last) = found
    assert (first["response"]["status"], first["response"]["model"]) == ("in_progress", "qwen3")
    item_id = added["item"]["id"]
    assert added["item"] == text_item("", "in_progress") | {"id": item_id, "content": []}
    place = {"item_id": item_id, "output_index": 0, "content_index": 0}
    empty = text_item("")["content"][0]
    assert opened == {"type": "response.content_part.added", **place, "part": empty}
    told_delta = {"type": "response.output_text.delta", **place, "delta": "S", "logprobs": []}
    assert grown == told_delta
    assert done["text"] == "So"
    assert closed["part"] == empty | {"text": "So"}
    assert ended["item"] == text_item("So") | {"id": item_id}
    assert last["response"]["output"] == [ended["item"]]
    assert last["response"]["usage"]["total_tokens"] == 15
    assert {event["response"]["id"] for event in (first, last)} == {first["response"]["id"]}


def test_reasoning_text_and_calls_are_items_in_their_order() -> None:
    told = stream(
        delta(reasoning="h"),
        delta(reasoning_content="m"),
        delta(content="So"),
        delta(refusal="no"),
        part("", id="c1", name="look"),
        part('{"a":'),
        part("1}"),
        part("{}", 1, id="c2", name="wait"),
        delta("tool_calls"),
    )

    assert kinds(told) == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "content_part.added", "refusal.delta"),
        *("refusal.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    found = events(told)
    message = text_item("So")
    message["content"].append({"type": "refusal", "refusal": "no"})
    expected = [
        thought_item("hm"),
        message,
        call_item('{"a":1}'),
        call_item("{}", "wait", "c2", namespace="n"),
    ]
    done = [event for event in found if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in done] == [0, 1, 2, 3]
    assert [event["item"] for event in done] == found[-1]["response"]["output"]
    assert output(found[-1]["response"]) == expected
    arguments = [e for e in found if e["type"] == "response.function_call_arguments.done"]
    assert [(one["name"], one["arguments"]) for one in arguments] == [
        ("look", '{"a":1}'),
        ("wait", "{}"),
    ]


def test_a_text_after_a_thought_is_another_item_each_time() -> None:
    told = events(stream(*[delta(**{key: "a"}) for key in ("content", "reasoning", "content")]))

    assert [item["type"] for item in told[-1]["response"]["output"]] == [
        "message",
        "reasoning",
        "message",
    ]


def test_a_custom_tools_call_is_streamed_as_its_text() -> None:
    told = stream(
        part("", id="c1", name="apply_patch"), part('{"input": "*** '), part('Begin\\n"}'), delta()
    )

    grown = [event for event in events(told) if "custom_tool_call_input" in event["type"]]
    assert [event.get("delta", event.get("input")) for event in grown] == [
        "*** ",
        "Begin\n",
        "*** Begin\n",
    ]
    (item,) = output(events(told)[-1]["response"])
    assert (item["type"], item["input"]) == ("custom_tool_call", "*** Begin\n")
    alone = stream(part("*** Begin", id="c1", name="apply_patch"), delta("tool_calls"))
    (item,) = output(events(alone)[-1]["response"])
    assert (item["input"], item["status"]) == ("*** Begin", "completed")


@pytest.mark.parametrize(
    ("name", "arguments", "is_whole"),
    [
        ("look", '{"a":', False),
        ("look", '{"a":1}', True),
        ("apply_patch", '{"input": "*** Beg', False),
        ("apply_patch", '{"input": "*** Begin"}', True),
    ],
)
def test_a_call_that_was_cut_short_is_not_told_as_done(
    name: str, arguments: str, is_whole: bool
) -> None:
    """Codex runs what is done at once, and LangChain repairs what is cut; only the last is cut."""
    told = stream(
        part("{", 0, id="c0", name="look"), part(arguments, 1, id="c1", name=name), delta("length")
    )

    done = [e["output_index"] for e in events(told) if e["type"] == "response.output_item.done"]
    assert done == ([0, 1] if is_whole else [0])
    last = events(told)[-1]
    assert last["type"] == "response.incomplete"
    statuses = [item["status"] for item in last["response"]["output"]]
    assert statuses == ["completed", "completed" if is_whole else "incomplete"]


def test_calls_are_told_apart_by_id_where_all_have_the_same_number() -> None:
    """Gemini's; and by their ids and names where they have none. A name may come late, or never."""
    same = stream(part("{}", 0, id="a", name="look"), part("[]", 0, id="b", name="look"))
    none = stream(
        part("{", None, id="a", name="look"), part("}", None), part("[]", None, id="b", name="look")
    )
    late = stream(part("{", 0, id="a"), part("}", 0, name="look"), part("[]", 1, id="b"))

    for told in (same, none, late):
        items = output(events(told)[-1]["response"])
        assert [(item["call_id"], item["arguments"]) for item in items] == [
            ("a", "{}"),
            ("b", "[]"),
        ]


def test_one_choice_is_told() -> None:
    """A response has no more."""
    other = {"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}]}

    told = events(stream(delta(content="a"), other, delta("stop")))

    assert output(told[-1]["response"]) == [text_item("a")]


@pytest.mark.parametrize(
    ("end", "ended"),
    [(b"data: [DONE]\n\n", True), (b"data: [DONE]", True), (b"", False), (b"data: {", False)],
)
def test_a_stream_ends_where_the_provider_said_so(end: bytes, ended: bool) -> None:
    """One that breaks off has no end: clients must not take it for a finished answer."""
    cut = stream(delta(content="So"), end=end)
    bare = {"choices": [{"index": 0, "finish_reason": "stop"}]}
    finished = stream(delta(content="So"), bare, end=b"")

    assert (kinds(cut)[-1] == "completed") == ended
    assert kinds(finished)[-1] == "completed"
    assert kinds(cut).count("output_item.done") == ended
    meter = metered(RESPONSES, [cut])
    assert (meter.ended, meter.answer().text, meter.malformed) == (ended, "So", 0)


def test_nothing_follows_the_end() -> None:
    told = stream(delta(content="a"), b"data: [DONE]\n\n", delta(content="b"), delta("stop"))

    assert kinds(told)[-1] == "completed"
    assert stream(end=b"") == b""


ERROR = {"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}}


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ERROR, "rate_limit_exceeded", "Rate limit"),
        ({"error": {"message": "boom", "code": 502}}, "server_error", "boom"),
        ({"error": {"message": "This exceeds the context window."}}, "context_length_exceeded", ""),
        ({"x_groq": {"error": "over"}}, "server_error", "over"),
        (b'event: error\ndata: {"message": "odd"}\n\n', "server_error", "odd"),
        ({"error": "<html>"}, "server_error", "The provider reported an error."),
    ],
)
def test_an_error_in_a_stream_ends_it_as_one(error: Json | bytes, code: str, message: str) -> None:
    """`response.failed` for typed readers, `error` for those that are not; nothing after it."""
    told = stream({"choices": [], "usage": USAGE}, delta(content="So"), error, delta("stop"))

    failed, last = events(told)[-2:]
    assert (failed["type"], last["type"]) == ("response.failed", "error")
    response = failed["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", code)
    assert response["output"][0]["content"] == text_item("So")["content"]
    assert response["usage"]["total_tokens"] == 15
    assert message in response["error"]["message"]
    assert last["error"] == response["error"] == {key: last[key] for key in ("code", "message")}
    meter = metered(RESPONSES, [told])
    assert meter.failed == response["error"]["message"]


def test_signs_of_life_pass() -> None:
    told = stream(b": OPENROUTER PROCESSING\n\n", delta(content="So"), b"event: ping\n\n")

    assert told.startswith(b": keep-alive\n\n")
    assert told.count(b"keep-alive") == 1


ODD: tuple[Json | bytes, ...] = (
    b"data: {oops\n\n",
    b'data: {"choices":5}\n\n',
    {"choices": [{"delta": {"content": [1]}}]},
)


@pytest.mark.parametrize("odd", ODD)
def test_what_cannot_be_read_is_left_out(odd: Json | bytes) -> None:
    told = stream(delta(content="So"), odd, delta(content="!"), delta("stop"))

    assert output(events(told)[-1]["response"]) == [text_item("So!")]


@pytest.mark.parametrize("odd", ODD)
def test_a_call_of_which_a_part_cannot_be_read_is_no_call(odd: Json | bytes) -> None:
    """What is left of its arguments could be run: `rm -r /a` of `rm -r /a/b`."""
    told = stream(part('{"a":', id="c1", name="look"), odd, part("1}"), delta("tool_calls"))

    assert kinds(told)[-2:] == ["failed", "error"]
    assert "output_item.done" not in kinds(told)
    assert "cannot be read" in events(told)[-1]["message"]
    after = stream(part("{}", id="c1", name="look"), delta("tool_calls"), odd)
    assert kinds(after)[-1] == "completed"


def test_an_event_that_is_too_long_ends_the_stream() -> None:
    told = stream(delta(content="So"), b"data: " + b"x" * (8 * 1024 * 1024) + b"\n\n")

    assert "too long" in events(told)[-1]["message"]


def test_usage_and_errors_beside_what_cannot_be_read_are_told() -> None:
    odd: Json = {"choices": 5, "usage": USAGE}
    told = stream(odd, delta(content="So"), delta("stop"))
    assert events(told)[-1]["response"]["usage"]["total_tokens"] == 15

    failed = events(stream({"choices": 5} | ERROR))
    assert [event["type"] for event in failed][-2:] == ["response.failed", "error"]


@law
@given(st.integers(0, 2**32), st.lists(st.integers(0, 10**6), max_size=9))
def test_any_stream_says_the_same(seed: int, cuts: list[int]) -> None:
    """And becomes the same bytes however it is cut; cut off, it has no end."""
    sent = made("chat", Random(seed))
    tools = [{"type": "function", "name": name} for name in ("mail", "look")]
    asked = json.dumps(
        {"model": "m", "tools": [*tools, {"type": "custom", "name": "pay"}]}
    ).encode()

    def told(chunks: list[bytes]) -> bytes:
        between = RESPONSES_VIA_CHAT.stream(asked, created=7)
        return b"".join([*map(between.feed, chunks), between.close()])

    whole_stream = told([sent.stream])
    assert told(pieces(sent.stream, cuts)) == whole_stream
    read, seen = CHAT.meter(strip_usage=False, bounds=Bounds()), metered(RESPONSES, [whole_stream])
    read.feed(sent.stream)
    assert seen.ended
    assert seen.malformed == 0
    assert seen.usage == read.usage
    assert seen.answer().text == read.answer().text
    assert [(one.call_id, one.name) for one in seen.answer().tool_calls] == [
        (one.call_id, one.name) for one in read.answer().tool_calls
    ]
    assert events(whole_stream)[-1]["response"]["output"] == [
        event["item"]
        for event in sorted(
            (e for e in events(whole_stream) if e["type"] == "response.output_item.done"),
            key=lambda event: event["output_index"],
        )
    ]
    part_of = sent.stream[: cuts[0] % len(sent.stream)] if cuts else b""
    if part_of and b"[DONE]" not in part_of and b'"finish_reason": "' not in part_of:
        assert not metered(RESPONSES, [told([part_of])]).ended


@law
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b'{"choices":[{'])))
def test_no_bytes_break_it(chunks: list[bytes]) -> None:
    between = RESPONSES_VIA_CHAT.stream(BODY, created=7)

    for chunk in chunks:
        between.feed(chunk)
    between.close()


def test_errors_keep_their_shape_and_words() -> None:
    def told(status: int, body: bytes) -> Json:
        found: Json = json.loads(RESPONSES_VIA_CHAT.error(status, body))
        return found["error"]  # type: ignore[no-any-return]

    theirs = {"message": "No.", "type": "invalid_request_error", "param": "model", "code": "gone"}
    assert told(404, json.dumps({"error": theirs}).encode()) == theirs
    assert told(422, b'{"detail": "Extra inputs"}') == {
        "message": "Extra inputs",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    page = told(502, b"<html><body>Bad Gateway")
    assert page["message"] == "The provider answered with status 502."
    assert page["type"] == "server_error"
    assert told(400, b'{"error": "the context length is 4096"}')["code"] == (
        "context_length_exceeded"
    )


@pytest.mark.data
@pytest.mark.parametrize("spoken", ["chat", "messages"])
def test_nothing_of_a_recorded_answer_is_lost(spoken: str) -> None:
    """Text, calls and cost of every provider's, streamed and not."""
    endpoint, dialect = {"chat": ("chat.completions", CHAT), "messages": ("messages", MESSAGES)}[
        spoken
    ]
    between: Translation | None = translation("responses", spoken)  # type: ignore[arg-type]
    assert between is not None
    asked = b'{"model":"m","input":"hi"}'
    for body in bodies(endpoint, stream=False):
        read = dialect.read_answer(body)
        told = between.answer(body, asked=asked, created=7)
        seen = RESPONSES.read_answer(told)
        assert (seen.malformed is None) == (read.malformed is None)
        assert kept(seen.answer) == kept(read.answer), body
        assert cost(seen.usage) == cost(read.usage), body
    for body in bodies(endpoint, stream=True):
        streamed = between.stream(asked, created=7)
        was, is_now = spoken_meter(dialect, body), metered(RESPONSES, [
            b"".join([*map(streamed.feed, pieces(body, [7, 99, 1234, 5000])), streamed.close()])
        ])  # fmt: skip
        assert kept(is_now.answer()) == kept(was.answer()), body
        assert cost(is_now.usage) == cost(was.usage), body
        assert bool(is_now.failed) == bool(was.failed)
        assert is_now.ended == bool(was.ended or was.finish_seen or was.failed)


def test_claude_can_answer_responses() -> None:
    """By way of chat: what holds of both translations holds of the two."""
    between = translation("responses", "messages")
    assert between is not None
    asked = json.loads(between.request(BODY, output_bound=512))
    assert asked["max_tokens"] == 99
    assert (
        json.loads(between.request(b'{"model":"m","input":"hi"}', output_bound=512))["max_tokens"]
        == 512
    )
    used = {"type": "tool_use", "id": "c1", "name": "apply_patch", "input": {"input": "*"}}
    body = {"id": "m", "content": [used], "stop_reason": "tool_use", "usage": {"output_tokens": 5}}
    told = RESPONSES.read_answer(between.answer(json.dumps(body).encode(), asked=BODY, created=7))
    assert told.answer.tool_calls == (ToolCall("c1", "apply_patch", "*"),)
    assert told.usage == Usage(output_tokens=5)
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert json.loads(between.error(529, error))["error"]["message"] == "Overloaded"
    cut = between.stream(BODY, created=7)
    assert cut.feed(b"") + cut.close() == b""
    assert RESPONSES.read_answer(between.answer(b"", asked=BODY, created=7)).answer == Answer()
