"""Who may speak to the admin port: the bearer of the token, under a host name that is ours.

There are no cookies, so a page in a browser cannot ride on a login; the Host check keeps a page
from reaching the port under a name of its own (DNS rebinding).
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.admin.replies import error_response
from proxy.admin.shapes import Json
from proxy.control import AmbiguousSession
from proxy.errors import HoldfastError

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(token: str, hosts: frozenset[str]) -> Middleware:
    """The middleware that lets only the bearer of `token` in. hosts: names beside IP addresses."""

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not _host_is_ours(request.headers.get("host", ""), hosts):
            return error_response(421, "unknown_host", "this Host is not served here")
        if request.path not in OPEN_PATHS and not _bears(request, token):
            message = "send the admin token: Authorization: Bearer …"
            return error_response(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
        try:
            return await handler(request)
        except AmbiguousSession as error:
            tenants: list[Json] = list(error.tenants)
            return error_response(error.status, error.code, str(error), tenants=tenants)
        except HoldfastError as error:
            return error_response(error.status, error.code, str(error))
        except (web.HTTPMethodNotAllowed, web.HTTPNotFound, web.RequestPayloadError) as error:
            return _not_served(request, error)

    return check


def _not_served(
    request: web.Request,
    error: web.HTTPMethodNotAllowed | web.HTTPNotFound | web.RequestPayloadError,
) -> web.Response:
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            said = f"{request.method} is not served here (allowed: {allowed})"
            return error_response(405, "method_not_allowed", said, {"Allow": allowed})
        case web.HTTPNotFound():
            return error_response(404, "unknown_path", "nothing is served at this path")
        case _:
            said = "the body is not packed as its head says (content-encoding, transfer-encoding)"
            return error_response(400, "invalid_request", said)


def _bears(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given_bytes = given.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, token.encode())


def _host_is_ours(host: str, hosts: frozenset[str]) -> bool:
    """An IP address cannot be rebound; of names, only those that were told to us."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
