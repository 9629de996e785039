"""Why an answer ended, in the words of chat and of messages.

A call that the client is to make must be found: agents look at the reason, not at the calls. So it
says so where there are calls, whatever the provider said (some say "stop"), unless it was cut off.
"""

from collections.abc import Mapping

_IN_CHAT: Mapping[object, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # not at its end either
    "refusal": "content_filter",
}
_IN_MESSAGES: Mapping[object, str] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def chat_finish(stop_reason: object, *, calls: bool) -> str:
    """`finish_reason` for a `stop_reason`; one that nobody knows is an end like any other."""
    told = _IN_CHAT.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"
    if told in ("stop", "tool_calls"):
        return "tool_calls" if calls else "stop"
    return told


def messages_stop(finish_reason: object, *, calls: bool) -> str:
    """`stop_reason` for a `finish_reason`."""
    told = _IN_MESSAGES.get(finish_reason, "end_turn") if isinstance(finish_reason, str) else ""
    if told in ("", "end_turn", "tool_use"):
        return "tool_use" if calls else "end_turn"
    return told
