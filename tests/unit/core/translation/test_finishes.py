"""Why an answer ended, told to who speaks another dialect."""

import pytest

from proxy.core.translation.finishes import chat_finish, messages_stop


@pytest.mark.parametrize(
    ("told", "without", "with_calls"),
    [
        ("end_turn", "stop", "tool_calls"),
        ("stop_sequence", "stop", "tool_calls"),
        ("tool_use", "stop", "tool_calls"),
        ("max_tokens", "length", "length"),
        ("model_context_window_exceeded", "length", "length"),
        ("pause_turn", "length", "length"),
        ("refusal", "content_filter", "content_filter"),
        ("compaction", "stop", "tool_calls"),
        (None, "stop", "tool_calls"),
        (["odd"], "stop", "tool_calls"),
    ],
)
def test_a_stop_reason_in_chat(told: object, without: str, with_calls: str) -> None:
    """A pause is no end, and calls must be found, whatever was said."""
    assert chat_finish(told, calls=False) == without
    assert chat_finish(told, calls=True) == with_calls


@pytest.mark.parametrize(
    ("told", "without", "with_calls"),
    [
        ("stop", "end_turn", "tool_use"),
        ("tool_calls", "end_turn", "tool_use"),
        ("function_call", "end_turn", "tool_use"),
        ("length", "max_tokens", "max_tokens"),
        ("content_filter", "refusal", "refusal"),
        ("eos", "end_turn", "tool_use"),
        (None, "end_turn", "tool_use"),
        (["odd"], "end_turn", "tool_use"),
    ],
)
def test_a_finish_reason_in_messages(told: object, without: str, with_calls: str) -> None:
    assert messages_stop(told, calls=False) == without
    assert messages_stop(told, calls=True) == with_calls
