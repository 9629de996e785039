"""A provider's error in the shape and the words of the client's dialect.

Clients act on types and codes: agents shorten their history where a prompt is too long, wait where
a rate is limited, and stop where a key is wrong. So those are translated, and the message is kept,
unless it is no message (HTML, a traceback).

The types: https://docs.claude.com/en/api/errors and
https://platform.openai.com/docs/guides/error-codes (read 2026-11-30).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from proxy.core.dialects.reported import member, text_or_none
from proxy.core.sse import encode_frame
from proxy.core.translation.json_values import Json

_MESSAGE_CHARACTERS = 2000
_KIND_CHARACTERS = 64
TOO_LONG = re.compile(
    r"prompt is too long|context[_ ](?:length|window|size)|exceed(?:s|ed)? (?:the )?context", re.I
)
"""How providers say so, llama.cpp among them (the available context size)."""
TOO_LONG_CODE, _TOO_LONG_WORDS = "context_length_exceeded", "prompt is too long"
_MARKUP = re.compile(r"\s*<|.*<(?:html|body|!doctype)", re.I | re.S)

_BY_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_IN_CHAT: Mapping[str, tuple[str, str | None]] = {
    "invalid_request_error": ("invalid_request_error", None),
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "permission_error": ("invalid_request_error", "insufficient_permissions"),
    "not_found_error": ("invalid_request_error", "model_not_found"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": ("server_error", "timeout"),
    "api_error": ("server_error", None),
    "overloaded_error": ("server_error", "overloaded"),
}
_IN_MESSAGES: Mapping[str, str] = {
    "insufficient_quota": "billing_error",
    "invalid_api_key": "authentication_error",
    "model_not_found": "not_found_error",
    "rate_limit_exceeded": "rate_limit_error",
    "server_error": "api_error",
    "timeout": "timeout_error",
    "overloaded": "overloaded_error",
    "server_overloaded": "overloaded_error",
    **{kind: kind for kind in _IN_CHAT},
}


class Told(NamedTuple):
    """An error as it was told: "" for what it does not say."""

    message: str
    kind: str = ""
    code: str = ""
    param: str = ""


def chat_error(status: int, body: bytes) -> bytes:
    """An error answer of a Messages API as one of chat."""
    return msgspec.json.encode({"error": _chat(read_error(body), status)})


def messages_error(status: int, body: bytes) -> bytes:
    """An error answer of chat as one of the Messages API."""
    return msgspec.json.encode({"type": "error", "error": _messages(read_error(body), status)})


def chat_error_frame(error: bytes | msgspec.Raw) -> bytes:
    """What ends a chat stream in which a Messages API told of an error: its `error` member."""
    told = {"type": "error", "error": _chat(read_error(error), 0)}
    return encode_frame(msgspec.json.encode(told), "error")


def messages_error_frame(error: bytes | msgspec.Raw) -> bytes:
    """What ends a messages stream in which a provider of chat told of an error."""
    told = {"type": "error", "error": _messages(read_error(error), 0)}
    return encode_frame(msgspec.json.encode(told), "error")


def _chat(told: Told, status: int) -> Json:
    kind = told.kind or _kind_of(status)
    named, code = _IN_CHAT.get(kind, (kind, told.code or None))
    if TOO_LONG.search(told.message) and kind in ("invalid_request_error", "request_too_large"):
        code = TOO_LONG_CODE
    return {"message": _worded(told, status), "type": named, "param": None, "code": code}


def _messages(told: Told, status: int) -> Json:
    """The code says more than the type, and the status more than a type that is not known."""
    message = _worded(told, status)
    if told.code == TOO_LONG_CODE or TOO_LONG.search(told.message):
        if _TOO_LONG_WORDS not in message:
            message = f"{_TOO_LONG_WORDS}: {message}"
        return {"type": "invalid_request_error", "message": message}
    number = status or (int(told.code) if told.code.isdecimal() else 0)
    kind = _IN_MESSAGES.get(told.code) or _BY_STATUS.get(number) or _IN_MESSAGES.get(told.kind)
    return {"type": kind or _kind_of(number), "message": message}


def _kind_of(status: int) -> str:
    known = _BY_STATUS.get(status)
    return known or ("invalid_request_error" if 400 <= status < 500 else "api_error")


def _worded(told: Told, status: int) -> str:
    if told.message:
        return told.message
    return f"The provider answered with status {status}." if status else "The provider failed."


def read_error(body: bytes | msgspec.Raw) -> Told:
    """Whatever a provider tells as an error: an object in an object as a rule, or in a list
    (Gemini), or flat (Mistral), or a text."""
    try:
        told: object = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return Told(_said(bytes(body).decode("utf-8", "replace")))
    if isinstance(told, list) and told:
        told = told[0]
    inner = member(told, "error")
    error = inner if isinstance(inner, dict | str) else told
    if isinstance(error, str):
        return Told(_said(error))
    message = member(error, "message") or member(error, "detail") or member(error, "msg")
    if message is not None and not isinstance(message, str):
        message = msgspec.json.encode(message).decode()
    kind, code, param = (_word(member(error, key)) for key in ("type", "code", "param"))
    return Told(_said(message or ""), kind, code, param)


def _said(text: str) -> str:
    text = text.strip()
    return "" if _MARKUP.match(text) else text[:_MESSAGE_CHARACTERS]


def _word(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:_KIND_CHARACTERS]
    word = text_or_none(value) or ""
    return "" if word == "error" else word[:_KIND_CHARACTERS]
