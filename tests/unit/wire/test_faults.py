"""Each way in which no connection is had has its kind, and was never sent."""

import errno
import socket
import ssl

import pytest

from proxy.wire.faults import CONNECT_FAULTS, connect_fault

UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize(
    ("exc", "kind", "text"),
    [
        (TimeoutError(), "timeout", "no connection within 5 seconds"),
        (socket.gaierror(-2, "Name or service not known"), "dns", "name not resolved"),
        (UnicodeError("label too long"), "dns", "name not resolved"),
        (ssl.SSLError(1, "handshake failure"), "tls", "TLS: handshake failure"),
        (UNTRUSTED, "tls", "TLS: certificate verify failed"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "connect", "is unreachable"),
        (ConnectionResetError(), "connect", "not connected: ConnectionResetError"),
        (ConnectionError("the proxy hung up"), "connect", "not connected: the proxy hung up"),
    ],
)
def test_what_kept_a_connection_from_being_made_was_never_sent(
    exc: Exception, kind: str, text: str
) -> None:
    """So that it is not booked, and may go elsewhere."""
    fault = connect_fault(exc, "model.example", 5.0)

    assert isinstance(exc, CONNECT_FAULTS)
    assert (fault.kind, fault.sent) == (kind, False)
    assert fault.message.startswith("model.example: ")
    assert fault.message.endswith(text)
