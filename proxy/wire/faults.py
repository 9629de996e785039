"""What went wrong with a provider, from aiohttp's exceptions: one place, so none escapes."""

import ssl
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from proxy.errors import UpstreamUnavailable

CONNECT_FAULTS: Final = (aiohttp.ClientError, OSError, ValueError, HttpProcessingError)
"""All that aiohttp's connector raises; TimeoutError and ssl.SSLError are OSErrors."""

EXCHANGE_FAULTS: Final = (aiohttp.ClientError, OSError, HttpProcessingError)
"""All that reading an answer raises."""

_TLS_FAULTS: Final = (
    aiohttp.ClientConnectorSSLError,
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ServerFingerprintMismatch,
    ssl.SSLError,
)


def connect_fault(exc: Exception, authority: str, connect_seconds: float) -> UpstreamUnavailable:
    """No connection, so nothing was sent."""
    if isinstance(exc, TimeoutError):
        message = f"no connection within {connect_seconds:g} seconds"
        return UpstreamUnavailable(f"{authority}: {message}", kind="timeout", sent=False)
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return UpstreamUnavailable(f"{authority}: name not resolved", kind="dns", sent=False)
    if isinstance(exc, _TLS_FAULTS):
        return UpstreamUnavailable(f"{authority}: TLS: {_cause(exc)}", kind="tls", sent=False)
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        message = f"the outgoing proxy answered {exc.status}"
        return UpstreamUnavailable(f"{authority}: {message}", kind="connect", sent=False)
    message = f"not connected: {_cause(exc)}"
    return UpstreamUnavailable(f"{authority}: {message}", kind="connect", sent=False)


def exchange_fault(exc: BaseException, authority: str) -> UpstreamUnavailable:
    """The connection was there and the request, or some of it, has left."""
    if isinstance(exc, UpstreamUnavailable):
        return exc
    if isinstance(exc, TimeoutError):
        return UpstreamUnavailable(f"{authority}: nothing came for too long", kind="timeout")
    if isinstance(exc, HttpProcessingError | aiohttp.ClientResponseError):
        return UpstreamUnavailable(f"{authority}: the answer is not HTTP", kind="malformed")
    if isinstance(exc, aiohttp.ClientPayloadError):
        return UpstreamUnavailable(f"{authority}: the answer is cut off", kind="truncated")
    return UpstreamUnavailable(f"{authority}: the connection was lost", kind="reset")


def _cause(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return str(exc.certificate_error)
    error = getattr(exc, "os_error", exc)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
