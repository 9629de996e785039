"""Bodies without their content-encoding."""

import zlib

from proxy.errors import MalformedRequest


def decoded(raw: bytes, encoding: str | None, limit_bytes: int) -> bytes:
    """The body without its content-encoding, never more than `limit_bytes` of it."""
    if encoding is None or encoding.lower() in ("", "identity"):
        return raw
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        message = f"content-encoding {encoding[:32]!r} cannot be read here (allowed: gzip, deflate)"
        raise MalformedRequest(message, status=415, param="content-encoding")
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, told by the header
    try:
        body = inflate.decompress(raw, limit_bytes)
    except zlib.error as exc:
        raise MalformedRequest(f"the body is not valid {encoding}") from exc
    if inflate.unconsumed_tail:
        raise MalformedRequest(f"the decoded body is over {limit_bytes} bytes", status=413)
    if not inflate.eof or inflate.unused_data:
        raise MalformedRequest(f"the body is not one whole {encoding} stream")
    return body
