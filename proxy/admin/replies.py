"""Answers of the admin API."""

from collections.abc import Mapping

import msgspec
from aiohttp import web

from proxy.admin.shapes import Json


def json_response(value: Json, status: int = 200) -> web.Response:
    """A JSON answer; never cached, since it is about now."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={"cache-control": "no-store"},
    )


def error_response(
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    **more: Json,
) -> web.Response:
    """An error in the same shape as on the data port."""
    error: dict[str, Json] = {"message": message, "type": "admin_error", "code": code, **more}
    response = json_response({"error": error}, status)
    response.headers.update(headers or {})
    return response
