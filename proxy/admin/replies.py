"""Answers of the admin API."""

from collections.abc import Mapping

import msgspec

from proxy.admin.shapes import Json
from proxy.errors import HoldfastError
from proxy.wire import Headers


class Reply(msgspec.Struct, frozen=True):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


def text_reply(text: str, status: int = 200) -> Reply:
    return Reply(status, (("content-type", "text/plain; charset=utf-8"),), text.encode())


def json_reply(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON answer; never cached, since it is about now."""
    ours: Headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return Reply(status, (*ours, *(headers or {}).items()), msgspec.json.encode(value))


def error_reply(
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    **more: Json,
) -> Reply:
    """An error in the same shape as on the data port."""
    error: dict[str, Json] = {"message": message, "type": "admin_error", "code": code, **more}
    return json_reply({"error": error}, status, headers)


def refusal(error: HoldfastError) -> tuple[Headers, bytes]:
    """What is told where a request never became one, or a handler failed."""
    reply = error_reply(error.status, error.code, str(error))
    return reply.headers, reply.body
