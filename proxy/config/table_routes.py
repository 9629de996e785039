"""The keys of `upstreams`, `routes` and `routes_defaults`: where calls go, and where else."""

from collections.abc import Mapping
from typing import Any, Final, get_args

from proxy.config.containers import Key, ListOf, Struct
from proxy.config.scalars import Choice, Flag, Number, Secret, Text
from proxy.core.failing import Hedge, OnUnavailable
from proxy.core.policy import Route, Target, Upstream
from proxy.core.request import DialectName
from proxy.core.routing import SPOKEN

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"
NAME: Final = Text("a name of letters, digits, and ._@- within", _NAME)
GLOB: Final = Text("text, where * and ? stand for other text", r"[^\x00-\x1f]+", 256)
BASE_URL: Final = Text(
    "an http:// or https:// URL without credentials, query or fragment",
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\s?#]*)?",
    hidden=True,
    make=lambda url: url.rstrip("/"),
)


def _target(text: str) -> Target:
    upstream, _, model = text.partition("/")
    return Target(upstream, model or None)


TARGET: Final = Text("an upstream, or upstream/model", _NAME + r"(?:/\S+)?", make=_target)
DIALECT: Final = Choice(get_args(DialectName))
ENDPOINT: Final = Choice((*get_args(DialectName), "*"))


def _upstream(*, price: str | None = None, **values: object) -> Upstream:
    fields: dict[str, Any] = {**values, "free": price == "free"}
    if "dialect" in fields:  # said, it says what is answered, too
        fields.setdefault("endpoints", SPOKEN[fields["dialect"]])
    return Upstream(name="", **fields)


UPSTREAM: Final = Struct(
    _upstream,
    (
        Key("base_url", BASE_URL, "Where the provider's API begins, /v1 included if it has one.",
            required=True),
        Key("dialect", Choice(("openai", "anthropic")), "Whose API it is: in which header its own "
            "key goes and, where endpoints are unsaid, what it answers."),
        Key("api_key", Secret(), "Its own key; null: the caller's credential is forwarded.",
            nullable=True),
        Key("price", Choice(("free",)), "free: nothing there costs anything; null: priced.",
            nullable=True),
        Key("include_usage", Flag(), "Whether it may be asked for stream_options.include_usage."),
        Key("endpoints", ListOf(DIALECT), "What it answers: calls in other dialects are translated "
            "for it. null, or neither this nor dialect: a route's first target is asked as the "
            "client asked.",
            nullable=True),
        Key("forward_credentials", Flag(), "As a fallback, it may be sent the caller's credential, "
            "though it is another origin than the route's first target."),
    ),
)  # fmt: skip

_DEADLINE: Final = Number(0, 86_400, above=True)
HEDGE: Final = Struct(
    Hedge,
    (
        Key("after_seconds", Number(0, 3_600, above=True), "The next target is asked beside one "
            "that has not begun to answer after so long; the first to begin is taken.",
            required=True),
    ),
)  # fmt: skip

_FOR_EACH: Final = (
    Key("downgrade_below", Number(0, 1), "Share of a run's money left below which its calls begin "
        "at the first cheaper target; null: never.", nullable=True),
    Key("hedge", HEDGE, "Two targets at once; null: one after the other.", nullable=True),
    Key("on_unavailable", Choice(get_args(OnUnavailable)), "Where no target can be asked: the call "
        "is refused, or its session waits for a human."),
)  # fmt: skip


def _route(match: Mapping[str, str], to: tuple[Target, ...], **values: object) -> Route:
    fields: dict[str, Any] = {**match, **values}  # the table gives each its type
    return Route(to=to, **fields)


ROUTE: Final = Struct(
    _route,
    (
        Key("match", Struct(dict, (
            Key("model", GLOB, "Glob on the model asked for."),
            Key("endpoint", ENDPOINT, "The dialect it is asked in; *: any."),
        )), "Which calls it takes; what is not named matches anything.", required=True),
        Key("to", ListOf(TARGET, least=1), "Where they go; a model after the slash replaces the "
            "caller's.", required=True),
        Key("fallback", ListOf(TARGET), "Where they go instead, in order, while that one fails."),
        *_FOR_EACH,
        Key("forward_credentials", Flag(), "Its fallbacks may be sent the caller's credential, "
            "whatever their origin."),
        Key("deadline_seconds", _DEADLINE, "One of its calls, with all that is done for it; null: "
            "as for every call.", nullable=True),
    ),
)  # fmt: skip
ROUTES_DEFAULTS: Final = Struct(dict, _FOR_EACH)
"""Laid under each route once all are read: `config.routes`."""
