"""Errors as each provider words them: bodies for a status, and events inside a stream."""

import msgspec

from proxy.simulator.conversation import Dialect, Rejected

_HTML = (
    b"<html>\r\n<head><title>%d Error</title></head>\r\n<body>\r\n<center><h1>%d Error</h1>"
    b"</center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
_OPENAI = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: invalid."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Not allowed here."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
_OPENAI_SERVER_ERROR = (
    "server_error",
    None,
    "The server had an error while processing your request. Sorry about that!",
)
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ANTHROPIC_TEXTS = {429: "This request would exceed your rate limit.", 529: "Overloaded"}


def rejection(dialect: Dialect, rejected: Rejected, request_id: str) -> bytes:
    """The error body for a request that the provider refuses."""
    if dialect == "messages":
        return _anthropic(rejected.status, rejected.message, request_id)
    return _openai(rejected.message, rejected.type, rejected.param, rejected.code)


def failure(dialect: Dialect, status: int, message: str, code: str, request_id: str) -> bytes:
    """The error body of a provider that fails with `status`; empty texts: the provider's usual."""
    if dialect == "messages":
        text = message or _ANTHROPIC_TEXTS.get(status, "Internal server error")
        return _anthropic(status, text, request_id)
    kind, usual_code, usual = _OPENAI.get(status, _OPENAI_SERVER_ERROR)
    if code:
        kind = code if code == "insufficient_quota" else kind
    return _openai(message or usual, kind, None, code or usual_code)


def html(status: int) -> bytes:
    """What a load balancer in front of a provider sends."""
    return _HTML % (status, status)


def stream_error(dialect: Dialect, message: str, code: str, sequence: int) -> bytes:
    """The provider's own error event, after a part of the answer."""
    text = message or "The server had an error while processing your request."
    if dialect == "messages":
        kind = code or "overloaded_error"
        error: object = {
            "type": "error",
            "error": {"type": kind, "message": message or "Overloaded"},
        }
        return b"event: error\ndata: " + msgspec.json.encode(error) + b"\n\n"
    if dialect == "responses":
        flat = {
            "type": "error",
            "code": code or "server_error",
            "message": text,
            "param": None,
            "sequence_number": sequence,
        }
        return b"event: error\ndata: " + msgspec.json.encode(flat) + b"\n\n"
    body = {"error": {"message": text, "type": "server_error", "param": None, "code": code or None}}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def stream_failure(
    dialect: Dialect, message: str, code: str, sequence: int, response_id: str
) -> bytes:
    """The same in the other form in use: OpenAI's `response.failed`, and the `event: error` that
    Groq's own SDK waits for in a chat stream. Anthropic has one form only.

    https://github.com/groq/groq-python/pull/119 (read 2026-11-30)
    """
    if dialect == "chat":
        return b"event: error\n" + stream_error(dialect, message, code, sequence)
    if dialect == "messages":
        return stream_error(dialect, message, code, sequence)
    text = message or "The server had an error while processing your request."
    failed = {
        "type": "response.failed",
        "sequence_number": sequence,
        "response": {
            "id": response_id,
            "object": "response",
            "status": "failed",
            "error": {"code": code or "server_error", "message": text},
            "output": [],
            "usage": None,
        },
    }
    return b"event: response.failed\ndata: " + msgspec.json.encode(failed) + b"\n\n"


def _openai(message: str, kind: str, param: str | None, code: str | None) -> bytes:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.format(msgspec.json.encode({"error": error}), indent=2)


def _anthropic(status: int, message: str, request_id: str) -> bytes:
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error = {"type": kind, "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
