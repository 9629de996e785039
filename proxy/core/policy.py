"""The policy as frozen values: what the YAML of SPEC section 16 becomes. Its defaults are those of
`policies/default.yaml`; a test holds the two together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from proxy.core.checkpoints import Checkpoints
from proxy.core.failing import BreakerPolicy, Hedge, OnUnavailable, Retries
from proxy.core.handoff import Handoff, OnLimit
from proxy.core.loops.policy import Loops
from proxy.core.request import DialectName
from proxy.core.tools.policy import NO_TOOLS, Tools

MICRO = 1_000_000
"""Micro-USD in a USD."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider. api_key None: the caller's own credential is forwarded.

    dialect: whose header names its own key takes. free: everything there costs nothing.
    include_usage: whether `stream_options.include_usage` may be asked of it.
    endpoints: the dialects it answers; None: unsaid, see `core.routing`.
    forward_credentials: the caller's credential may go there though a route's first target is
        elsewhere.
    """

    name: str
    base_url: str
    dialect: Literal["openai", "anthropic"] = "openai"
    api_key: str | None = field(default=None, repr=False)
    free: bool = False
    include_usage: bool = True
    endpoints: tuple[DialectName, ...] | None = None
    forward_credentials: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes; model None keeps the caller's name for it."""

    upstream: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The first route whose globs match takes the call. endpoint: a dialect name or "*".

    fallback: asked in order where `to` fails. downgrade_below: share of a run's money left at which
    its calls begin at the first cheaper of these. deadline_seconds: None: the policy's.
    """

    model: str = "*"
    endpoint: str = "*"
    to: tuple[Target, ...] = ()
    fallback: tuple[Target, ...] = ()
    downgrade_below: float | None = None
    hedge: Hedge | None = None
    on_unavailable: OnUnavailable = "reject"
    forward_credentials: bool = False
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one session. None: no such limit. Money in micro-USD, times in seconds."""

    steps: int | None = 150
    cost_micro_usd: int | None = 10 * MICRO
    tokens: int | None = 5_000_000
    duration_seconds: int | None = 14_400
    tool_calls: int | None = None
    per_tool: Mapping[str, int] = field(default_factory=dict)
    parallel: int | None = 32
    request_cost_micro_usd: int | None = None
    cost_micro_usd_per_minute: int | None = None
    warn_at: float = 0.8
    on_limit: OnLimit = "reject"


Scope = Literal["tenant", "agent", "global"]
Window = Literal["1h", "1d", "1w", "1mo"]


@dataclass(frozen=True, slots=True)
class Budget:
    """Money that many sessions share, per calendar window in UTC."""

    scope: Scope
    window: Window
    cost_micro_usd: int


DEFAULT_BUDGETS = (Budget("global", "1d", 100 * MICRO),)


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """USD per million tokens, as decimal text; None falls back to the input or output price.

    service_tiers: what these are multiplied by, by the term of a call (`Extras.terms`).
    """

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    service_tiers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Status of a refusal: by agent glob, else by user-agent glob, else `status`."""

    status: int = 422
    clients: Mapping[str, int] = field(default_factory=lambda: {"codex*": 400})
    agents: Mapping[str, int] = field(default_factory=lambda: {"aider": 400})


@dataclass(frozen=True, slots=True)
class Accounting:
    """holds: what a stream holds at first. wait_seconds: how long a call waits for what calls in
    flight hold, before it is refused for want of it."""

    unknown_price: Literal["dearest", "reject", "tokens_only"] = "dearest"
    min_output_tokens: int = 256
    holds: Literal["learned", "full"] = "learned"
    wait_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class TimeoutPolicy:
    """Seconds, for one upstream attempt. body: until a client's request body is whole."""

    connect: float = 5.0
    head: float = 300.0
    idle: float = 300.0
    body: float = 60.0


