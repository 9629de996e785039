"""The path of one request: what it is, whether it may go on, and who serves it."""

from collections.abc import Callable

from proxy.claims import Claims
from proxy.core.decision import Refusal
from proxy.core.endpoints import Endpoint, classify, spoken_at
from proxy.core.paths import PathParts, split_path
from proxy.errors import HoldfastError, MalformedRequest
from proxy.governed import Governed
from proxy.records import CallRecord
from proxy.relay_plain import Plain
from proxy.replies import Reply, refusal_of, refusal_reply, send
from proxy.wire import Exchange

_TEXT = ("content-type", "text/plain; charset=utf-8")


class Relay:
    """Handles every request of the data port. Shared by all connections."""

    def __init__(
        self,
        governed: Governed,
        plain: Plain,
        claims: Claims,
        readiness: Callable[[], tuple[bool, str]],
        new_id: Callable[[], str],
        observe: Callable[[CallRecord], None],
    ) -> None:
        self._governed = governed
        self._plain = plain
        self._claims = claims
        self._readiness = readiness
        self._new_id = new_id
        self._observe = observe

    async def handle(self, exchange: Exchange) -> None:
        """Answers one request; every error becomes a reply in the client's dialect."""
        request_id = f"req_{self._new_id()}"
        endpoint = Endpoint("free", spoken_at(exchange.head.target))
        try:
            parts = split_path(exchange.head.target)
            path = parts.rest.split("?", 1)[0]
            endpoint = classify(exchange.head.method, path, upgrade=exchange.head.get("upgrade"))
            await self._dispatch(exchange, endpoint, parts, request_id)
        except HoldfastError as error:
            await self._fail(exchange, endpoint, error, request_id)

    async def _dispatch(  # noqa: C901 - the arms of a match over a closed union count as one
        self, exchange: Exchange, endpoint: Endpoint, parts: PathParts, request_id: str
    ) -> None:
        match endpoint.kind:
            case "governed":
                await self._governed.serve(exchange, endpoint.dialect, parts, request_id)
            case "free":
                await self._plain.serve(exchange, endpoint, parts, request_id)
            case "ungoverned":
                await self._plain.serve_ungoverned(exchange, endpoint, parts, request_id)
            case "claims":
                await self._claims.serve(exchange, parts, request_id)
            case "websocket":
                message = "WebSocket is not offered here; use HTTP with server-sent events."
                refusal = Refusal(426, "invalid_request", "invalid_request_error", message)
                await send(exchange, refusal_reply(refusal, endpoint.dialect, request_id))
            case "probe":
                await send(exchange, Reply(200, (_TEXT,), b"holdfast\n"))
            case "health":
                await send(exchange, Reply(200, (_TEXT,), b"ok\n"))
            case "ready":
                ready, said = self._readiness()
                await send(exchange, Reply(200 if ready else 503, (_TEXT,), said.encode()))

    async def _fail(
        self, exchange: Exchange, endpoint: Endpoint, error: HoldfastError, request_id: str
    ) -> None:
        refusal = refusal_of(error)
        if exchange.started:
            exchange.abort()
        else:
            await send(exchange, refusal_reply(refusal, endpoint.dialect, request_id))
        party = "client" if isinstance(error, MalformedRequest) else "error"
        self._observe(CallRecord.refused(endpoint.dialect, party, refusal, request_id))
