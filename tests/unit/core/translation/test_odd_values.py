"""Any value at any place of requests, answers, events and errors: nothing raises."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.request import DialectName
from proxy.core.translation.base import Translation, Untranslatable
from proxy.core.translation.registry import translation
from tests.unit.core.dialects.metering import law, pieces
from tests.unit.core.translation.test_streams import STOP, block, chunk, delta, end, part, start

PAIRS: list[tuple[DialectName, DialectName]] = [
    ("chat", "messages"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("responses", "messages"),
]
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"q":1}'}}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {"q": 1}}
SCHEMA: Any = {"type": "object", "properties": {"q": {}}, "required": ["q"]}
SCHEMA["additionalProperties"] = False
REQUESTS: dict[str, Any] = {
    "chat": {
        "model": "m",
        "max_tokens": 5,
        "stop": ["a"],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}]},
        ],
    },
    "messages": {
        "model": "m",
        "max_tokens": 5,
        "metadata": {"user_id": "u"},
        "tools": [{"name": "f", "strict": True, "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "thinking", "signature": "s"}, USE]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
        ],
    },
    "responses": {
        "model": "m",
        "instructions": "i",
        "max_output_tokens": 5,
        "tools": [{"type": "custom", "name": "p", "format": {"type": "grammar"}}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "t"}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text"}]},
        ],
    },
}
USED = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}
SAID = {"content": [THOUGHT, {"type": "text", "text": "x"}], "tool_calls": [CALL], "refusal": None}
STREAMS: dict[str, list[Any]] = {
    "chat": [
        chunk({"role": "assistant", "content": ""}, x_groq={"usage": None}),
        chunk(SAID | {"tool_calls": []}),
        chunk(part(0, '{"input":"q', "p", id="a")),
        chunk(part(0, '"}')),
        chunk({}, "tool_calls", usage=USED),
    ],
    "messages": [
        start(),
        block(0, type="text", text=""),
        delta(0, type="text_delta", text="h"),
        {"type": "content_block_stop", "index": 0},
        block(1, **USE | {"input": {}}),
        delta(1, type="input_json_delta", partial_json='{"q":1}'),
        end("tool_use", output_tokens=5, input_tokens=9),
        STOP,
    ],
}
ANSWERS: dict[str, Any] = {
    "chat": {"id": "c", "choices": [{"message": SAID, "finish_reason": "stop"}], "usage": USED},
    "messages": {"id": "m", "content": [{"type": "text", "text": "h"}, USE], "usage": {"a": 1}},
}
ERROR = {"type": "error", "error": {"type": "t", "message": "m", "code": "c", "param": None}}
SCALARS: list[Any] = [None, True, 0, -1, 10**30, 1e308, "", "x", "\ud800", "[DONE]", "error"]
HOLDERS: list[Any] = [[], {}, [None], [[]], [[1]], ["a", 1], {"error": 1}, {"type": "text"}]
odd = st.sampled_from([*SCALARS, *HOLDERS])
places = st.lists(st.tuples(st.integers(0, 10**6), odd), min_size=1, max_size=3)
cuts = st.lists(st.integers(0, 10**6), max_size=12)
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=" via ".join)


def between(pair: tuple[DialectName, DialectName]) -> Translation:
    found = translation(*pair)
    assert found is not None
    return found


def asked(client: str) -> bytes:
    return json.dumps(REQUESTS[client]).encode()


def spoilt(told: Any, at: list[tuple[int, Any]]) -> Any:
    """With other values at these places, counted through all that is in it."""
    told = copy.deepcopy(told)
    for number, value in at:
        inside = list(_places(told))
        if inside:
            holder, key = inside[number % len(inside)]
            holder[key] = copy.deepcopy(value)
    return told


def _places(told: Any) -> Any:
    for key in list(told) if isinstance(told, dict) else range(len(told)):
        yield told, key
        if isinstance(told[key], dict | list):
            yield from _places(told[key])


@every_pair
@law
@given(at=places)
def test_a_request_is_translated_or_said_not_to_be(
    pair: tuple[DialectName, DialectName], at: list[tuple[int, Any]]
) -> None:
    body = json.dumps(spoilt(REQUESTS[pair[0]], at)).encode()
    try:
        told = between(pair).request(body, output_bound=9)
    except Untranslatable:
        return
    assert json.loads(told)["model"] is not None


@every_pair
@law
@given(at=places, cut_at=cuts, breaks_off=st.integers(0, 10**6))
def test_a_stream_never_raises_and_is_the_same_however_it_is_cut(
    pair: tuple[DialectName, DialectName],
    at: list[tuple[int, Any]],
    cut_at: list[int],
    breaks_off: int,
) -> None:
    told = spoilt(STREAMS[pair[1]], at)
    stream = b"".join([b"data: %b\n\n" % json.dumps(one).encode() for one in told])
    stream = (stream + b"data: [DONE]\n\n")[: breaks_off % (2 * len(stream))]
    ways = []
    for chunks in ([stream], pieces(stream, cut_at)):
        way = between(pair).stream(asked(pair[0]), created=7)
        ways.append(b"".join([way.feed(one) for one in chunks]) + way.close())

    assert ways[0] == ways[1]


@every_pair
@law
@given(at=places, status=st.sampled_from([400, 401, 404, 429, 500, 529]))
def test_answers_and_errors_never_raise(
    pair: tuple[DialectName, DialectName], at: list[tuple[int, Any]], status: int
) -> None:
    way, spoken = between(pair), pair[1]
    way.answer(json.dumps(spoilt(ANSWERS[spoken], at)).encode(), asked=asked(pair[0]), created=7)
    json.loads(way.error(status, json.dumps(spoilt(ERROR, at)).encode()))
