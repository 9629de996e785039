"""What `holdfast sessions show --step` says of a message."""

import pytest

from proxy.admin.shapes import Json
from proxy.cli.session_text import difference_text

CALL: Json = {"id": "c1", "type": "function", "function": {"name": "see", "arguments": '{"q":1}'}}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"role": "user", "content": "hi"}, "user       hi"),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, 'assistant  see({"q":1})'),
        ({"role": "assistant", "tool_calls": [CALL]}, 'assistant  see({"q":1})'),
        (
            {"type": "function_call", "call_id": "c1", "name": "see", "arguments": '{"q":1}'},
            'function_call see({"q":1})',
        ),
        (
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            "function_call_output rain",
        ),
        (
            {"type": "function_call_output", "output": [{"type": "input_text", "text": "rain"}]},
            "function_call_output rain",
        ),
        (
            {"role": "user", "content": [{"type": "tool_result", "content": "rain"}]},
            "user       rain",
        ),
        (
            {"role": "user", "content": [{"content": [{"type": "text", "text": "rain"}]}]},
            "user       rain",
        ),
        ({"role": "user", "content": ""}, "user       "),
        ({"type": "compaction", "id": "x"}, 'compaction {"type": "compaction", "id": "x"}'),
        ("a prompt", "a prompt"),
    ],
)
def test_a_message_is_told_by_who_speaks_and_what(message: Json, shown: str) -> None:
    """Not as the JSON it came in, where it says something."""
    came: Json = {"change": "added", "was": None, "at": 0, "paths": [], "before": None}
    assert isinstance(came, dict)
    found: dict[str, Json] = {
        "from": 1,
        "to": 2,
        "same": 0,
        "messages": [{**came, "after": message}],
        "tools": [],
        "parameters": [],
    }
    assert difference_text(found).splitlines()[1] == f"+ [0] {shown}"
