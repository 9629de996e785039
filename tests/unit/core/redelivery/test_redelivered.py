"""A recorded answer says the same, streamed or whole; or it is not converted."""

import json
from typing import Any

import pytest

from proxy.core.contents import RecordedAnswer
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.redelivery.redelivered import redelivered
from proxy.core.request import DialectName
from proxy.core.sse import encode_frame
from proxy.core.usage import Usage

JSON = (("content-type", "application/json"), ("x-request-id", "r1"))
EVENTS = (("Content-Type", "text/event-stream"), ("x-request-id", "r1"))
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
CALLS = [
    {"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    for n in range(2)
]
TOKENS = [{"token": "a", "logprob": -1.5}]
LOGPROBS = {"content": TOKENS, "refusal": None}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    choices = [
        {
            "index": n,
            "message": {"role": "assistant", "content": None} | message,
            "logprobs": None,
            "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
        }
        for n, message in enumerate(messages)
    ]
    head = {"id": "c1", "object": "chat.completion", "created": 9, "model": "m"}
    return {**head, "choices": choices, "usage": USAGE, "system_fingerprint": "fp", **more}


def messages(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 7}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return {**head, "content": [*blocks], **ended, "usage": usage, **more}


def responses(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    head = {"id": "resp_1", "object": "response", "created_at": 9, "status": "completed"}
    return {**head, "model": "m", "output": [*items], "usage": usage, **more}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    return {**head, "content": [*parts]}


TEXT = {"type": "output_text", "text": "hä 🙂", "annotations": [{"type": "url"}], "logprobs": []}
CALL = {
    "id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1",
    "name": "f", "arguments": '{"a": 1}',
}  # fmt: skip
WHOLE: list[tuple[DialectName, dict[str, Any]]] = [
    ("chat", chat({"content": "hä 🙂"})),
    ("chat", chat({"content": ""})),
    ("chat", chat({"tool_calls": CALLS})),
    ("chat", chat({"content": "a", "tool_calls": CALLS[:1]}, {"content": "b"})),
    ("chat", chat({"refusal": "no"}, service_tier="flex")),
    ("chat", chat({"content": "a", "reasoning_content": "because"}, provider="p")),
    ("messages", messages({"type": "text", "text": "hä 🙂"})),
    ("messages", messages({"type": "text", "text": ""}, stop_reason="max_tokens")),
    ("messages", messages({"type": "text", "text": "a", "citations": [{"type": "c", "n": 1}]})),
    (
        "messages",
        messages(
            {"type": "thinking", "thinking": "hm", "signature": "s=="},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "text", "text": "I look"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, {"b": None}]}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
            stop_reason="tool_use",
        ),
    ),
    (
        "messages",
        messages(
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "a"}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"a": 1}]},
            {"type": "text", "text": "found"},
            stop_reason="stop_sequence",
            stop_sequence="END",
            container={"id": "c"},
        ),
    ),
    ("responses", responses(said(TEXT))),
    ("responses", responses(said(TEXT, {"type": "refusal", "refusal": "no"}), CALL)),
    (
        "responses",
        responses(
            {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "xx"},
            CALL,
            status="incomplete",
            incomplete_details={"reason": "max_output_tokens"},
        ),
    ),
]


def recorded(body: object) -> RecordedAnswer:
    return RecordedAnswer(200, JSON, json.dumps(body, separators=(",", ":")).encode(), stream=False)


@pytest.mark.parametrize(("dialect", "body"), WHOLE)
def test_a_whole_answer_is_streamed_and_back(dialect: DialectName, body: dict[str, Any]) -> None:
    """And what meters answers reads the same in both."""
    given = recorded(body)
    streamed = redelivered(given, dialect, None, include_usage=True)
    assert streamed is not None
    assert streamed.stream
    assert dict(streamed.headers)["content-type"].startswith("text/event-stream")
    assert ("x-request-id", "r1") in streamed.headers
    back = redelivered(streamed, dialect, None, include_usage=False)
    assert back is not None

    assert json.loads(back.body) == body
    assert dict(back.headers) == dict(JSON)
    meter = DIALECTS[dialect].meter(strip_usage=False, bounds=Bounds())
    meter.feed(streamed.body)
    meter.close()
    read = DIALECTS[dialect].read_answer(given.body)
    assert meter.answer() == read.answer
    assert meter.ended
    assert meter.usage == read.usage


