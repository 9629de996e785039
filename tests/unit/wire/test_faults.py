"""Each way in which no connection, or no answer, is had has its kind."""

import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadStatusLine

from proxy.errors import UpstreamUnavailable
from proxy.wire.faults import connect_fault, exchange_fault

KEY = ConnectionKey("model.example", 443, True, True, None, None, None)
UNREACHABLE = OSError(101, "Network is unreachable")
NO_NAME = socket.gaierror(-2, "Name or service not known")


@pytest.mark.parametrize(
    ("exc", "kind", "text"),
    [
        (TimeoutError(), "timeout", "no connection within 5 seconds"),
        (aiohttp.ConnectionTimeoutError(), "timeout", "no connection within 5 seconds"),
        (aiohttp.ClientConnectorDNSError(KEY, NO_NAME), "dns", "name not resolved"),
        (aiohttp.ClientConnectorError(KEY, UNREACHABLE), "connect", "Network is unreachable"),
        (aiohttp.ClientProxyConnectionError(KEY, UNREACHABLE), "connect", "unreachable"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError(1, "bad record")), "tls", "bad record"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("expired")),
            "tls",
            "expired",
        ),
        (ssl.SSLError(1, "handshake failure"), "tls", "handshake failure"),
        (ConnectionResetError(), "connect", "ConnectionResetError"),
    ],
)
def test_what_kept_a_connection_from_being_made_was_never_sent(
    exc: Exception, kind: str, text: str
) -> None:
    """So that it is not booked, and may go elsewhere."""
    fault = connect_fault(exc, "model.example", 5.0)

    assert (fault.kind, fault.sent) == (kind, False)
    assert fault.message.startswith("model.example: ")
    assert text in fault.message


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (aiohttp.SocketTimeoutError(), "timeout"),
        (BadStatusLine("x"), "malformed"),
        (aiohttp.ClientPayloadError(), "truncated"),
        (aiohttp.ServerDisconnectedError(), "reset"),
        (aiohttp.ClientOSError(104, "reset"), "reset"),
        (BrokenPipeError(), "reset"),
    ],
)
def test_what_broke_an_exchange_off_may_have_been_billed(exc: Exception, kind: str) -> None:
    """Some of it had left."""
    fault = exchange_fault(exc, "model.example")

    assert (fault.kind, fault.sent) == (kind, True)


def test_a_fault_that_was_named_already_keeps_its_name() -> None:
    """A time-out of ours is found where the answer is read."""
    named = UpstreamUnavailable("late", kind="timeout")

    assert exchange_fault(named, "h") is named
