"""Why there is no connection to a provider: one place, so that no exception escapes."""

import socket
import ssl
from typing import Final

from proxy.errors import UpstreamUnavailable

CONNECT_FAULTS: Final = (OSError, UnicodeError)
"""All that connecting raises: TimeoutError, ssl.SSLError and gaierror are OSErrors, and a name that
cannot be one is a UnicodeError."""


def connect_fault(exc: Exception, authority: str, connect_seconds: float) -> UpstreamUnavailable:
    """No connection, so nothing was sent."""
    if isinstance(exc, TimeoutError):
        message = f"no connection within {connect_seconds:g} seconds"
        return UpstreamUnavailable(f"{authority}: {message}", kind="timeout", sent=False)
    if isinstance(exc, socket.gaierror | UnicodeError):
        return UpstreamUnavailable(f"{authority}: name not resolved", kind="dns", sent=False)
    cause = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    if isinstance(exc, ssl.SSLError):
        return UpstreamUnavailable(f"{authority}: TLS: {cause}", kind="tls", sent=False)
    return UpstreamUnavailable(f"{authority}: not connected: {cause}", kind="connect", sent=False)
