"""From a request's bytes to a `Call`: parsed, routed, attributed to a session, sized."""

import asyncio
from collections.abc import Awaitable
from functools import lru_cache
from typing import Protocol

import msgspec
from msgspec.structs import replace

from proxy.callers import Callers, OwnBudget, own_budget
from proxy.clock import Clock
from proxy.core.ask import Ask
from proxy.core.decision import Refusal
from proxy.core.dialects.base import PARSE_ON_THREAD_BYTES, Bounds
from proxy.core.dialects.registry import unread_bytes
from proxy.core.engine import Rules
from proxy.core.estimate import estimate_input_tokens
from proxy.core.identity import Identified
from proxy.core.loops.turns import Tail, tail_of
from proxy.core.memo import Memo
from proxy.core.paths import PathParts
from proxy.core.policy import Caller, Policy, Route, Upstream
from proxy.core.pricing import Price
from proxy.core.request import CONVERSATIONS, DialectName, Request
from proxy.core.routing import Candidate, takes_credential
from proxy.core.session import SessionKey
from proxy.decoding import decoded
from proxy.identity import SessionIndex
from proxy.prices.book import PriceBook
from proxy.replies import dialect_of
from proxy.usual import UsualOutput
from proxy.wire import Head

_NO_KEY = bytes(16)
"""Stands for the key of callers who send none where theirs would go: what a provider says of that
is said of them, and of nobody who has one."""
_UNKNOWN_WINDOW = 200_000
"""Context window of a model that is not known, in tokens."""


class PolicySource(Protocol):
    """Where the policy in force is read, once a call."""

    @property
    def current(self) -> Policy: ...


class Call(msgspec.Struct, frozen=True):
    """A governed call as it was understood, before it is decided on.

    raw: the body as it came; body: the same without its content-encoding (one object where it has
    none). price, ask: of `candidate`, the one of `candidates` that it is aimed at. credential:
    stands for the caller's own key, where that goes there. why: it does not begin at the first of
    them. stays: no other of them may go on with what was shown already. received: monotonic
    seconds. replay: what its client is told of the record that it asked for.
    """

    call_id: str
    key: SessionKey
    identified: Identified
    request: Request
    raw: bytes
    body: bytes
    head: Head
    policy: Policy
    rules: Rules
    own: OwnBudget
    price: Price | None
    ask: Ask
    caller: Caller
    received: float
    rest: str
    route: Route
    candidates: tuple[Candidate, ...]
    candidate: Candidate
    credential: bytes | None
    why: str = ""
    stays: bool = False
    replay: str = ""

    @property
    def upstream(self) -> Upstream:
        return self.candidate.upstream

    @property
    def model(self) -> str:
        """Its name there."""
        return self.candidate.model

    @property
    def deadline_seconds(self) -> float:
        """How long it may take, with all that is done for it."""
        own = self.route.deadline_seconds
        return self.policy.deadline_seconds if own is None else own


class Origin(msgspec.Struct, frozen=True):
    """Who calls and where it would go, known before the session is."""

    caller: Caller
    upstream: Upstream
    route: Route


