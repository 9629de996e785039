"""Bodies of requests to the admin API."""

import msgspec
from aiohttp import web

from proxy.errors import UNREADABLE, MalformedRequest


async def read_object(
    request: web.Request, what: str, *names: str, may_be_empty: bool = False
) -> dict[str, object]:
    """An object with no other members than these (none named: any). Raises MalformedRequest."""
    try:
        body = await request.read()
        if may_be_empty and not body:
            return {}
        read = msgspec.json.decode(body, type=dict[str, object])
    except UNREADABLE as error:
        raise MalformedRequest(f"the body: expected an object of {what}") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise MalformedRequest("the body is too large", status=413) from error
    unknown = [name for name in read if names and name not in names]
    if unknown:
        said = f"{unknown[0][:32]!r} is not known (allowed: {', '.join(names)})"
        raise MalformedRequest(said, param=unknown[0][:32])
    return read
