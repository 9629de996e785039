"""Unstreamed answers of the Responses dialect."""

import json

import pytest
from hypothesis import given

from proxy.core.dialects.responses import RESPONSES
from proxy.core.usage import Answer, ToolCall, Usage
from tests.unit.core.dialects.metering import Json, json_values, law

TEXT = {"type": "message", "content": [{"type": "output_text", "text": "a" * 40}]}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}


def usage_of(**usage: object) -> Usage | None:
    body = {"id": "r", "status": "completed", "output": [], "usage": usage}
    return RESPONSES.read_answer(json.dumps(body).encode()).usage


def test_an_answer_is_read_whole() -> None:
    """The same facts as from a stream."""
    body = {"id": "r", "status": "completed", "output": [TEXT, {"type": "reasoning"}, CALL]}

    read = RESPONSES.read_answer(json.dumps(body).encode())

    assert read.answer == Answer("a" * 40, (ToolCall("c", "look", "{}"),), "r", "completed")
    assert read.usage is None
    assert read.malformed is None


def test_what_cannot_be_read_hides_nothing_else() -> None:
    """A new kind of item beside a call must not make the call invisible."""
    odd = [3, {"type": 4}, {"type": "message", "content": [5]}, CALL]
    body = {"id": 6, "status": "completed", "output": odd}

    read = RESPONSES.read_answer(json.dumps(body).encode())

    assert read.answer.tool_calls == (ToolCall("c", "look", "{}"),)
    assert read.answer.response_id is None
    assert read.malformed is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"<html>", "it is not JSON"),
        (b"[]", "it is not of the type of an answer"),
        (b'{"error": {"message": "No."}}', "it has no output"),
        (b'{"id": "r", "output": 3}', "it has no output"),
        (b'{"id": "r", "status": "completed"}', "it has no output"),
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes, reason: str) -> None:
    """SDKs take it for an empty answer, so it must become an error."""
    assert RESPONSES.read_answer(body).malformed == reason


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_failed_is_an_answer(status: str) -> None:
    """It is the provider's own word, and may be billed."""
    body = {"id": "r", "status": status, "error": {"code": "x", "message": "No."}}

    read = RESPONSES.read_answer(json.dumps(body).encode())

    assert read.malformed is None
    assert read.answer.finish_reason == status


def test_usage_is_split_into_disjoint_classes() -> None:
    """What is read from or written to a cache is part of the input that the provider names."""
    usage = usage_of(
        input_tokens=109,
        input_tokens_details={"cached_tokens": 2, "cache_write_tokens": 100},
        output_tokens=5.0,
        output_tokens_details={"reasoning_tokens": 3},
    )

    assert usage == Usage(
        7, cache_read_tokens=2, cache_write_tokens=100, output_tokens=5, reasoning_tokens=3
    )


def test_usage_that_is_absent_is_not_nought() -> None:
    """The whole hold is booked where nothing is known."""
    assert usage_of(input_tokens=None, output_tokens=None) is None
    assert usage_of() is None
    assert usage_of(input_tokens="many") is None
    assert usage_of(input_tokens=0, output_tokens=0) == Usage()


@pytest.mark.parametrize(
    ("billed", "micro_usd"),
    [
        ({"cost": 0.0000113}, 12),
        ({"cost": 0.000012}, 12),
        ({"cost": 0}, 0),
        ({"cost_in_usd_ticks": 5_143_500}, 515),
        ({"cost_in_usd_ticks": 10_000}, 1),
        ({"cost": {"currency": "USD", "total_cost": 0.25}}, 250_000),
        (
            {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
            210_000,
        ),
        (
            {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": None}},
            None,
        ),
        ({"cost": 0.01, "is_byok": True}, None),
        ({"cost": True}, None),
        ({"cost": "0.01"}, None),
        ({"cost": -1}, None),
        ({"cost": 1e300}, None),
        ({"cost": "free"}, None),
        ({"cost": None}, None),
    ],
)
def test_a_billed_cost_is_taken_as_billed(billed: Json, micro_usd: int | None) -> None:
    """In micro-USD, rounded up; nonsense is no price."""
    usage = usage_of(input_tokens=1, output_tokens=1, **billed)

    assert usage is not None
    assert usage.billed_cost_micro_usd == micro_usd


def test_a_provider_cannot_give_a_budget_back() -> None:
    """Negative figures, and cached tokens beyond the input."""
    usage = usage_of(input_tokens=5, output_tokens=-9, input_tokens_details={"cached_tokens": 50})

    assert usage == Usage(0, cache_read_tokens=5)


@law
@given(json_values)
def test_no_json_breaks_the_reader(value: object) -> None:
    """A hostile provider is malformed at worst."""
    for body in (value, {"output": value}, {"output": [value], "usage": value, "error": value}):
        RESPONSES.read_answer(json.dumps(body).encode())
