"""Unstreamed answers, translated."""

import json
from typing import Any

import pytest

from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT

Json = dict[str, Any]


def in_chat(**told: Any) -> Json:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", **told}
    written = CHAT_VIA_MESSAGES.answer(json.dumps(message).encode(), asked=b"{}", created=7)
    answer: Json = json.loads(written)
    return answer


def in_messages(message: Json, finish: str | None = "stop", **told: Any) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice], **told}
    written = MESSAGES_VIA_CHAT.answer(json.dumps(body).encode(), asked=b"{}", created=7)
    answer: Json = json.loads(written)
    return answer


def test_a_message_becomes_a_completion() -> None:
    answer = in_chat(
        content=[
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Let me "},
            {"type": "text", "text": "see."},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"q": 1}},
            {"type": "tool_use", "id": "t2", "name": "pay", "input": {}},
        ],
        stop_reason="tool_use",
        usage={"input_tokens": 9, "output_tokens": 50},
    )

    def call(call_id: str, name: str, arguments: str) -> Json:
        function = {"name": name, "arguments": arguments}
        return {"id": call_id, "type": "function", "function": function}

    message = {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "reasoning_content": "hm",
        "tool_calls": [call("t1", "look", '{"q": 1}'), call("t2", "pay", "{}")],
    }
    assert answer == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 7,
        "model": "claude-x",
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 50,
            "total_tokens": 59,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {},
        },
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], ""),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "tool_use", "id": "t", "name": "f", "input": {}}], None),
    ],
)
def test_content_is_null_beside_calls_only(content: Any, said: str | None) -> None:
    """Clients show a text that is empty, and stumble over none."""
    message = in_chat(content=content, stop_reason="end_turn")["choices"][0]["message"]

    assert message["content"] == said


def test_a_message_without_figures_has_none() -> None:
    assert "usage" not in in_chat(content=[], stop_reason="end_turn")


def test_a_completion_becomes_a_message() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"q": 1}'}},
        {"id": None, "function": {"name": "pay", "arguments": '{"q": "cut'}},
        {"id": "functions.now:2", "function": {"name": "now", "arguments": ""}},
    ]
    answer = in_messages(
        {
            "content": "So",
            "tool_calls": calls,
            "reasoning_content": "hm",
            "function_call": None,
        },
        "stop",
        usage={"prompt_tokens": 9, "completion_tokens": 50},
    )

    made = [block.pop("id") for block in answer["content"][2:]]
    assert len({*made, "c1"}) == 3
    assert all(one.startswith("toolu_") for one in made)
    assert answer == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-x",
        "content": [
            {"type": "text", "text": "So"},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"q": 1}},
            {"type": "tool_use", "name": "pay", "input": {"INVALID_JSON": '{"q": "cut'}},
            {"type": "tool_use", "name": "now", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 50,
        },
    }


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None}, []),
        ({"content": ""}, []),
        ({"content": None, "refusal": "no"}, [{"type": "text", "text": "no"}]),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "reasoning", "text": "hm"},
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "reference", "reference_ids": [1]},
                ]
            },
            [{"type": "text", "text": "ab"}],
        ),
    ],
)
def test_what_a_message_says_is_one_text(message: Json, content: Any) -> None:
    assert in_messages(message)["content"] == content


def test_figures_that_are_not_told_are_unknown() -> None:
    """The SDK finds numbers, our meter none."""
    answer = in_messages({"content": "a"})

    assert answer["usage"]["input_tokens"] == 0
    assert MESSAGES.read_answer(json.dumps(answer).encode()).usage is None


def test_the_first_choice_is_the_answer() -> None:
    """Wherever it stands."""
    choices = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "stop"},
        {"index": 0, "message": {"content": "a"}, "finish_reason": "length"},
    ]
    body = json.dumps({"choices": choices}).encode()
    answer = json.loads(MESSAGES_VIA_CHAT.answer(body, asked=b"{}", created=7))

    assert answer["content"] == [{"type": "text", "text": "a"}]
    assert answer["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b'{"error": {"message": "x"}}',
        b'{"type": "error", "error": {"type": "api_error", "message": "x"}}',
        b'{"choices": []}',
        b'{"choices": 7, "content": 7}',
        b'{"choices": [{"message": {"content": [7]}}], "content": "text"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_none_of_the_other_dialect_either(body: bytes) -> None:
    told = CHAT_VIA_MESSAGES.answer(body, asked=b"{}", created=7)
    assert MESSAGES.read_answer(body).malformed is not None
    assert CHAT.read_answer(told).malformed is not None

    told = MESSAGES_VIA_CHAT.answer(body, asked=b"{}", created=7)
    assert CHAT.read_answer(body).malformed is not None
    assert MESSAGES.read_answer(told).malformed is not None


def test_one_block_that_cannot_be_read_costs_none_of_the_others() -> None:
    answer = in_chat(
        content=[{"type": "text", "text": "a"}, {"type": "text", "text": 7}, {"type": []}],
        stop_reason="end_turn",
    )

    assert answer["choices"][0]["message"]["content"] == "a"


def test_errors_go_the_way_of_answers() -> None:
    """Each in the client's dialect."""
    of_messages = b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}'
    of_chat = b'{"error":{"type":"server_error","message":"m"}}'

    assert json.loads(CHAT_VIA_MESSAGES.error(529, of_messages))["error"]["code"] == "overloaded"
    told = json.loads(MESSAGES_VIA_CHAT.error(503, of_chat))
    assert told == {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}
