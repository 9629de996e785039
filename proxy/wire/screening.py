"""Refuses what could be read in two ways, or costs too much, before a handler sees it.

llhttp, as strict as it can be, refuses most forms of request smuggling by itself; what it lets
through is refused here. `tests/integration/test_wire_smuggling.py` lists them all.
"""

from proxy.errors import MalformedRequest
from proxy.wire import Head, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.head import origin_form
from proxy.wire.headers import tokens


def malformed() -> MalformedRequest:
    """Not HTTP/1.1 as it has to be. Nothing of the request is quoted: it may hold a key."""
    return MalformedRequest("the request is not valid HTTP/1.1")


def too_large() -> MalformedRequest:
    """Over one of the bounds on a head."""
    return MalformedRequest("the request head is too large", status=431)


def request_line(line: str) -> tuple[str, str, bool]:
    """Method, target (path and query), and whether the version is HTTP/1.0. Raises MalformedRequest
    for another version, and for what llhttp lets pass: another protocol's name, more than one space
    between two words, and a bare line break before the first."""
    words = line.split(" ")
    version = words[-1]
    if version in ("HTTP/2.0", "HTTP/0.9") or len(words) == 2:
        raise MalformedRequest("only HTTP/1.0 and HTTP/1.1 are served here", status=505)
    if len(words) != 3 or version not in ("HTTP/1.1", "HTTP/1.0") or line < "A":
        raise malformed()
    method, target, _ = words
    if not target.startswith("/"):
        target = origin_form(target)
    return method, target, version == "HTTP/1.0"


def measure(first: str, headers: Headers, bounds: Bounds) -> None:
    """Raises MalformedRequest (431) for a head that has too many lines, or one too long."""
    too_long = any(len(name) + len(value) > bounds.header_bytes for name, value in headers)
    if too_long or len(first) > bounds.line_bytes or len(headers) > bounds.header_count:
        raise too_large()


def screen(head: Head, *, http_1_0: bool) -> None:
    """Raises MalformedRequest for what the parser lets through."""
    if head.method == "CONNECT":
        raise MalformedRequest("no tunnels here", status=405)
    fields = head.fields
    if "host" not in fields:
        if not http_1_0:
            raise malformed()  # RFC 9112 section 3.2
    elif len(fields) < len(head.headers) and _hosts(head.headers) > 1:
        raise malformed()
    if "#" in head.target:  # a provider would cut it off and serve another path than we saw
        raise MalformedRequest("a request target has no fragment")
    coding = fields.get("transfer-encoding")
    if coding is not None and (http_1_0 or coding.lower() != "chunked"):
        raise MalformedRequest("the only transfer coding taken is chunked, in HTTP/1.1")
    if "expect" in fields and tokens(head.headers, "expect") - {"100-continue"}:
        raise MalformedRequest("the only expectation met is 100-continue", status=417)


def _hosts(headers: Headers) -> int:
    return sum(name.lower() == "host" for name, _ in headers)
