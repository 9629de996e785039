"""A loop of steps without ids that identify is one session in every dialect, bytes in and out."""

import json

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.identity import Identified
from proxy.core.paths import split_path
from proxy.core.request import DialectName
from proxy.identity import SessionIndex
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import FakeLinkStore

CALL = {"name": "look", "arguments": '{"q": "a"}'}

CHAT = (
    {"messages": [{"role": "user", "content": "task"}]},
    {
        "id": "chatcmpl-1",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "I look.",
                    "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}],
                },
            }
        ],
    },
    {
        "messages": [
            {"role": "system", "content": "moved here"},
            {"role": "user", "content": [{"type": "text", "text": "task"}]},
            {
                "role": "assistant",
                "content": "I look.",
                "refusal": None,
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_1",
                        "type": "function",
                        "function": {"arguments": '{"q":"a"}', "name": "look"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "found"},
        ]
    },
)
RESPONSES = (
    {"input": "task"},
    {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": []},
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
            },
            {"id": "fc_1", "type": "function_call", "call_id": "call_1", **CALL},
        ],
    },
    {
        "input": [
            {"role": "user", "content": "task"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "call_1", **CALL},
            {"type": "function_call_output", "call_id": "call_1", "output": "found"},
        ]
    },
)
MESSAGES = (
    {"max_tokens": 9, "messages": [{"role": "user", "content": "task"}]},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "stop_reason": "tool_use",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "a"}},
        ],
    },
    {
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "task", "cache_control": {"type": "ephemeral"}}
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}],
            },
        ],
    },
)


@pytest.mark.parametrize(
    ("name", "exchange"), [("chat", CHAT), ("responses", RESPONSES), ("messages", MESSAGES)]
)
async def test_the_echo_of_an_answer_leads_back_to_its_session(
    name: DialectName, exchange: tuple[dict[str, object], ...]
) -> None:
    """What the meter read and what the client sends back must give the same link."""
    dialect = DIALECTS[name]
    index = SessionIndex(FakeLinkStore(), 1000, FakeClock())
    target = "/v1/any"

    async def identified(body: dict[str, object]) -> Identified:
        raw = json.dumps({"model": "m", **body}).encode()
        request = dialect.parse(raw, Bounds())
        head = Head("POST", target, ())
        who = await index.identify("t", head, split_path(target), request)
        if who.is_new:
            index.remember_request("t", who, request)
            answer = dialect.read_answer(json.dumps(exchange[1]).encode()).answer
            index.remember_answer("t", who, request, answer)
        return who

    first, second = await identified(exchange[0]), await identified(exchange[2])

    assert first.source == "new"
    assert (second.session, second.source) == (first.session, "prefix")
