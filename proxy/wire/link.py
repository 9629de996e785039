"""A pooled connection to a provider: aiohttp's, with three of its gaps closed.

Measured with aiohttp 3.14.5; each has a test that fails without the remedy:
- a bad chunk in a later segment leaves the body's reader waiting for ever;
- a body that lasts until close looks whole after a reset;
- what came before a cut is thrown away with it.
A fourth, an answer that nobody asked for waiting on an idle connection and taken for the answer to
the next request, is found by `holds_unasked_answer`.
"""

from aiohttp import ClientPayloadError
from aiohttp.client_proto import ResponseHandler


class UpstreamLink(ResponseHandler):
    """Ends the body that it is cut in, so that its reader drains it and then meets `fault`."""

    fault: BaseException | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        payload, self._payload = self._payload, None  # keeps aiohttp from failing it at once
        cut = payload is not None and not payload.is_eof()
        super().connection_lost(exc)
        if payload is None or not cut:
            return
        ended_by_close = exc is None and payload.is_eof()
        if not ended_by_close and self.fault is None:
            self.fault = exc or ClientPayloadError()
        if not payload.is_eof():
            payload.feed_eof()

    def close(self) -> None:
        self.fail_body(ConnectionResetError())  # the pool is closed under a call
        super().close()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        super().set_exception(exc, exc_cause or exc)
        self.fail_body(exc)

    def fail_body(self, fault: BaseException) -> None:
        """The rest of the body will not come, for this reason."""
        payload = self._payload
        if payload is not None and not payload.is_eof():
            self.fault = fault
            payload.feed_eof()

    def holds_unasked_answer(self) -> bool:
        """Whether something came while nobody had asked: the next request would be given it."""
        return len(self) > 0 or self.exception() is not None
