"""Refuses what could be read in two ways, or costs too much, before a handler sees it.

aiohttp's parser refuses most forms of request smuggling by itself; what 3.14 lets through is
refused here. `tests/integration/test_wire_smuggling.py` lists them all.
"""

from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import LineTooLong

from proxy.errors import MalformedRequest
from proxy.wire import Head
from proxy.wire.bounds import Bounds
from proxy.wire.headers import tokens


def parse_error(exc: BaseException | None, message: str | None) -> MalformedRequest:
    """What the parser could not read. Its own words quote the request, so they are left out."""
    if isinstance(exc, LineTooLong) or (message or "").startswith("Too many headers"):
        return MalformedRequest("the request head is too large", status=431)
    return MalformedRequest("the request is not valid HTTP/1.1")


def screen(request: web.BaseRequest, head: Head, bounds: Bounds) -> None:
    """Raises MalformedRequest for what the parser lets through."""
    if request.version not in (HttpVersion10, HttpVersion11):
        raise MalformedRequest("only HTTP/1.0 and HTTP/1.1 are served here", status=505)
    if sum(len(name) + len(value) + 4 for name, value in head.headers) > bounds.head_bytes:
        raise MalformedRequest("the request head is too large", status=431)
    if head.method == "CONNECT":
        raise MalformedRequest("no tunnels here", status=405)
    if "#" in head.target:  # a provider would cut it off and serve another path than we saw
        raise MalformedRequest("a request target has no fragment")
    coding = head.get("transfer-encoding")
    if coding is not None and (coding.lower() != "chunked" or request.version < HttpVersion11):
        raise MalformedRequest("the only transfer coding taken is chunked, in HTTP/1.1")
    if tokens(head.headers, "expect") - {"100-continue"}:
        raise MalformedRequest("the only expectation met is 100-continue", status=417)
