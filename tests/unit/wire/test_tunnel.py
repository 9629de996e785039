"""What a proxy says to CONNECT, and what may follow it."""

import asyncio
from typing import cast

import pytest

from proxy.wire.tunnel import Tunnel
from tests.fakes_wire import turn


class FakeTransport:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True


class Asked:
    """A tunnel that has been asked for."""

    def __init__(self, host: str = "model.example", authorization: str | None = None) -> None:
        self.transport = FakeTransport()
        self.tunnel = Tunnel()
        self.tunnel.connection_made(cast("asyncio.Transport", self.transport))
        self.opening = asyncio.ensure_future(self.tunnel.open(host, 443, authorization))


@pytest.mark.parametrize(
    ("host", "authorization", "expected"),
    [
        ("h", None, b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
        ("::1", None, b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"),
        (
            "h",
            "Basic x",
            b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic x\r\n\r\n",
        ),
    ],
)
async def test_a_proxy_is_told_where_to(
    host: str, authorization: str | None, expected: bytes
) -> None:
    """And who asks, if it wants to know; nothing of the request."""
    asked = Asked(host, authorization)
    await turn()
    asked.opening.cancel()
    await asyncio.wait([asked.opening])

    assert asked.transport.written == expected
    assert asked.transport.aborted


async def test_a_yes_in_pieces_is_a_yes_and_what_is_late_is_ignored() -> None:
    """Until TLS has taken the transport over."""
    asked = Asked()
    for byte in b"HTTP/1.1 200 Yes\r\nContent-Length: 5\r\n\r\n":
        asked.tunnel.data_received(bytes([byte]))
    asked.tunnel.data_received(b"late")
    asked.tunnel.connection_lost(None)

    assert await asked.opening is cast("asyncio.Transport", asked.transport)
    assert not asked.transport.aborted


async def test_a_proxy_that_was_lost_before_it_was_asked_gives_no_tunnel() -> None:
    """Nor a wait without end."""
    asked = Asked()
    asked.tunnel.connection_lost(None)
    with pytest.raises(ConnectionError, match="hung up"):
        await asked.opening

    assert asked.transport.aborted