@dataclass(frozen=True, slots=True)
class BoundPolicy:
    """What a hostile client or provider is held to."""

    header_bytes: int = 65_536
    body_bytes: int = 64 * 1024 * 1024
    answer_bytes: int = 64 * 1024 * 1024
    json_depth: int = 128
    sse_line_bytes: int = 8 * 1024 * 1024
    sessions_in_memory: int = 10_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """A named tenant. key_hashes: "sha256:" + hex of the credential."""

    name: str
    key_hashes: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ProfileMatch:
    """Globs; None matches anything. header: lower-case name → glob on its value."""

    agent: str | None = None
    tenant: str | None = None
    model: str | None = None
    header: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """Overrides for calls that match. `limits`: field of `Limits` → value, if the YAML names it;
    None lifts a limit, also inside `per_tool`.

    May loosen only if it matches on tenant or is trusted; else each value only tightens.
    """

    match: ProfileMatch
    limits: Mapping[str, object] = field(default_factory=dict)
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """One validated policy, whole. loops: None where they are off."""

    upstreams: Mapping[str, Upstream]
    routes: tuple[Route, ...]
    limits: Limits = Limits()
    budgets: tuple[Budget, ...] = DEFAULT_BUDGETS
    prices: Mapping[str, PriceOverride] = field(default_factory=dict)
    rejection: Rejection = field(default_factory=Rejection)
    retries: Retries = field(default_factory=Retries)
    breakers: BreakerPolicy = field(default_factory=BreakerPolicy)
    accounting: Accounting = Accounting()
    timeouts: TimeoutPolicy = TimeoutPolicy()
    bounds: BoundPolicy = BoundPolicy()
    deadline_seconds: float = 600.0
    idle_seconds: int = 3600
    tenants: tuple[Tenant, ...] = ()
    unknown_credentials: Literal["anonymous", "reject"] = "anonymous"
    ungoverned: Literal["reject", "relay"] = "reject"
    store_url: str = "sqlite:///holdfast.db"
    store_on_failure: Literal["closed", "open"] = "closed"
    tools: Tools = NO_TOOLS
    profiles: tuple[Profile, ...] = ()
    loops: Loops | None = Loops()  # noqa: RUF009 - frozen
    handoff: Handoff = field(default_factory=Handoff)
    checkpoints: Checkpoints = Checkpoints()  # noqa: RUF009 - frozen


class Caller(msgspec.Struct, frozen=True):
    """Whom a call comes from, as profiles see it. headers: lower-case names."""

    tenant: str
    agent: str | None = None
    model: str = ""
    user_agent: str = ""
    headers: Mapping[str, str] = {}


def limits_for(policy: Policy, caller: Caller) -> Limits:
    """The limits of one call: the policy's, with every matching profile laid over in order."""
    limits = policy.limits
    for profile in policy.profiles:
        if _matches(profile.match, caller):
            limits = _overlay(limits, profile)
    return limits


def route_for(policy: Policy, model: str, endpoint: str) -> Route | None:
    """The first route that takes this model on this endpoint."""
    for route in policy.routes:
        if fnmatchcase(model, route.model) and fnmatchcase(endpoint, route.endpoint):
            return route
    return None


def refusal_status(policy: Policy, caller: Caller) -> int:
    """The status this client is refused with."""
    rejection = policy.rejection
    for pattern, status in rejection.agents.items():
        if caller.agent is not None and fnmatchcase(caller.agent, pattern):
            return status
    for pattern, status in rejection.clients.items():
        if fnmatchcase(caller.user_agent.lower(), pattern.lower()):
            return status
    return rejection.status


def _matches(match: ProfileMatch, caller: Caller) -> bool:
    if match.agent is not None and not fnmatchcase(caller.agent or "", match.agent):
        return False
    if match.tenant is not None and not fnmatchcase(caller.tenant, match.tenant):
        return False
    if match.model is not None and not fnmatchcase(caller.model, match.model):
        return False
    return all(fnmatchcase(caller.headers.get(k, ""), v) for k, v in match.header.items())


def _overlay(limits: Limits, profile: Profile) -> Limits:
    """A client chooses its agent, model and headers: what matches on those alone only tightens."""
    may_loosen = profile.trusted or profile.match.tenant is not None
    changes: dict[str, Any] = {}  # the loader gives each field its type
    for name, value in profile.limits.items():
        current = getattr(limits, name)
        if isinstance(value, Mapping):
            changes[name] = _overlay_counts(current, value, may_loosen)
        else:
            changes[name] = value if may_loosen else _tighter(current, value)
    return replace(limits, **changes)


def _overlay_counts(
    counts: Mapping[str, int], over: Mapping[str, object], may_loosen: bool
) -> Mapping[str, object]:
    """Every glob that matches a tool counts, so a glob more is a limit more."""
    if may_loosen:
        merged: dict[str, object] = {**counts, **over}
    else:
        merged = {**counts, **{glob: _tighter(counts.get(glob), n) for glob, n in over.items()}}
    return {glob: count for glob, count in merged.items() if count is not None}


def _tighter(current: float | None, value: object) -> object:
    """The smaller of two limits; None is none at all."""
    if current is None or value is None:
        return value if current is None else current
    return min(current, value) if isinstance(value, int | float) else current
