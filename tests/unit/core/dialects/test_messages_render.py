"""What the Messages dialect writes."""

import json

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES
from proxy.core.sse import SseSplitter
from tests.unit.core.dialects.metering import Json, metered

REFUSAL = Refusal(
    422, "session_killed", "session_state", "Session s1 was killed.", LimitFacts("s1")
)
REQUEST = MESSAGES.parse(b'{"model": "m", "max_tokens": 9, "messages": []}', Bounds())


def events(stream: bytes) -> list[tuple[str, Json]]:
    return [(one.name.decode(), json.loads(one.data)) for one in SseSplitter(10**6).feed(stream)]


def test_a_refusal_is_an_anthropic_error() -> None:
    """SDKs read `error.type` and `request_id`."""
    body = json.loads(MESSAGES.render_refusal(REFUSAL, "req_1"))

    assert body["type"] == "error"
    assert body["request_id"] == "req_1"
    assert body["error"]["type"] == "session_state"
    assert body["error"]["code"] == "session_killed"
    assert body["error"]["message"] == REFUSAL.message
    assert body["error"]["holdfast"]["session"] == "s1"


def test_a_stream_ends_with_one_error_frame() -> None:
    """The only frame that both Anthropic SDKs raise on."""
    ((name, event),) = events(MESSAGES.error_frames(REFUSAL, "req_1", client="claude-cli/2.1"))

    assert name == event["type"] == "error"
    assert event["error"]["message"] == REFUSAL.message  # type: ignore[index]  # JSON
    assert event["request_id"] == "req_1"


def test_our_own_error_frame_is_metered_as_a_failure() -> None:
    """One sidecar may stand behind another."""
    meter = metered(MESSAGES, [MESSAGES.error_frames(REFUSAL, "req_1", client="")])

    assert meter.failed == REFUSAL.message


def test_a_text_is_a_whole_message() -> None:
    """What the API's own answers always have is there."""
    body = json.loads(MESSAGES.render_text("I need help.", REQUEST, "7", 0))

    assert body["id"] == "msg_7"
    assert body["type"] == "message"
    assert body["role"] == "assistant"
    assert body["model"] == "m"
    assert body["content"] == [{"type": "text", "text": "I need help."}]
    assert body["stop_reason"] == "end_turn"
    assert body["usage"]["output_tokens"] == 0


def test_a_streamed_text_is_a_whole_sequence_of_events() -> None:
    """In the API's own order."""
    stream = MESSAGES.stream_text("I need help.", REQUEST, "msg_7", 0)

    assert [name for name, _ in events(stream)] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(name == event["type"] for name, event in events(stream))
    meter = metered(MESSAGES, [stream])
    assert meter.ended
    assert meter.finish_seen
    answer = meter.answer()
    assert (answer.text, answer.response_id) == ("I need help.", "msg_7")
    assert answer.finish_reason == "end_turn"
