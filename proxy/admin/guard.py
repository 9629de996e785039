"""Who may speak to the admin port: the bearer of the token, under a host name that is ours.

There are no cookies, so a page in a browser cannot ride on a login; the Host check keeps a page
from reaching the port under a name of its own (DNS rebinding).
"""

import hmac
import ipaddress

from proxy.admin.replies import Reply, error_reply
from proxy.admin.routes import Routes
from proxy.admin.shapes import Json
from proxy.control import AmbiguousSession
from proxy.errors import HoldfastError
from proxy.wire import Exchange, Head

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class Guard:
    """Lets only the bearer of `token` in. hosts: names beside IP addresses."""

    def __init__(self, routes: Routes, token: str, hosts: frozenset[str]) -> None:
        self._routes = routes
        self._token = token
        self._hosts = hosts

    async def handle(self, exchange: Exchange) -> None:
        """Answers one request."""
        reply = self._refusal(exchange.head) or await self._answer(exchange)
        if reply is not None:
            await exchange.respond(reply.status, reply.headers, reply.body)

    def _refusal(self, head: Head) -> Reply | None:
        if not _host_is_ours(head.get("host") or "", self._hosts):
            return error_reply(421, "unknown_host", "this Host is not served here")
        if head.target.partition("?")[0] in OPEN_PATHS or _bears(head, self._token):
            return None
        message = "send the admin token: Authorization: Bearer …"
        return error_reply(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})

    async def _answer(self, exchange: Exchange) -> Reply | None:
        try:
            return await self._routes.answer(exchange)
        except AmbiguousSession as error:
            tenants: list[Json] = list(error.tenants)
            return error_reply(error.status, error.code, str(error), tenants=tenants)
        except HoldfastError as error:
            return error_reply(error.status, error.code, str(error))


def _bears(head: Head, token: str) -> bool:
    scheme, _, given = (head.get("authorization") or "").partition(" ")
    given_bytes = given.strip().encode("latin-1")
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
