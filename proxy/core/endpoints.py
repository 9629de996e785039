"""What each path under /v1 is: governed, free to relay, or billed in a way that cannot be bounded.

What is not known here is refused: a new billed endpoint must not be a way around the limits.
"""

from typing import Literal

import msgspec

from proxy.core.request import DialectName

Kind = Literal["governed", "free", "ungoverned", "probe", "websocket", "claims", "health", "ready"]

_GOVERNED: dict[str, DialectName] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
_FREE_POSTS = (
    "/v1/messages/count_tokens",
    "/v1/responses/input_tokens",
    "/v1/files",
    "/v1/uploads",
    "/v1/moderations",
    "/v1/conversations",
    "/v1/vector_stores",
)


class Endpoint(msgspec.Struct, frozen=True):
    """`dialect` is the one that errors are told in, also where nothing is governed."""

    kind: Kind
    dialect: DialectName = "chat"


_ENDPOINTS = {path: Endpoint("governed", dialect) for path, dialect in _GOVERNED.items()}


def classify(method: str, path: str, *, upgrade: str | None = None) -> Endpoint:
    """The endpoint of a normalised path (without query). `upgrade`: the Upgrade header."""
    upgrades = upgrade is not None and upgrade.lower() == "websocket"
    if method == "POST" and path in _ENDPOINTS and not upgrades:
        return _ENDPOINTS[path]
    dialect = _dialect_of(path)
    if path in ("/healthz", "/readyz"):
        return Endpoint("health" if path == "/healthz" else "ready")
    if upgrades:
        return Endpoint("websocket", dialect)
    if path.startswith("/v1/holdfast/") or path == "/v1/holdfast":
        return Endpoint("claims")
    if path == "*" or (method in ("HEAD", "GET") and path in ("/", "/v1", "/v1/")):
        return Endpoint("probe", dialect)
    if method in ("GET", "HEAD", "DELETE", "OPTIONS") or _is_free_post(path):
        return Endpoint("free", dialect)
    return Endpoint("ungoverned", dialect)


def path_of(dialect: DialectName) -> str:
    """Where requests of this dialect are sent."""
    return next(path for path, name in _GOVERNED.items() if name == dialect)


def spoken_at(target: str) -> DialectName:
    """The dialect to refuse a request in whose path could not be read."""
    path = target.partition("?")[0]
    if path in _GOVERNED:
        return _GOVERNED[path]
    for known, dialect in _GOVERNED.items():
        if path.endswith(known.removeprefix("/v1")):
            return dialect
    return "chat"


def _is_free_post(path: str) -> bool:
    if path.startswith("/v1/responses/") and path.endswith("/cancel"):
        return True
    return any(path == free or path.startswith(free + "/") for free in _FREE_POSTS)


def _dialect_of(path: str) -> DialectName:
    for prefix, dialect in _GOVERNED.items():
        if path == prefix or path.startswith(prefix + "/"):
            return dialect
    return "chat"
