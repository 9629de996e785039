"""What the Responses dialect writes."""

import json

import pytest

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES
from proxy.core.sse import SseSplitter
from tests.unit.core.dialects.metering import Json, metered

REFUSAL = Refusal(
    422,
    "budget_exceeded",
    "session_limit",
    "Session s1 has spent $2.00 of $2.00.",
    LimitFacts("s1", "cost_usd", maximum=2.0, used=2.0, checkpoint="s1@7"),
)
REQUEST = RESPONSES.parse(b'{"model": "m", "input": "Hi", "max_output_tokens": 9}', Bounds())


def events(stream: bytes) -> list[tuple[str, Json]]:
    return [(one.name.decode(), json.loads(one.data)) for one in SseSplitter(10**6).feed(stream)]


def test_a_refusal_is_an_openai_error() -> None:
    """SDKs show `message` and expose the rest."""
    error = json.loads(RESPONSES.render_refusal(REFUSAL, "req_1"))["error"]

    assert error["message"] == REFUSAL.message
    assert error["code"] == "budget_exceeded"
    assert error["holdfast"]["checkpoint"] == "s1@7"


@pytest.mark.parametrize(
    ("client", "code"),
    [
        ("OpenAI/Python 3.54.0", "budget_exceeded"),
        ("codex_exec/0.169.0 (Debian)", "invalid_prompt"),
        ("Codex_CLI_rs/0.170", "invalid_prompt"),
    ],
)
def test_a_stream_ends_with_a_failed_response_and_an_error(client: str, code: str) -> None:
    """Typed readers end on the first, others raise on the second; Codex retries any other code."""
    (first, failed), (second, error) = events(
        RESPONSES.error_frames(REFUSAL, "req_1", client=client)
    )

    assert (first, second) == ("response.failed", "error")
    assert failed["type"] == first
    assert failed["response"]["id"] == "resp_req_1"  # type: ignore[index]  # JSON
    assert failed["response"]["status"] == "failed"  # type: ignore[index]  # JSON
    assert failed["response"]["error"] == {"code": code, "message": REFUSAL.message}  # type: ignore[index]  # JSON
    assert error["type"] == second
    assert error["error"]["code"] == "budget_exceeded"  # type: ignore[index]  # JSON
    assert error["message"] == REFUSAL.message
    assert failed["sequence_number"] < error["sequence_number"]  # type: ignore[operator]  # JSON


def test_the_failed_response_is_the_one_that_began() -> None:
    """openai-python's `stream()` breaks on another id before it reads the error."""
    frames = RESPONSES.error_frames(REFUSAL, "req_1", client="", response_id="resp_9")

    assert events(frames)[0][1]["response"]["id"] == "resp_9"  # type: ignore[index]  # JSON


def test_our_own_error_frames_are_metered_as_a_failure() -> None:
    """One sidecar may stand behind another."""
    meter = metered(RESPONSES, [RESPONSES.error_frames(REFUSAL, "req_1", client="")])

    assert meter.ended
    assert meter.failed == REFUSAL.message


def test_a_text_is_a_whole_response() -> None:
    """What the API's own answers always have is there: typed SDKs construct models from it."""
    body = json.loads(RESPONSES.render_text("I need help.", REQUEST, "resp_7", 1_800_000_000))

    assert body["id"] == "resp_7"
    assert body["object"] == "response"
    assert body["status"] == "completed"
    assert body["model"] == "m"
    assert body["created_at"] == 1_800_000_000
    assert body["max_output_tokens"] == 9
    assert body["usage"]["total_tokens"] == 0
    assert body["output"][0]["id"] == "msg_7"
    read = RESPONSES.read_answer(json.dumps(body).encode())
    assert (read.answer.text, read.malformed) == ("I need help.", None)


def test_a_streamed_text_is_a_whole_sequence_of_events() -> None:
    """In the API's own order, numbered without a gap."""
    stream = RESPONSES.stream_text("I need help.", REQUEST, "7", 1_800_000_000)

    assert [name for name, _ in events(stream)] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for _, event in events(stream)] == list(range(9))
    assert all(name == event["type"] for name, event in events(stream))
    whole = json.loads(RESPONSES.render_text("I need help.", REQUEST, "7", 1_800_000_000))
    assert events(stream)[-1][1]["response"] == whole
    meter = metered(RESPONSES, [stream])
    assert meter.ended
    assert meter.answer().text == "I need help."


def test_an_empty_text_has_no_delta() -> None:
    """A delta that says nothing is never sent by the API."""
    stream = RESPONSES.stream_text("", REQUEST, "7", 0)

    assert "response.output_text.delta" not in [name for name, _ in events(stream)]
    assert metered(RESPONSES, [stream]).ended
