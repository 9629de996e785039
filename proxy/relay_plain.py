"""What is only passed on: models, files, token counts … and refused where the session is closed."""

from dataclasses import dataclass

from proxy.clock import Clock
from proxy.core.decision import Refusal
from proxy.core.endpoints import Endpoint
from proxy.core.engine import refuse_spent
from proxy.core.paths import PathParts
from proxy.core.session import SessionKey
from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.identity import SessionIndex
from proxy.intake import Intake, Origin, PolicySource, ungoverned
from proxy.ledger import Ledger
from proxy.outbound import relayed_timeouts, upstream_headers, upstream_url
from proxy.replies import refusal_reply, send
from proxy.stamps import relayed_headers
from proxy.wire import Exchange, Incoming, Outgoing, Upstreams

_OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")
"""A GET that a provider takes for a POST would be a call that nobody counts."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Relays ungoverned requests. Shared by all connections."""

    policy: PolicySource
    intake: Intake
    index: SessionIndex
    ledger: Ledger
    upstreams: Upstreams
    clock: Clock

    async def serve_ungoverned(
        self, exchange: Exchange, endpoint: Endpoint, parts: PathParts, request_id: str
    ) -> None:
        """Billed and not priceable: refused, unless the policy relays it."""
        policy = self.policy.current
        if policy.ungoverned == "relay":
            await self.serve(exchange, endpoint, parts, request_id)
            return
        path = parts.rest.split("?", 1)[0]
        refusal = ungoverned(policy, f"{exchange.head.method} {path[:200]}")
        await send(exchange, refusal_reply(refusal, endpoint.dialect, request_id))

    async def serve(
        self, exchange: Exchange, endpoint: Endpoint, parts: PathParts, request_id: str
    ) -> None:
        """Relays one request, bytes as they are. Raises UpstreamUnavailable before the answer, and
        MalformedRequest for one that is of another method to somebody."""
        if not exchange.head.fields.keys().isdisjoint(_OVERRIDES):
            raise MalformedRequest("a request has one method, that of its first line")
        policy = self.policy.current
        anthropic = endpoint.dialect == "messages" or exchange.head.get("anthropic-version")
        name = "messages" if anthropic else endpoint.dialect
        origin = self.intake.origin(exchange.head, parts, policy, "", name)
        refusal = (
            origin if isinstance(origin, Refusal) else await self._closed(exchange, parts, origin)
        )
        if refusal is not None:
            await send(exchange, refusal_reply(refusal, endpoint.dialect, request_id))
            return
        assert isinstance(origin, Origin)
        headers = upstream_headers(exchange.head.headers, origin.upstream, governed=False)
        request = Outgoing(
            exchange.head.method,
            upstream_url(origin.upstream, parts.rest),
            headers,
            exchange.stream_body() if _has_body(exchange) else b"",
        )
        incoming = await self.upstreams.send(request, relayed_timeouts(policy))
        try:
            await self._pass(exchange, incoming, request_id)
        finally:
            incoming.close()

    async def _closed(self, exchange: Exchange, parts: PathParts, origin: Origin) -> Refusal | None:
        """Why this session gets nothing at all, where the request says which it belongs to."""
        caller = origin.caller
        found = await self.index.identify(caller.tenant, exchange.head, parts, None)
        if not found.session:
            return None
        state = await self.ledger.state(SessionKey(caller.tenant, found.session))
        rules = self.intake.callers.rules(self.policy.current, caller)
        return refuse_spent(rules, state, found.session, self.clock.now())

    async def _pass(self, exchange: Exchange, incoming: Incoming, request_id: str) -> None:
        await exchange.start(incoming.status, relayed_headers(incoming.headers, request_id, ()))
        try:
            async for chunk in incoming.chunks():
                await exchange.write(chunk)
        except UpstreamUnavailable:
            exchange.abort()
            return
        await exchange.finish()


def _has_body(exchange: Exchange) -> bool:
    head = exchange.head
    return (
        head.get("content-length") not in (None, "0") or head.get("transfer-encoding") is not None
    )
