"""Who calls, and what the policy sets for them: asked once, remembered while the policy stays."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec

from proxy.core.decision import Refusal
from proxy.core.engine import Rules
from proxy.core.policy import (
    MICRO,
    Caller,
    Policy,
    Route,
    Upstream,
    limits_for,
    refusal_status,
    route_for,
)
from proxy.core.request import DialectName
from proxy.core.routing import Candidate, candidates
from proxy.core.tenancy import (
    CREDENTIAL_HEADERS,
    credential_of,
    credentials_in,
    digest_of,
    tenant_of,
)
from proxy.core.tree import lowered
from proxy.errors import MalformedRequest
from proxy.wire import Head

_ENTRIES = 4_096
"""Names that clients make up must not grow the process."""

_CREDENTIAL_NAMES = tuple(CREDENTIAL_HEADERS)

K = TypeVar("K")
V = TypeVar("V")


class OwnBudget(msgspec.Struct, frozen=True):
    """What a run carries along for itself."""

    cost_micro_usd: int | None = None
    steps: int | None = None


NO_BUDGET = OwnBudget()


class _Credential:
    """Under which a head remembers what stands for its credential."""


def own_budget(caller: Caller, hints: Mapping[str, str]) -> OwnBudget:
    """From headers or metadata. Raises MalformedRequest."""
    headers = caller.headers
    usd = headers.get("x-holdfast-budget-usd") or hints.get("metadata.holdfast_budget_usd")
    steps = headers.get("x-holdfast-steps") or hints.get("metadata.holdfast_steps")
    if usd is None and steps is None:
        return NO_BUDGET
    cost = None if usd is None else _micro_usd(usd)
    return OwnBudget(cost, None if steps is None else _count(steps))


class Callers:
    """Belongs to one event loop. Keeps credentials in memory only, as the requests do."""

    def __init__(self, hmac_key: bytes) -> None:
        self._hmac_key = hmac_key
        self._policy: Policy | None = None
        self._routes: dict[tuple[str, str], Route | None] = {}
        self._candidates: dict[tuple[str, str], tuple[Candidate, ...]] = {}
        self._digests: dict[tuple[object, ...], bytes | None] = {}
        self._tenants: dict[tuple[object, ...], str | Refusal] = {}
        self._rules: dict[tuple[str, str | None, str, str], Rules] = {}
        self._by_header = False

    def route(self, policy: Policy, model: str, endpoint: str) -> Route:
        """Where a call goes. Raises MalformedRequest where no route takes it."""
        self._hear_of(policy)
        known = (model, endpoint)
        if known not in self._routes:
            route = route_for(policy, model, endpoint)
            if route is None and not model:  # a free endpoint: whichever provider is first
                free = (r for r in policy.routes if r.endpoint in ("*", endpoint))
                route = next(free, None)
            _keep(self._routes, known, route)
        found = self._routes[known]
        if found is None:
            raise MalformedRequest(f"no route takes model {model!r}", param="model")
        return found

    def candidates(self, policy: Policy, model: str, dialect: DialectName) -> tuple[Candidate, ...]:
        """All that can serve a call, the route's first target first. Raises MalformedRequest where
        no route takes it."""
        self._hear_of(policy)
        known = (model, dialect)
        found = self._candidates.get(known)
        if found is None:
            route = self.route(policy, model, dialect)
            found = candidates(policy, route, model, dialect)
            _keep(self._candidates, known, found)
        return found

    def credential(self, head: Head) -> bytes | None:
        """What stands for the caller's own credential, so that a provider's word on that key is not
        held against another's; None where it has none. Raises MalformedRequest for two."""
        same = head.same
        if same is not None and _Credential in same:
            known = same[_Credential]
            return known if isinstance(known, bytes) else None
        known_by = self._credential_in(head)
        if known_by in self._digests:
            digest = self._digests[known_by]
        else:
            _, _, query = head.target.partition("?")
            said = credential_of((*head.headers, *credentials_in(query)))
            digest = None if said is None else digest_of(said, self._hmac_key)
            _keep(self._digests, known_by, digest)
        if same is not None:
            same[_Credential] = digest
        return digest

    def _credential_in(self, head: Head) -> tuple[object, ...]:
        """What tells a head's credential, quickly."""
        _, _, query = head.target.partition("?")
        in_query = credentials_in(query) if query else []
        fields = head.fields
        if len(fields) == len(head.headers) and not in_query:
            return tuple([fields.get(name) for name in _CREDENTIAL_NAMES])
        # there may be two, and they may differ
        return (credential_of((*head.headers, *in_query)),)

    def tenant(self, policy: Policy, head: Head, upstream: Upstream) -> str | Refusal:
        """Whose budget it is on. Raises MalformedRequest for two different credentials."""
        self._hear_of(policy)
        has_own_key = upstream.api_key is not None
        known = (has_own_key, *self._credential_in(head))
        tenant = self._tenants.get(known)
        if tenant is None:
            _, _, query = head.target.partition("?")
            in_query = credentials_in(query) if query else []
            tenant = tenant_of(
                credential_of((*head.headers, *in_query)),
                upstream_has_own_key=has_own_key,
                tenants=policy.tenants,
                unknown_credentials=policy.unknown_credentials,
                hmac_key=self._hmac_key,
            )
            _keep(self._tenants, known, tenant)
        return tenant

    def rules(self, policy: Policy, caller: Caller, own: OwnBudget = NO_BUDGET) -> Rules:
        """What this caller is held to, lowered by the budget that the run itself carries."""
        self._hear_of(policy)
        known = (caller.tenant, caller.agent, caller.model, caller.user_agent)
        rules = None if self._by_header else self._rules.get(known)
        if rules is None:
            rules = Rules(
                limits=limits_for(policy, caller),
                min_output_tokens=policy.accounting.min_output_tokens,
                refusal_status=refusal_status(policy, caller),
                tools=policy.tools,
                loops=policy.loops,
                handoff=policy.handoff,
            )
            _keep(self._rules, known, rules)
        if own is NO_BUDGET:
            return rules
        return replace(rules, limits=lowered(rules.limits, own.cost_micro_usd, own.steps))

    def _hear_of(self, policy: Policy) -> None:
        if policy is not self._policy:
            self._policy = policy
            self._routes.clear()
            self._candidates.clear()
            self._tenants.clear()
            self._rules.clear()
            self._by_header = any(profile.match.header for profile in policy.profiles)


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= _ENTRIES:
        cache.clear()
    cache[key] = value


def _micro_usd(text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0 or amount > 1_000_000_000:
        message = f"x-holdfast-budget-usd: {text[:32]!r} is not an amount in USD"
        raise MalformedRequest(message, param="x-holdfast-budget-usd")
    return int(amount * MICRO)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        message = f"x-holdfast-steps: {text[:32]!r} is not a number of steps"
        raise MalformedRequest(message, param="x-holdfast-steps")
    return int(text)