class Intake:
    """Builds calls. Raises MalformedRequest; a Refusal is returned where policy says no."""

    def __init__(
        self,
        policy: PolicySource,
        index: SessionIndex,
        prices: PriceBook,
        usual: UsualOutput,
        callers: Callers,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._index = index
        self._prices = prices
        self._usual = usual
        self.callers = callers
        self._clock = clock

    async def understand(
        self, head: Head, parts: PathParts, dialect: DialectName, raw: bytes, call_id: str
    ) -> Call | Refusal:
        """Everything that is known of a call before the ledger is asked."""
        received = self._clock.monotonic()
        policy = self._policy.current
        body = decoded(raw, head.get("content-encoding"), policy.bounds.body_bytes)
        parsed = _parsed(dialect, body, dialect_bounds(policy), self._index.memo)
        request = parsed if isinstance(parsed, Request) else await parsed
        if request.background and policy.ungoverned == "reject":
            return ungoverned(policy, "background: true")
        origin = self.origin(head, parts, policy, request.model, dialect)
        if isinstance(origin, Refusal):
            return origin
        identified = await self._index.identify(origin.caller.tenant, head, parts, request)
        caller = _of_agent(origin.caller, identified.agent)
        candidates = self.callers.candidates(policy, request.model, dialect)
        first = candidates[0]
        price = self._price(policy, first)
        if isinstance(price, Refusal):
            return price
        own = own_budget(caller, request.hints)
        rules = self.callers.rules(policy, caller, own)
        ask = self._ask(policy, caller, identified, request, first.model, price)
        own_key = self._own_key(first, first, origin.route, head)
        return Call(
            call_id, SessionKey(caller.tenant, identified.session), identified, request, raw, body,
            head, policy, rules, own, price, ask, caller, received, parts.rest, origin.route,
            candidates, first, own_key,
        )  # fmt: skip

    def origin(
        self, head: Head, parts: PathParts, policy: Policy, model: str, endpoint: str
    ) -> Origin | Refusal:
        """The caller and the route's first target."""
        route = self.callers.route(policy, model, endpoint)
        upstream = policy.upstreams[route.to[0].upstream]
        tenant = self.callers.tenant(policy, head, upstream)
        if isinstance(tenant, Refusal):
            return tenant
        fields = head.fields
        agent = parts.agent or fields.get("x-holdfast-agent")
        caller = Caller(tenant, agent, model, fields.get("user-agent", ""), fields)
        return Origin(caller, upstream, route)

    async def again(self, call: Call, body: bytes) -> tuple[Request, Ask]:
        """Another body of the same call: read, and what sending it may come to. Raises
        MalformedRequest."""
        policy = call.policy
        parsed = _parsed(call.request.dialect, body, dialect_bounds(policy), None)
        request = parsed if isinstance(parsed, Request) else await parsed
        return request, self.ask_of(call, request)

    def aim(self, call: Call, candidate: Candidate, why: str = "") -> Call | Refusal:
        """The same call at another of its targets. A Refusal where that has no price that the
        policy takes."""
        price = self._price(call.policy, candidate)
        if isinstance(price, Refusal):
            return price
        first, route = call.candidates[0], call.route
        aimed = replace(
            call,
            price=price,
            candidate=candidate,
            credential=self._own_key(candidate, first, route, call.head),
            why=why,
        )
        return replace(aimed, ask=self.ask_of(aimed, call.request))

    def ask_of(self, call: Call, request: Request) -> Ask:
        """What sending this may come to, at the target that the call is aimed at."""
        return self._ask(call.policy, call.caller, call.identified, request, call.model, call.price)

    def _own_key(
        self, candidate: Candidate, first: Candidate, route: Route, head: Head
    ) -> bytes | None:
        if not takes_credential(candidate, first, route):
            return None
        return self.callers.credential(head) or _NO_KEY

    def _price(self, policy: Policy, candidate: Candidate) -> Price | Refusal | None:
        upstream, model = candidate.upstream, candidate.model
        price = self._prices.price_for(policy, upstream, model)
        if price is not None or policy.accounting.unknown_price == "tokens_only":
            return price
        if policy.accounting.unknown_price == "dearest":
            return self._prices.dearest(upstream, model)
        message = (
            f"Model {model!r} has no known price. Name one under prices in the policy, or set "
            "accounting.unknown_price to dearest or tokens_only."
        )
        return Refusal(policy.rejection.status, "unpriced_model", "session_limit", message)

    def _ask(
        self,
        policy: Policy,
        caller: Caller,
        identified: Identified,
        request: Request,
        model: str,
        price: Price | None,
    ) -> Ask:
        generates = request.dialect != "embeddings"
        tenant, learned = caller.tenant, policy.accounting.holds == "learned"
        window = price.context_window if price else None
        calibration = self._prices.calibration(model, tenant)
        likely = self._usual.tokens(tenant, model, caller.agent)
        return Ask(
            session=identified.session,
            dialect=request.dialect,
            model=model,
            input_tokens=estimate_input_tokens(request, calibration, context_window=window),
            output_bound=request.output_bound,
            output_maximum=self._prices.max_output_tokens(model, price) if generates else 0,
            choices=request.choices,
            price=price,
            tools=() if request.tools_disabled else request.offered_tools,
            body_digest=request.body_digest,
            least_output=request.least_output,
            unseen_tokens=(window or _UNKNOWN_WINDOW) if _continues(request) else 0,
            usual_output=likely if request.stream and learned else None,
            exposure=request.exposure,
            likely_output=likely,
            tail=_tail(policy, request, identified.named_thread),
        )


def _tail(policy: Policy, request: Request, thread: str) -> Tail | None:
    if policy.loops is None or request.dialect not in CONVERSATIONS:
        return None
    return tail_of(request, thread)


def _of_agent(caller: Caller, agent: str | None) -> Caller:
    return caller if caller.agent == agent else replace(caller, agent=agent)


def dialect_bounds(policy: Policy) -> Bounds:
    """The policy's bounds as dialects take them."""
    return _bounds(policy.bounds.json_depth, policy.bounds.sse_line_bytes)


@lru_cache(16)
def _bounds(json_depth: int, sse_line_bytes: int) -> Bounds:
    return Bounds(json_depth, sse_line_bytes)


def _parsed(
    dialect: DialectName, body: bytes, bounds: Bounds, memo: Memo | None
) -> Request | Awaitable[Request]:
    """Much that is new is read on a thread: streams and kills must not wait for it."""
    parse = dialect_of(dialect).parse
    unread = len(body)
    if memo is not None and unread >= PARSE_ON_THREAD_BYTES:
        unread = unread_bytes(dialect, body, bounds, memo)
    if unread < PARSE_ON_THREAD_BYTES:
        return parse(body, bounds, memo)
    return asyncio.to_thread(parse, body, bounds, memo)


def _continues(request: Request) -> bool:
    """Whether the provider adds what it remembers, which is billed as input and not seen here."""
    return request.previous_response_id is not None or request.conversation_id is not None


def ungoverned(policy: Policy, what: str) -> Refusal:
    """A call that is billed and cannot be priced."""
    message = (
        f"{what} is billed in a way that cannot be bounded, so it is not relayed. "
        "Set ungoverned: relay in the policy to let it through unlimited."
    )
    return Refusal(policy.rejection.status, "ungoverned_endpoint", "invalid_request_error", message)
