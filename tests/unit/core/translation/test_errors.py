"""A provider's errors, in the words that the client's SDK and agent know."""

import json
from typing import Any

import pytest

from proxy.core.translation.errors import (
    chat_error,
    chat_error_frame,
    messages_error,
    messages_error_frame,
)


def anthropic(kind: str, message: str = "m") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def openai(message: str = "m", **told: Any) -> bytes:
    return json.dumps({"error": {"message": message, **told}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, anthropic("invalid_request_error"), "invalid_request_error", None),
        (401, anthropic("authentication_error"), "invalid_request_error", "invalid_api_key"),
        (402, anthropic("billing_error"), "insufficient_quota", "insufficient_quota"),
        (403, anthropic("permission_error"), "invalid_request_error", "insufficient_permissions"),
        (404, anthropic("not_found_error"), "invalid_request_error", "model_not_found"),
        (413, anthropic("request_too_large"), "invalid_request_error", "request_too_large"),
        (429, anthropic("rate_limit_error"), "rate_limit_error", "rate_limit_exceeded"),
        (500, anthropic("api_error"), "server_error", None),
        (504, anthropic("timeout_error"), "server_error", "timeout"),
        (529, anthropic("overloaded_error"), "server_error", "overloaded"),
        (400, anthropic("a_new_error"), "a_new_error", None),
        (529, b"", "server_error", "overloaded"),
        (418, b"", "invalid_request_error", None),
        (599, b"", "server_error", None),
        (
            400,
            anthropic("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            "invalid_request_error",
            "context_length_exceeded",
        ),
    ],
)
def test_an_error_of_messages_in_chat(
    status: int, body: bytes, kind: str, code: str | None
) -> None:
    told = json.loads(chat_error(status, body))["error"]

    assert (told["type"], told["code"], told["param"]) == (kind, code, None)
    assert told["message"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai(type="invalid_request_error"), "invalid_request_error"),
        (401, openai(type="invalid_request_error", code="invalid_api_key"), "authentication_error"),
        (402, openai(code=402), "billing_error"),
        (403, openai(), "permission_error"),
        (404, openai(code="model_not_found"), "not_found_error"),
        (408, openai(), "timeout_error"),
        (413, openai(), "request_too_large"),
        (429, openai(type="tokens", code="rate_limit_exceeded"), "rate_limit_error"),
        (429, openai(type="insufficient_quota", code="insufficient_quota"), "billing_error"),
        (500, openai(type="server_error"), "api_error"),
        (503, openai(type="server_error"), "overloaded_error"),
        (504, openai(), "timeout_error"),
        (422, openai(), "invalid_request_error"),
        (418, openai(type="rate_limit_error"), "rate_limit_error"),
        (502, b"", "api_error"),
        (400, openai(code="context_length_exceeded"), "invalid_request_error"),
    ],
)
def test_an_error_of_chat_in_messages(status: int, body: bytes, kind: str) -> None:
    told = json.loads(messages_error(status, body))

    assert (told["type"], told["error"]["type"]) == ("error", kind)
    assert told["error"]["message"]


@pytest.mark.parametrize(
    "told",
    [
        openai("This model's maximum context length is 8 tokens.", code="context_length_exceeded"),
        openai("the request exceeds the context size"),
        openai("request (26315 tokens) exceeds the available context size (4096 tokens)"),
    ],
)
def test_agents_are_told_that_a_prompt_is_too_long_in_their_words(told: bytes) -> None:
    """Claude Code shortens its history where it reads this."""
    message = json.loads(messages_error(400, told))["error"]["message"]

    assert message.startswith("prompt is too long: ")


def test_words_that_are_there_are_not_said_twice() -> None:
    message = "prompt is too long: 9 > 8"

    assert json.loads(messages_error(400, openai(message)))["error"]["message"] == message


def test_a_long_prompt_in_another_error_is_none() -> None:
    """An overloaded provider may mention it."""
    told = json.loads(chat_error(529, anthropic("overloaded_error", "context window of many")))

    assert told["error"]["code"] == "overloaded"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><body>502 Bad Gateway</body></html>", "The provider answered with status 502."),
        (b" <!DOCTYPE html>", "The provider answered with status 502."),
        (b"oops <HTML>", "The provider answered with status 502."),
        (openai("<html>x</html>"), "The provider answered with status 502."),
        (b"", "The provider answered with status 502."),
        (b"{}", "The provider answered with status 502."),
        (b"[]", "The provider answered with status 502."),
        (b"7", "The provider answered with status 502."),
        (b"no healthy upstream", "no healthy upstream"),
        (b'"a text"', "a text"),
        (b'{"error": "a text"}', "a text"),
        (b'[{"error": {"code": 400, "message": "Gemini"}}]', "Gemini"),
        (b'{"message": "Mistral", "type": "t"}', "Mistral"),
        (b'{"detail": [{"loc": 1}]}', '[{"loc":1}]'),
        (b'{"error": {"msg": "m"}}', "m"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (openai("x" * 3000), "x" * 2000),
        (b"[" * 100_000, "[" * 2000),
    ],
)
def test_the_message_is_kept_unless_it_is_none(body: bytes, message: str) -> None:
    assert json.loads(chat_error(502, body))["error"]["message"] == message
    assert json.loads(messages_error(502, body))["error"]["message"] == message


def test_in_a_stream_the_error_stands_in_the_frame_that_every_sdk_raises_on() -> None:
    """See docs: without the event's name Anthropic's clients pass it over, without the inner
    object OpenAI's do."""
    inner = b'{"type": "overloaded_error", "message": "busy"}'
    chat = b'{"error": {"message": "busy", "code": 429}}'

    assert chat_error_frame(inner) == (
        b'event: error\ndata: {"type":"error","error":{"message":"busy","type":"server_error",'
        b'"param":null,"code":"overloaded"}}\n\n'
    )
    assert messages_error_frame(chat) == (
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error",'
        b'"message":"busy"}}\n\n'
    )
    assert b"The provider failed." in chat_error_frame(b"{}")


@pytest.mark.parametrize("code", [True, {"a": 1}, "x" * 200])
def test_an_odd_code_does_no_harm(code: object) -> None:
    told = json.loads(messages_error(400, openai(code=code)))

    assert told["error"]["type"] == "invalid_request_error"
