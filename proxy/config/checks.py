"""What in a policy is well-formed and still wrong, or does nothing: an ordered list of checks.

A check reports what makes the policy unusable and warns of rules that can never fire.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import chain
from typing import Final

from proxy.config.checks_checkpoints import CHECKPOINT_CHECKS
from proxy.config.checks_failing import FAILING_CHECKS
from proxy.config.checks_handoff import HANDOFF_CHECKS
from proxy.config.checks_loops import LOOP_CHECKS
from proxy.config.checks_routes import ROUTE_CHECKS
from proxy.config.checks_tools import idle_tool_rules
from proxy.config.draft import Draft
from proxy.config.globs import covers, is_literal
from proxy.config.problems import Path
from proxy.config.table import LIMITS
from proxy.core.policy import MICRO, Budget, PriceOverride, Profile

_NAME_OF: Final = {key.target: key.name for key in LIMITS.keys if key.target}
_UNNAMED: Final = re.compile(r"anonymous|t_[0-9a-f]{16}")
"""How callers are named whose credential no tenant names."""
_RETRIED: Final = (408, 409, 425, 429)
_SCOPES: Final = ("agent", "tenant", "global")
_WITHIN: Final = {("1h", "1d"), ("1h", "1w"), ("1h", "1mo"), ("1d", "1w"), ("1d", "1mo")}
"""Windows that always lie inside another; a week can straddle two months."""


def check(draft: Draft) -> None:
    """Runs every check; what they find is in the draft's reading."""
    for one in CHECKS:
        one(draft)


def distinct_keys(draft: Draft) -> None:
    owners: dict[str, Path] = {}
    for name in draft.reading.names(("tenants",)):
        path = ("tenants", name)
        tenant = draft.reading.values.get(path)
        hashes = tenant.get("key_hashes", ()) if isinstance(tenant, dict) else ()
        if _UNNAMED.fullmatch(name):
            draft.reading.report(path, "a name kept for credentials that no tenant names")
        if isinstance(tenant, dict) and not hashes:
            draft.reading.warn(path, "no key_hashes: no call is ever its own")
        for child, key_hash in draft.reading.children((*path, "key_hashes"), str):
            if key_hash in owners:
                first = ".".join(map(str, owners[key_hash][:2]))
                draft.reading.report(child, f"the same key as one of {first}")
            owners.setdefault(key_hash, child)


def credentials(draft: Draft) -> None:
    policy, path = draft.policy, ("unknown_credentials",)
    own_key = any(upstream.api_key is not None for upstream in policy.upstreams.values())
    if policy.unknown_credentials == "reject" and not own_key:
        draft.reading.warn(path, "never fires: no upstream has an api_key of its own")
    elif policy.unknown_credentials == "reject" and not policy.tenants:
        draft.reading.warn(path, "no tenants: every call to an upstream with an api_key is refused")


def profile_matches(draft: Draft) -> None:
    tenants = draft.reading.names(("tenants",))
    for path, profile in draft.reading.children(("profiles",), Profile):
        match = profile.match
        tenant = match.tenant
        if not profile.limits:
            draft.reading.warn(path, "does nothing: no limits in it")
        if match == type(match)():
            draft.reading.warn((*path, "match"), "matches every call: say it in limits itself")
        if tenant is None or tenant in tenants or _UNNAMED.fullmatch(tenant):
            continue
        if is_literal(tenant):
            draft.reading.warn((*path, "match", "tenant"), "never fires: no tenant of this name")
        elif covers(tenant, "t_*"):
            message = "takes callers that no tenant names: it may loosen for any credential"
            draft.reading.warn((*path, "match", "tenant"), message)


def tightening_profiles(draft: Draft) -> None:
    for path, profile in draft.reading.children(("profiles",), Profile):
        if profile.trusted or profile.match.tenant is not None:
            continue
        for field, value in profile.limits.items():
            key = (*path, "limits", _NAME_OF[field])
            current = getattr(draft.policy.limits, field)
            if not isinstance(value, Mapping):
                _warn_if_looser(draft, key, current, value)
                continue
            for glob, count in value.items():
                _warn_if_looser(draft, (*key, glob), current.get(glob), count)


def _warn_if_looser(draft: Draft, key: Path, current: float | None, value: object) -> None:
    if current is None:
        return
    if not isinstance(value, int | float) or value > current:
        message = "no effect: what a client can choose only tightens a limit (allowed: match on "
        draft.reading.warn(key, message + "tenant, or trusted: true)")


