"""Errors of chat as responses tell them: in the same shape, whatever the provider's was."""

import msgspec

from proxy.core.translation.errors import TOO_LONG, TOO_LONG_CODE, Told, read_error
from proxy.core.translation.json_values import Json

_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota", TOO_LONG_CODE})
"""On which clients act. All else is told as `server_error`: a failed response knows few codes."""


def error_of(status: int, body: bytes) -> bytes:
    """An error answer. Never quotes markup, never raises."""
    told = read_error(body)
    error: Json = {
        "message": told.message or f"The provider answered with status {status}.",
        "type": told.kind or ("invalid_request_error" if status < 500 else "server_error"),
        "param": told.param or None,
        "code": _code(told) or None,
    }
    return msgspec.json.encode({"error": error})


def failure_of(error: bytes) -> Json:
    """code and message of an error that was told in a stream."""
    told = read_error(error)
    code = _code(told)
    return {
        "code": code if code in _CODES else "server_error",
        "message": told.message or "The provider reported an error.",
    }


def _code(told: Told) -> str:
    return TOO_LONG_CODE if TOO_LONG.search(told.message) else told.code
