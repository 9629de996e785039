"""The request that goes on from a recorded answer."""

import json
from random import Random
from typing import Any

import pytest

from proxy.core.continuation import Continuation, continuation_of
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName, Request
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.holding import metered
from tests.unit.core.dialects.made import made
from tests.unit.core.dialects.metering import recordings

CONVERSATIONS: tuple[DialectName, ...] = ("chat", "messages", "responses")
every_dialect = pytest.mark.parametrize("dialect", CONVERSATIONS)
CALL = ToolCall("c1", "f", '{"q":1}')
BODIES: dict[DialectName, bytes] = {
    "chat": b'{"model":"m", "messages":[{"role":"user","content":"x"}],"seed":1}',
    "messages": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
    "responses": b'{"input":"x","model":"m"}',
}
ANSWERS: dict[DialectName, Any] = {
    "chat": {
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "so",
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"q":1}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ]
    },
    "messages": {
        "content": [
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"q": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "responses": {
        "id": "r1",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "so", "annotations": []}],
            },
            {"type": "function_call", "id": "i1", "call_id": "c1", "name": "f"}
            | {"arguments": '{"q":1}'},
        ],
    },
}


def after(dialect: DialectName, answer: bytes | None, *, stream: bool = False) -> Continuation:
    found = continuation_of(dialect, BODIES[dialect], answer, stream=stream, bounds=Bounds())
    assert found is not None
    return found


def read(dialect: DialectName, body: bytes) -> Request:
    return DIALECTS[dialect].parse(body, Bounds())


@every_dialect
def test_the_answer_follows_all_that_was_sent(dialect: DialectName) -> None:
    """What the client would send next, but for the result that it owes."""
    found = after(dialect, json.dumps(ANSWERS[dialect]).encode())

    (owed,) = found.owed
    assert (owed.call_id, owed.name, json.loads(owed.arguments)) == ("c1", "f", {"q": 1})
    before, *said = read(dialect, found.body).messages
    assert (before.role, before.text) == ("user", "x")
    assert "".join([one.text for one in said]) == "so"
    assert [call.call_id for one in said for call in one.tool_calls] == ["c1"]


@every_dialect
def test_without_an_answer_the_request_is_sent_again(dialect: DialectName) -> None:
    """One that was cut, or is still in flight."""
    assert after(dialect, None) == Continuation(BODIES[dialect])


@every_dialect
@pytest.mark.parametrize("answer", [b"", b"{}", b"null", b"[1", b'{"error":{"message":"x"}}'])
def test_an_answer_that_says_nothing_adds_nothing(dialect: DialectName, answer: bytes) -> None:
    for stream in (False, True):
        said = b"data: %b\n\n" % answer if stream else answer
        assert after(dialect, said, stream=stream) == Continuation(BODIES[dialect])


def test_an_answer_without_items_adds_none() -> None:
    answer = b'{"id":"r1","status":"completed","output":[]}'

    assert after("responses", answer) == Continuation(BODIES["responses"])


@every_dialect
def test_a_stream_that_ends_in_its_last_event_is_read_to_its_end(dialect: DialectName) -> None:
    """Some servers leave the last blank line out."""
    for seed in range(8):
        stream = made(dialect, Random(seed)).stream
        assert after(dialect, stream.rstrip(), stream=True) == after(dialect, stream, stream=True)
    last = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}'
    assert b'"content": "a"' in after("chat", last, stream=True).body.replace(b'":"', b'": "')


@pytest.mark.parametrize("dialect", ["completions", "embeddings"])
def test_prompts_have_no_conversation_to_go_on_with(dialect: DialectName) -> None:
    assert continuation_of(dialect, b"{}", b"{}", stream=False, bounds=Bounds()) is None


def test_of_several_choices_the_first_is_gone_on_with() -> None:
    """Its client can go on with one of them only."""
    (choice,) = ANSWERS["chat"]["choices"]
    second = {"index": 1, "message": {"role": "assistant", "content": "or"}}

    first = after("chat", json.dumps({"choices": [second, choice]}).encode())
    assert len(read("chat", first.body).messages) == 2
    assert [call.call_id for call in first.owed] == ["c1"]
    other = [second | {"index": 0}, choice | {"index": 1}]
    assert after("chat", json.dumps({"choices": other}).encode()).owed == ()


def test_what_the_provider_keeps_is_gone_on_from_by_its_id() -> None:
    """It has what was said: only the results are to be sent."""
    body = b'{"model":"m","input":"x","previous_response_id":"r0"}'
    answer = json.dumps(ANSWERS["responses"]).encode()

    found = continuation_of("responses", body, answer, stream=False, bounds=Bounds())
    assert found is not None
    assert json.loads(found.body) == {"model": "m", "input": [], "previous_response_id": "r1"}
    assert found.owed == (CALL,)


def test_a_body_of_another_dialect_is_refused() -> None:
    answer = json.dumps(ANSWERS["chat"]).encode()

    with pytest.raises(MalformedRequest):
        continuation_of(
            "chat", b'{"model":"m","messages":1}', answer, stream=False, bounds=Bounds()
        )


@every_dialect
@pytest.mark.parametrize("seed", range(40))
def test_a_stream_is_gone_on_from_as_its_client_read_it(dialect: DialectName, seed: int) -> None:
    """Whatever its provider's habits: text and calls are those that were metered."""
    stream = made(dialect, Random(seed)).stream
    answer = metered(DIALECTS[dialect], stream).answer()

    found = after(dialect, stream, stream=True)
    said = read(dialect, found.body).messages[1:]
    assert "".join([one.text for one in said]) == answer.text
    assert sorted(call.name for call in found.owed) == sorted(
        call.name for call in answer.tool_calls
    )


@pytest.mark.data
@every_dialect
def test_recorded_answers_are_gone_on_from(dialect: DialectName) -> None:
    """Of twenty providers, streamed and not."""
    gone_on = called = 0
    for record in recordings("chat.completions" if dialect == "chat" else dialect):
        sent, response, stream = record["request"], record["response"], record["stream"]
        assert isinstance(sent, dict)
        assert isinstance(response, dict)
        body, answer = (sent["body"] or "").encode(), response["body"].encode()
        try:
            before = read(dialect, body)
        except MalformedRequest:
            continue
        if response["status"] != 200:
            continue
        found = continuation_of(dialect, body, answer, stream=bool(stream), bounds=Bounds())
        assert found is not None
        if found.body == body:
            continue
        gone_on += 1
        called += bool(found.owed)
        now = read(dialect, found.body)
        if before.previous_response_id is None and before.conversation_id is None:
            assert len(now.messages) > len(before.messages)
            assert now.messages[: len(before.messages) - 1] == before.messages[:-1]
    print(f"{dialect}: {gone_on} answers, {called} with calls owed")
    assert gone_on >= 16
