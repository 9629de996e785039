"""The results of tool calls as their dialect writes them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName

PARTS = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}]


def contents(dialect: DialectName, body: object) -> dict[str, object]:
    found = DIALECTS[dialect].result_contents(json.dumps(body).encode())
    return {call_id: json.loads(content) for call_id, content in found.items()}


def test_parts_are_kept_as_they_were_and_plain_texts_are_not() -> None:
    said = [
        {"role": "tool", "tool_call_id": "a", "content": PARTS},
        {"role": "tool", "tool_call_id": "b", "content": "text"},
        {"role": "user", "content": PARTS},
    ]

    assert contents("chat", {"messages": said}) == {"a": PARTS}


def test_each_dialect_has_them_where_it_has_them() -> None:
    block = {"type": "tool_result", "tool_use_id": "a", "content": PARTS}
    item = {"type": "function_call_output", "call_id": "a", "output": PARTS}

    said = [{"role": "user", "content": [PARTS[0], block]}]
    assert contents("messages", {"messages": said}) == {"a": PARTS}
    assert contents("responses", {"input": [item]}) == {"a": PARTS}


def test_of_one_id_the_newest_counts() -> None:
    said = [{"role": "tool", "tool_call_id": "a", "content": [n]} for n in (1, 2)]

    assert contents("chat", {"messages": said}) == {"a": [2]}


@pytest.mark.parametrize(
    "body", [[], {}, {"messages": 7}, {"messages": [7]}, {"messages": [{"role": 7}]}]
)
def test_what_is_none_has_none(body: object) -> None:
    assert contents("chat", body) == {}


@given(st.binary(max_size=200), st.sampled_from(sorted(DIALECTS)))
def test_bytes_are_never_an_error(body: bytes, dialect: DialectName) -> None:
    DIALECTS[dialect].result_contents(b'{"messages":' + body)
    DIALECTS[dialect].result_contents(b'{"input":' + body)
