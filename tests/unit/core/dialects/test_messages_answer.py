"""Unstreamed answers of the Messages dialect."""

import json

import pytest
from hypothesis import given

from proxy.core.dialects.messages import MESSAGES
from proxy.core.usage import Answer, Extras, ToolCall, Usage
from tests.unit.core.dialects.metering import json_values, law


def usage_of(**usage: object) -> Usage | None:
    body = {"id": "m", "content": [], "usage": usage}
    return MESSAGES.read_answer(json.dumps(body).encode()).usage


def test_an_answer_is_read_whole() -> None:
    """The same facts as from a stream."""
    content = [
        {"type": "thinking", "thinking": "Hm"},
        {"type": "text", "text": "a" * 40},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"q": 1}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": 3},
    ]
    body = {"id": "m", "type": "message", "content": content, "stop_reason": "tool_use"}

    read = MESSAGES.read_answer(json.dumps(body).encode())

    assert read.answer == Answer("a" * 40, (ToolCall("t", "look", '{"q": 1}'),), "m", "tool_use")
    assert read.usage is None
    assert read.malformed is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>", "it is not JSON"),
        (b'"text"', "it is not of the type of an answer"),
        (b'{"type": "error", "error": {"message": "No."}}', "it has no content"),
        (b'{"id": "m", "content": "text"}', "it is not of the type of an answer"),
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes, reason: str) -> None:
    """SDKs take it for an empty answer, so it must become an error."""
    assert MESSAGES.read_answer(body).malformed == reason


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        ({"input_tokens": 27, "output_tokens": 1}, Usage(27, output_tokens=1)),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 30},
            Usage(1, cache_write_tokens=30, output_tokens=1),
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 1,
                "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 8},
            },
            Usage(1, cache_write_tokens=7, cache_write_1h_tokens=8, output_tokens=1),
        ),
        (
            {
                "input_tokens": 1,
                "output_tokens": 90,
                "output_tokens_details": {"thinking_tokens": 80},
                "cost": 0.0015,
            },
            Usage(1, output_tokens=90, reasoning_tokens=80, billed_cost_micro_usd=1500),
        ),
        ({"input_tokens": -5, "output_tokens": 2, "cost": "x"}, Usage(0, output_tokens=2)),
        ({"input_tokens": 0, "output_tokens": 0, "iterations": []}, Usage()),
        ({"output_tokens": 1, "cost": -1}, Usage(output_tokens=1)),
        ({"input_tokens": None}, None),
        ({"input_tokens": "many"}, None),
        ({}, None),
    ],
)
def test_usage_is_split_into_disjoint_classes(sent: dict[str, object], usage: Usage | None) -> None:
    """Anthropic's `input_tokens` leaves the cache out already; absent is not nought."""
    assert usage_of(**sent) == usage


def test_every_iteration_is_billed() -> None:
    """The figures beside the list are those of a part of it."""
    iterations = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000},
    ]

    usage = usage_of(input_tokens=23_000, output_tokens=1_000, iterations=iterations)

    each = (Usage(180_000, output_tokens=3_500), Usage(23_000, output_tokens=1_000))
    assert usage == Usage(203_000, output_tokens=4_500, extras=Extras(iterations=each))


def test_one_iteration_is_the_whole_call() -> None:
    only = {"type": "message", "input_tokens": 5, "output_tokens": 1}

    assert usage_of(input_tokens=5, output_tokens=1, iterations=[only]) == Usage(5, output_tokens=1)


@pytest.mark.parametrize(
    ("sent", "extras"),
    [
        ({"service_tier": "standard", "inference_geo": "not_available", "speed": "standard"}, None),
        ({"server_tool_use": {"web_search_requests": 3}}, Extras(web_searches=3)),
        ({"server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 2}}, None),
        ({"server_tool_use": "odd", "service_tier": 7, "speed": [], "inference_geo": {}}, None),
        (
            {"service_tier": "priority", "inference_geo": "us", "speed": "fast"},
            Extras(terms=("priority", "speed:fast", "geo:us")),
        ),
    ],
)
def test_how_the_call_was_served_is_read_beside_its_tokens(
    sent: dict[str, object], extras: Extras | None
) -> None:
    """Each is billed apart; what is odd costs us no figure beside it."""
    usage = usage_of(input_tokens=1, output_tokens=2, **sent)

    assert usage == Usage(1, output_tokens=2, extras=extras)


def test_openrouters_bill_is_read_with_the_callers_own_key() -> None:
    """Its cost is a fee then, beside what the provider bills."""
    bill = {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}

    usage = usage_of(input_tokens=1, output_tokens=2, **bill)

    assert usage is not None
    assert usage.billed_cost_micro_usd == 210_000


@law
@given(json_values)
def test_no_json_breaks_the_reader(value: object) -> None:
    """A hostile provider is malformed at worst."""
    for body in (value, {"content": value}, {"content": [value], "usage": value, "id": value}):
        MESSAGES.read_answer(json.dumps(body).encode())
