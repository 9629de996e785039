"""What cannot be read here, and whether a client might find a call in it."""

import pytest

from proxy.core.dialects.unread import may_be_a_call


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [{"delta": {"tool_calls": [{"id": 7}]}}]}',
        b'{"choices": [{"delta": {"function_call": {"name": "\\ud83d"}}}]}',
        b'{"choices": [{"delta": {"tool\\u005fcalls": [{"index": "0"}]}}]}',
        b'{"type": "content_block_start", "content_block": {"type": "tool_use", "id": 7}}',
        b'{"index": "1", "delta": {"partial_json": "{}"}}',
        b'{"type": "response.function_call_arguments.delta", "delta": 3}',
        b'{"item": {"type": "custom_tool_call", "call_id": 7}}',
        b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_a_client_might_find_a_call(data: bytes) -> None:
    assert may_be_a_call(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ping",
        b'{"choices": [{"delta": {"tool_calls": [{"id": ',
        b'{"choices": [{"delta": {"content": "\\ud83d", "tool_calls": []}}]}',
        b'{"choices": [{"delta": {"tool_calls": 3}}]}',
        b'{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "tool_use"}}',
        b'{"type": 7, "text": ["a call", {"tool": "call"}]}',
        b"[]",
    ],
)
def test_there_is_no_call_in_it(data: bytes) -> None:
    assert not may_be_a_call(data)
