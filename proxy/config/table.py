"""The table of keys: what a policy file may say. The loader, `holdfast schema` and the reference in
docs/policy.md are all made from it; a new key is one entry here and a field in `core.policy`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.config.containers import Key, ListOf, MapOf, Nulls, Struct, unbuilt
from proxy.config.scalars import Choice, Flag, Number, Text, Usd, UsdPerMillion, Whole
from proxy.config.table_checkpoints import CHECKPOINTS
from proxy.config.table_failing import BREAKERS, RETRIES
from proxy.config.table_handoff import HANDOFF, ON_LIMIT
from proxy.config.table_loops import LOOPS
from proxy.config.table_routes import GLOB, NAME, ROUTE, ROUTES_DEFAULTS, UPSTREAM
from proxy.config.table_tools import TOOLS
from proxy.core.policy import (
    Accounting,
    BoundPolicy,
    Budget,
    Limits,
    Policy,
    PriceOverride,
    Profile,
    ProfileMatch,
    Rejection,
    Route,
    Tenant,
    TimeoutPolicy,
    Upstream,
)

TIER: Final = Text("a service tier in lower case", r"[a-z0-9][a-z0-9_.:-]*", 32)
HEADER: Final = Text("a header name in lower case", r"[a-z0-9!#$%&'*+.^_`|~-]+", 128)
KEY_HASH: Final = Text("sha256: and 64 hex digits", r"sha256:[0-9a-f]{64}", hidden=True)
STORE_URL: Final = Text(
    "sqlite:///PATH, redis://HOST, memory://",
    r"sqlite:///.+|memory://|(redis|valkey)s?(\+cluster|\+sentinel)?://.+",
    hidden=True,  # a URL of Redis may hold a password
)


def _limits(per_tool_nulls: Nulls) -> tuple[Key, ...]:
    count, money = Whole(), Usd()
    per_minute = ("cost_usd_per_minute", "cost_micro_usd_per_minute")
    return (
        Key("steps", count, "Model calls in one session.", nullable=True),
        Key("cost_usd", money, "Money in one session.", "cost_micro_usd", nullable=True),
        Key("tokens", count, "Tokens in one session, input and output.", nullable=True),
        Key("duration_seconds", count, "Age of a session.", nullable=True),
        Key("tool_calls", count, "Tool calls that answers ask for, in one session.", nullable=True),
        Key("per_tool", MapOf(GLOB, count, per_tool_nulls),
            "The same for single tools: glob → count; each glob that matches counts."),
        Key("parallel", Whole(minimum=1), "Calls of one session in flight at once.",
            nullable=True),
        Key("request_cost_usd", money, "The worst case of one call.", "request_cost_micro_usd",
            nullable=True),
        Key(per_minute[0], money, "Money of one session within a minute.", per_minute[1],
            nullable=True),
        Key("warn_at", Number(0, 1, above=True), "Share of a limit at which calls are warned."),
        Key("on_limit", ON_LIMIT, "Past a limit or in a loop: calls are refused, or the session "
            "waits for a human."),
    )  # fmt: skip


LIMITS: Final = Struct(Limits, _limits("drop"))
PROFILE_LIMITS: Final = Struct(dict, _limits("keep"))

BUDGET: Final = Struct(
    Budget,
    (
        Key("scope", Choice(("tenant", "agent", "global")), "Whose sessions share it.",
            required=True),
        Key("cost_usd", Usd(), "Money in one window.", "cost_micro_usd", required=True),
        Key("window", Choice(("1h", "1d", "1w", "1mo")), "Calendar window, in UTC.",
            required=True),
    ),
)  # fmt: skip

PRICE: Final = Struct(
    PriceOverride,
    (
        Key("input", UsdPerMillion(), "Fresh input.", required=True),
        Key("output", UsdPerMillion(), "Output, reasoning included.", required=True),
        Key("cache_read", UsdPerMillion(), "Input read from a prompt cache; null: as input.",
            nullable=True),
        Key("cache_write", UsdPerMillion(), "Input written to a prompt cache; null: as input.",
            nullable=True),
        Key("cache_write_1h", UsdPerMillion(), "For an hour; null: as cache_write, where that is "
            "given at least twice input.", nullable=True),
        Key("service_tiers", MapOf(TIER, Number(0, 100)), "What they are multiplied by where the "
            "answer says so: flex: 0.5; as speed:fast and geo:us for Claude's."),
    ),
)  # fmt: skip

_STATUS: Final = Whole(400, 499)
REJECTION: Final = Struct(
    Rejection,
    (
        Key("status", _STATUS, "HTTP status of a refusal by a limit."),
        Key("clients", MapOf(GLOB, _STATUS, "drop"),
            "The same for some clients: glob on the user-agent → status; the first counts."),
        Key("agents", MapOf(GLOB, _STATUS, "drop"),
            "The same for some agents: glob on the agent's name → status; asked before clients."),
    ),
)  # fmt: skip

ACCOUNTING: Final = Struct(
    Accounting,
    (
        Key("unknown_price", Choice(("dearest", "reject", "tokens_only")),
            "A model without a known price: as the dearest known, refused, or only its tokens."),
        Key("min_output_tokens", Whole(minimum=1),
            "A call is never bounded to less output; where less is left it is refused."),
        Key("holds", Choice(("learned", "full")),
            "What a stream holds at first: what its model usually produces, or its whole bound."),
        Key("wait_seconds", Number(0, 3_600),
            "How long a call waits for what calls in flight hold, before it is refused."),
    ),
)  # fmt: skip

_SECONDS: Final = Number(0, 86_400, above=True)
TIMEOUTS: Final = Struct(
    TimeoutPolicy,
    (
        Key("connect", _SECONDS, "Seconds to connect to a provider."),
        Key("head", _SECONDS, "Seconds from a request sent to the head of its answer."),
        Key("idle", _SECONDS, "Seconds between two pieces of an answer."),
        Key("body", _SECONDS, "Seconds until a client's request is whole."),
    ),
)

_GIB: Final = 1024**3
BOUNDS: Final = Struct(
    BoundPolicy,
    (
        Key("header_bytes", Whole(1024, 1024**2), "Headers of a request or an answer."),
        Key("body_bytes", Whole(1024, _GIB), "Body of a request."),
        Key("answer_bytes", Whole(1024, _GIB), "Body of an unstreamed answer."),
        Key("json_depth", Whole(8, 500), "Nesting of JSON."),
        Key("sse_line_bytes", Whole(1024, _GIB), "One line of a stream."),
        Key(
            "sessions_in_memory",
            Whole(1, 10_000_000),
            "Sessions kept at hand; what is remembered of their conversations is bounded with "
            "them.",
        ),
    ),
)


def _profile(
    match: ProfileMatch, limits: Mapping[str, object] | None = None, trusted: bool = False
) -> Profile:
    return Profile(match, limits or {}, trusted)


PROFILE: Final = Struct(
    _profile,
    (
        Key("match", Struct(ProfileMatch, (
            Key("agent", GLOB, "Glob on the agent's name."),
            Key("tenant", GLOB, "Glob on the tenant; lets the profile loosen limits."),
            Key("model", GLOB, "Glob on the model asked for."),
            Key("header", MapOf(HEADER, GLOB), "Header name → glob on its value."),
        )), "Which calls it is for: all that is named must match.", required=True),
        Key("limits", PROFILE_LIMITS, "Laid over the limits so far; null lifts one."),
        Key("trusted", Flag(), "May loosen limits though a client chooses what it matches on."),
        *unbuilt("loops", "tools", "breakers", "retries", "handoff", "checkpoints", "budgets"),
    ),
)  # fmt: skip


def _policy(
    *,
    upstreams: Mapping[str, Upstream],
    routes: tuple[Route, ...],
    tenants: Mapping[str, Mapping[str, tuple[str, ...]]],
    sessions: Mapping[str, int],
    store: Mapping[str, str],
    **values: object,
) -> Policy:
    fields: dict[str, Any] = {**values, **sessions, **store}  # the table gives each its type
    return Policy(
        upstreams={name: replace(upstream, name=name) for name, upstream in upstreams.items()},
        routes=routes,
        tenants=tuple(Tenant(name, **keys) for name, keys in tenants.items()),
        **fields,
    )


_TENANT: Final = Struct(
    dict,
    (Key("key_hashes", ListOf(KEY_HASH), "sha256: and the hex digest of each of its keys."),),
)

POLICY: Final = Struct(
    _policy,
    (
        Key("version", Whole(1, 1), "Of this format.", field=None),
        Key("upstreams", MapOf(NAME, UPSTREAM, "drop"), "The providers, by name.", required=True),
        Key("routes", ListOf(ROUTE), "Which calls go where; the first that matches takes the call.",
            required=True),
        Key("routes_defaults", ROUTES_DEFAULTS, "For every route that does not say it itself.",
            field=None),
        Key("limits", LIMITS, "Of each session. null: no such limit."),
        Key("budgets", ListOf(BUDGET), "Money that many sessions share."),
        Key("prices", MapOf(GLOB, PRICE, "drop"),
            "By glob on the model, in USD per million tokens; before the known prices."),
        Key("rejection", REJECTION, "How a client is told that it is past a limit."),
        Key("accounting", ACCOUNTING, "How calls are priced and held."),
        Key("timeouts", TIMEOUTS, "Of one attempt at a provider, and of reading a client."),
        Key("retries", RETRIES, "What is sent again after a failure."),
        Key("breakers", BREAKERS, "When a provider's model is left alone, and for how long."),
        Key("bounds", BOUNDS, "What a hostile client or provider is held to."),
        Key("deadline_seconds", _SECONDS, "One call, with all that is done for it."),
        Key("sessions", Struct(dict, (
            Key("idle_seconds", Whole(minimum=1), "A session idle for so long is finished."),
        )), "When sessions end.", required=True),
        Key("tenants", MapOf(NAME, _TENANT, "drop"), "Callers by the credential they send.",
            required=True),
        Key("unknown_credentials", Choice(("anonymous", "reject")),
            "Credentials no tenant names, where an upstream has its own api_key."),
        Key("ungoverned", Choice(("reject", "relay")), "What is billed but cannot be priced."),
        Key("store", Struct(dict, (
            Key("url", STORE_URL, "Where sessions are kept; a change needs a restart.",
                "store_url"),
            Key("on_failure", Choice(("closed", "open")),
                "When the store does not answer, calls are refused, or let through and counted "
                "later.", "store_on_failure"),
        )), "Where sessions are kept.", required=True),
        Key("handoff", HANDOFF, "Sessions that wait for a human."),
        Key("checkpoints", CHECKPOINTS, "What is kept of sessions, and for how long."),
        Key("profiles", ListOf(PROFILE), "Limits for some calls; later ones win."),
        Key("tools", TOOLS, "Which tool calls are handed to the agent; by globs on their names."),
        Key("loops", LOOPS, "Agents that go round in a loop."),
        *unbuilt("routers", "flows", "drills"),
    ),
)  # fmt: skip
