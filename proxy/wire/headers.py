"""Pure functions on header lists: what may travel on, and what is left out."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from proxy.wire import Headers


class Kind:
    """What a header is, as far as it matters to a proxy. Plain bits: an IntFlag takes 1 µs to
    combine two."""

    NONE: Final = 0
    HOP_BY_HOP: Final = 1  # RFC 9110 section 7.6.1, and what older clients and proxies use alike
    OUR_OWN: Final = 2
    ANSWERED_HERE: Final = 4  # by the server, or set by the client of the wire
    LENGTH: Final = 8
    ACCEPT_ENCODING: Final = 16
    CONTENT_ENCODING: Final = 32
    CREDENTIAL: Final = 64
    REQUEST_ID: Final = 128
    BUFFERING: Final = 256


_KINDS: Final = {
    **dict.fromkeys(
        (
            *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
            *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        ),
        Kind.HOP_BY_HOP,
    ),
    **dict.fromkeys(("host", "expect"), Kind.ANSWERED_HERE),
    "content-length": Kind.LENGTH,
    "accept-encoding": Kind.ACCEPT_ENCODING,
    "content-encoding": Kind.CONTENT_ENCODING,
    # What says who calls. Organisations too: whose they are must not be billed on our key.
    **dict.fromkeys(
        (
            *("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"),
            *("openai-organization", "openai-project"),
            *("x-amz-security-token", "ocp-apim-subscription-key"),
        ),
        Kind.CREDENTIAL,
    ),
    **dict.fromkeys(("x-request-id", "request-id"), Kind.REQUEST_ID),
    "x-accel-buffering": Kind.BUFFERING,
}
_OUR_OWN_PREFIX: Final = "x-holdfast-"
_REMEMBERED: Final = 1_024
_CLOSE_OR_KEEP: Final = frozenset({"close", "keep-alive"})


@lru_cache(_REMEMBERED)
def kind_of(name: str) -> int:
    """The kinds of a header by its name, in whatever case. Remembered: clients send the same."""
    lower = name.lower()
    if lower.startswith(_OUR_OWN_PREFIX):
        return Kind.OUR_OWN
    return _KINDS.get(lower, Kind.NONE)


def get(headers: Headers, name: str) -> str | None:
    """The first value of a header, by lower-case name."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def media_type(headers: Headers) -> str:
    """Of the body: in lower case, without parameters; empty where it is unsaid."""
    kind = get(headers, "content-type") or ""
    return kind.split(";", 1)[0].strip().lower()


def tokens(headers: Headers, name: str) -> frozenset[str]:
    """The lower-cased members of a comma-separated header, all its lines together."""
    return _tokens([value for key, value in headers if key.lower() == name])


def without(headers: Headers, *names: str) -> Headers:
    """All but the headers of these lower-case names."""
    return tuple([header for header in headers if header[0].lower() not in names])


def forwarded(headers: Headers, dropped: int = Kind.NONE) -> Headers:
    """What may travel on: all but hop-by-hop headers (those that `Connection` names as well), our
    own, and the kinds in `dropped`: LENGTH where the body changes, and going up also what is
    ANSWERED_HERE."""
    mask = dropped | Kind.HOP_BY_HOP | Kind.OUR_OWN
    kept = [header for header in headers if not kind_of(header[0]) & mask]
    connection = [value for key, value in headers if len(key) == 10 and key.lower() == "connection"]
    if connection and (named := _tokens(connection) - _CLOSE_OR_KEEP):
        kept = [header for header in kept if header[0].lower() not in named]
    return tuple(kept)


def _tokens(lines: Iterable[str]) -> frozenset[str]:
    parts = (part.strip().lower() for line in lines for part in line.split(","))
    return frozenset(part for part in parts if part)
