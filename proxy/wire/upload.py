"""A request body that comes in parts, on its way to the provider."""

from collections.abc import AsyncIterator
from typing import Protocol

from proxy.errors import HoldfastError, MalformedRequest


class Sink(Protocol):
    """The connection that the body goes out on."""

    def write(self, head: bytes, body: bytes = b"") -> None: ...

    async def drained(self) -> None:
        """Waits until there is room to write. Raises ConnectionError once there will be none."""

    def uploaded(self, fault: BaseException | None = None) -> None:
        """The request has left, or there will be no more of it for this reason."""


async def upload(body: AsyncIterator[bytes], length: int | None, sink: Sink) -> None:
    """Sends the body, as chunks where no length was announced. One that breaks off, or does not
    keep to its length, breaks the call for that reason."""
    try:
        if length is None:
            await _in_chunks(body, sink)
        else:
            await _by_length(body, length, sink)
    except ConnectionError:
        return  # what the provider said before it hung up, or that it did, is read elsewhere
    except HoldfastError as exc:
        sink.uploaded(exc)
    except BaseException:
        sink.uploaded(MalformedRequest("the request body could not be read"))
        raise
    else:
        sink.uploaded()


async def _in_chunks(body: AsyncIterator[bytes], sink: Sink) -> None:
    async for part in body:
        if part:
            sink.write(b"%x\r\n" % len(part), part + b"\r\n")
            await sink.drained()
    sink.write(b"0\r\n\r\n")


async def _by_length(body: AsyncIterator[bytes], left: int, sink: Sink) -> None:
    """What is too much is never sent: it would be taken for the next request."""
    async for part in body:
        left -= len(part)
        if left < 0:
            break
        if part:
            sink.write(part)
            await sink.drained()
    if left:
        raise MalformedRequest("the request body does not keep to its content-length")
