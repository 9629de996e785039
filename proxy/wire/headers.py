"""Pure functions on header lists: what may travel on, and what is left out."""

from proxy.wire import Headers

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 section 7.6.1, and what older clients and proxies use in the same way."""

_OUR_OWN_PREFIX = "x-holdfast-"


def get(headers: Headers, name: str) -> str | None:
    """The first value of a header, by lower-case name."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def tokens(headers: Headers, name: str) -> frozenset[str]:
    """The lower-cased members of a comma-separated header, all its lines together."""
    lines = (value for key, value in headers if key.lower() == name)
    parts = (part.strip().lower() for line in lines for part in line.split(","))
    return frozenset(part for part in parts if part)


def without(headers: Headers, *names: str) -> Headers:
    """All but the headers of these lower-case names."""
    return tuple(header for header in headers if header[0].lower() not in names)


def forward_headers(
    headers: Headers, *, drop_accept_encoding: bool = False, keep_length: bool = False
) -> Headers:
    """A client's headers as they go to a provider.

    Left behind: hop-by-hop headers (those named by `Connection` as well), `Host`, `Expect` (the
    server answered it), our own, and the length, which the client of the wire sets itself. With
    `keep_length` it stays, for a body that is streamed on and keeps its length.
    """
    dropped = {"host", "expect"}
    if drop_accept_encoding:
        dropped.add("accept-encoding")
    if not keep_length:
        dropped.add("content-length")
    return _end_to_end(headers, frozenset(dropped))


def answer_headers(headers: Headers) -> Headers:
    """A provider's headers as they go to the client: without hop-by-hop ones and our own.

    `content-length` stays, for an answer that is relayed as it is: drop it where the body changes.
    """
    return _end_to_end(headers, frozenset())


def _end_to_end(headers: Headers, dropped: frozenset[str]) -> Headers:
    dropped |= _HOP_BY_HOP | tokens(headers, "connection")
    return tuple(
        header
        for header in headers
        if (name := header[0].lower()) not in dropped and not name.startswith(_OUR_OWN_PREFIX)
    )