def zero_limits(draft: Draft) -> None:
    limits = draft.policy.limits
    for field, name in _NAME_OF.items():
        if name not in ("per_tool", "tool_calls") and getattr(limits, str(field)) == 0:
            draft.reading.warn(("limits", name), "0: every call is refused")
    least = draft.policy.accounting.min_output_tokens
    if limits.tokens is not None and 0 < limits.tokens < least:
        message = f"every call is refused: accounting.min_output_tokens is {least}"
        draft.reading.warn(("limits", "tokens"), message)
    for path, budget in draft.reading.children(("budgets",), Budget):
        if budget.cost_micro_usd == 0:
            draft.reading.warn((*path, "cost_usd"), "0: every call that costs anything is refused")


def unreached_limits(draft: Draft) -> None:
    limits = draft.policy.limits
    pairs = (
        ("request_cost_usd", limits.request_cost_micro_usd, "cost_usd", limits.cost_micro_usd),
        ("cost_usd_per_minute", limits.cost_micro_usd_per_minute, "cost_usd",
         limits.cost_micro_usd),
        ("parallel", limits.parallel, "steps", limits.steps),
    )  # fmt: skip
    for name, value, other, most in pairs:
        if value is not None and most is not None and value >= most > 0:
            draft.reading.warn(("limits", name), f"never fires: limits.{other} is reached first")
    for glob, count in limits.per_tool.items():
        if limits.tool_calls is not None and count >= limits.tool_calls:
            path = ("limits", "per_tool", glob)
            draft.reading.warn(path, "never fires: limits.tool_calls is reached first")


def budgets_in_budgets(draft: Draft) -> None:
    budgets = list(draft.reading.children(("budgets",), Budget))
    for index, (path, budget) in enumerate(budgets):
        for other, around in budgets:
            if other != path and _lies_within(budget, around):
                message = f"never fires: budgets[{other[-1]}] is reached first"
                draft.reading.warn((*path, "cost_usd"), message)
                break
        for other, above in budgets[:index]:
            if (above.scope, above.window) == (budget.scope, budget.window):
                draft.reading.report(path, f"the scope and window of budgets[{other[-1]}] again")


def _lies_within(budget: Budget, around: Budget) -> bool:
    """Whether all that the one counts is counted by the other, which ends no later."""
    same = (budget.scope, budget.window) == (around.scope, around.window)
    wider = _SCOPES.index(budget.scope) <= _SCOPES.index(around.scope)
    longer = budget.window == around.window or (budget.window, around.window) in _WITHIN
    return not same and wider and longer and budget.cost_micro_usd >= around.cost_micro_usd


def unaffordable_prices(draft: Draft) -> None:
    policy = draft.policy
    session = (policy.limits.cost_micro_usd, policy.limits.request_cost_micro_usd)
    money = (*session, *(budget.cost_micro_usd for budget in policy.budgets))
    most = min((amount for amount in money if amount), default=None)
    tokens = policy.accounting.min_output_tokens
    for path, price in draft.reading.children(("prices",), PriceOverride):
        least = Decimal(price.output) * tokens
        if most is not None and least > most:
            message = (
                f"every call at it is refused: accounting.min_output_tokens ({tokens}) cost "
                f"{least / MICRO:f} USD, and a limit is {Decimal(most) / MICRO:f}"
            )
            draft.reading.warn((*path, "output"), message)


def shadowed_globs(draft: Draft) -> None:
    """The first glob that matches counts, the user's own before those of the defaults."""
    rejection = draft.policy.rejection
    mappings: tuple[tuple[Path, Mapping[str, object]], ...] = (
        (("prices",), draft.policy.prices),
        (("rejection", "clients"), {k.lower(): v for k, v in rejection.clients.items()}),
        (("rejection", "agents"), rejection.agents),
    )
    for path, mapping in mappings:
        globs = list(mapping)
        for index, glob in enumerate(globs):
            above = next((g for g in globs[:index] if covers(g, glob)), None)
            if above is not None:
                draft.reading.warn((*path, glob), f'never fires: "{above}" above takes all of it')


def retried_statuses(draft: Draft) -> None:
    path: Path = ("rejection",)
    rejection = draft.policy.rejection
    by_glob = chain(
        (((*path, "clients", glob), status) for glob, status in rejection.clients.items()),
        (((*path, "agents", glob), status) for glob, status in rejection.agents.items()),
    )
    for key, status in chain([((*path, "status"), rejection.status)], by_glob):
        if status in _RETRIED:
            draft.reading.warn(key, f"SDKs send a call again on {status}")


def tool_rules(draft: Draft) -> None:
    idle_tool_rules(draft.policy.tools, draft.reading, draft.is_own)


CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (
    *ROUTE_CHECKS,
    distinct_keys,
    credentials,
    profile_matches,
    tightening_profiles,
    zero_limits,
    unreached_limits,
    budgets_in_budgets,
    unaffordable_prices,
    shadowed_globs,
    retried_statuses,
    *FAILING_CHECKS,
    *HANDOFF_CHECKS,
    *CHECKPOINT_CHECKS,
    *LOOP_CHECKS,
    tool_rules,
)