def stream(*events: dict[str, Any], done: bool = True) -> RecordedAnswer:
    frames = [encode_frame(json.dumps(one).encode(), str(one.get("type", ""))) for one in events]
    return RecordedAnswer(200, EVENTS, b"".join([*frames, b"data: [DONE]\n\n" * done]), stream=True)


def chunk(delta: dict[str, Any], ends: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": ends, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 9, "choices": [choice]}


def call_part(index: int, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **more}]}


def test_the_chunks_of_a_chat_are_put_together() -> None:
    """Parallel calls that take turns, logprobs bit by bit, comments and keep-alives in between."""
    given = stream(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}, logprobs=LOGPROBS),
        chunk({"content": "b"}, logprobs=LOGPROBS),
        chunk(call_part(0, id="x", type="function", function={"name": "f", "arguments": ""})),
        chunk(call_part(1, id="y", type="function", function={"name": "g", "arguments": "{"})),
        chunk(call_part(0, function={"arguments": "{}"})),
        chunk(call_part(1, function={"arguments": "}"})),
        chunk({}, "tool_calls"),
    )
    given = RecordedAnswer(200, EVENTS, b": hi\n\n" + given.body, stream=True)

    usage = Usage(input_tokens=3, cache_read_tokens=2, output_tokens=7)
    whole = redelivered(given, "chat", usage, include_usage=False)

    assert whole is not None
    said = json.loads(whole.body)
    (choice,) = said["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "ab",
        "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert choice["logprobs"] == {"content": TOKENS * 2, "refusal": None}
    assert choice["finish_reason"] == "tool_calls"
    assert said["object"] == "chat.completion"
    assert said["usage"] == USAGE


def test_a_stream_ends_with_its_usage_only_where_that_was_asked_for() -> None:
    """Code that reads `choices[0]` of every chunk falls over it."""
    for asked in (False, True):
        streamed = redelivered(recorded(chat({"content": "a"})), "chat", None, include_usage=asked)
        assert streamed is not None
        assert (b'"usage"' in streamed.body) is asked
        assert streamed.body.endswith(b"data: [DONE]\n\n")


BEGUN = {"type": "message_start", "message": messages(stop_reason=None)}
STOP = {"type": "message_stop"}
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}


@pytest.mark.parametrize(
    ("dialect", "given"),
    [
        ("chat", stream(chunk({"content": "a"}))),
        ("chat", stream(chunk({"content": "a", "audio": {"data": "x"}}), chunk({}, "stop"))),
        ("chat", stream(chunk({"content": [{"type": "thinking"}]}), chunk({}, "stop"))),
        ("chat", stream(chunk(call_part(0, function={"arguments": "{}"})), chunk({}, "stop"))),
        ("chat", stream({"error": {"message": "no"}})),
        ("chat", stream({"id": "c1", "choices": 7})),
        ("chat", RecordedAnswer(200, EVENTS, b"data: {nonsense\n\n", stream=True)),
        ("chat", recorded(chat({"content": "a", "audio": {"data": "x"}}))),
        ("chat", recorded(chat())),
        ("chat", recorded([])),
        ("chat", recorded(chat({"content": [{"type": "text", "text": "a"}]}))),
        ("messages", stream(BEGUN, ENDED)),
        ("messages", stream(ENDED, STOP)),
        ("messages", stream(BEGUN, BEGUN, ENDED, STOP)),
        ("messages", stream(BEGUN, {"type": "something_new"}, ENDED, STOP)),
        ("messages", stream(BEGUN, BLOCK, BLOCK, ENDED, STOP)),
        (
            "messages",
            stream(
                *(BEGUN, BLOCK),
                {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta"}},
                *(ENDED, STOP),
            ),
        ),
        ("messages", recorded({"type": "error", "error": {}})),
        ("messages", recorded(messages({"type": "tool_use", "id": "t", "input": "text"}))),
        ("responses", stream({"type": "response.created", "response": responses()})),
        ("responses", stream({"type": "response.failed", "response": responses()})),
        ("responses", stream()),
        ("responses", recorded(responses(status="failed"))),
        ("responses", recorded(responses(said({"type": "new_part"})))),
        ("completions", recorded({"choices": [{"text": "a"}]})),
        ("completions", stream({"choices": [{"text": "a"}]})),
        (
            "chat",
            RecordedAnswer(
                200, (*JSON, ("Content-Encoding", "gzip")), recorded(chat({"content": "a"})).body
            ),
        ),
    ],
)
def test_what_is_not_understood_is_not_converted(
    dialect: DialectName, given: RecordedAnswer
) -> None:
    assert redelivered(given, dialect, None, include_usage=True) is None
