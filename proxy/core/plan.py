"""Limits compiled to what most calls need: a few figures that a session and a call stay below.

Theory of operation. `engine.decide` asks each limit whether it is passed, how much of it is used
and how much room it leaves. A call that is far from all of them needs none of that: it is admitted
as it came. A plan holds, for each limit that is set, the figure below which nothing is to be said:
neither is its gate near nor a warning due; and one that is not set is infinite. Where a call is not
below all of them, or anything about its session is unusual, the plan says nothing and the rules
themselves decide. A law holds the two together: what the plan admits, they admit alike.
"""

from math import inf

import msgspec

from proxy.core.ask import Account, Ask
from proxy.core.decision import Admit
from proxy.core.limits.cost import recent_micro_usd
from proxy.core.loops.thread import NOTHING, Noted
from proxy.core.policy import Limits
from proxy.core.pricing import tariff
from proxy.core.session import NOTHING_BELOW, SessionState, failed_before
from proxy.core.tariff import NO_TOKEN_BOUND

_ROUNDING = 1e-9
"""A share is a quotient of floats: what is compared with a product stays this much below."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Quiet below these: steps, seconds, tool_calls, per_tool (calls of all tools, so of any glob),
    cost_micro_usd (spent), tokens (with those held), calls (in flight). The others are what may be
    used, the call's own included. None where there is no such limit, or it is infinite."""

    steps: float
    seconds: float
    tool_calls: float
    per_tool: float | None
    cost_micro_usd: float
    tokens: float
    calls: float
    most_micro_usd: float
    most_tokens: float
    most_per_call: float
    lately: int | None


def plan_of(limits: Limits) -> Plan:
    """Compiles them."""
    warn_at = limits.warn_at
    globs = [_quiet(limit, warn_at) for limit in limits.per_tool.values()]
    return Plan(
        steps=_quiet(limits.steps, warn_at),
        seconds=_quiet(limits.duration_seconds, warn_at),
        tool_calls=_quiet(limits.tool_calls, warn_at),
        per_tool=min(globs, default=None),
        cost_micro_usd=_quiet(limits.cost_micro_usd, warn_at),
        tokens=_quiet(limits.tokens, warn_at),
        calls=_or_endless(limits.parallel),
        most_micro_usd=_or_endless(limits.cost_micro_usd),
        most_tokens=_or_endless(limits.tokens),
        most_per_call=_or_endless(limits.request_cost_micro_usd),
        lately=limits.cost_micro_usd_per_minute,
    )


def admit_at_once(
    plan: Plan,
    min_output_tokens: int,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    now: float,
    noted: Noted = NOTHING,
) -> Admit | None:
    """Admits a call that nothing bounds or warns of; None where the rules have to look. noted: what
    is to be noted of it."""
    if not _is_quiet(plan, state, now):
        return None
    asked = ask.bound_per_choice
    held, choices = asked, ask.choices
    if (usual := ask.usual_output) is not None:
        least = min(max(min_output_tokens, ask.least_output), asked)
        held = min(asked, max(least, usual))
    input_tokens = ask.input_tokens
    if ask.unseen_tokens:
        input_tokens += state.largest_tokens or ask.unseen_tokens
    output = asked * choices
    if output > NO_TOKEN_BOUND or (
        state.tokens + state.held_tokens + input_tokens + output > plan.most_tokens
    ):
        return None
    cost = 0
    if ask.price is not None:
        its = tariff(ask.price, input_tokens, ask.exposure)
        cost = its.cost(input_tokens, output)
        if not _is_affordable(plan, state, accounts, cost, now):
            return None
        if held != asked:
            output = held * choices
            cost = its.cost(input_tokens, output)
    before = failed_before(state, ask.body_digest) if state.failed else None
    step = before.step if before is not None else state.steps + 1
    return Admit(step, cost, input_tokens, held * choices, noted=noted)


def _is_quiet(plan: Plan, state: SessionState, now: float) -> bool:
    """Whether no gate is near, no warning due, and the session is as most are."""
    return (
        state.steps < plan.steps
        and now - state.created_at < plan.seconds
        and state.tool_calls < plan.tool_calls
        and (plan.per_tool is None or sum(state.per_tool.values()) < plan.per_tool)
        and state.cost_micro_usd < plan.cost_micro_usd
        and state.tokens + state.held_tokens < plan.tokens
        and len(state.held) < plan.calls
        and not (state.killed or state.paused or state.extended)
        and not (state.handoffs or state.guidance)
        and state.below is NOTHING_BELOW
    )


def _is_affordable(
    plan: Plan, state: SessionState, accounts: tuple[Account, ...], cost: int, now: float
) -> bool:
    held = state.held_micro_usd
    if state.cost_micro_usd + held + cost > plan.most_micro_usd or cost > plan.most_per_call:
        return False
    if plan.lately is not None and recent_micro_usd(state, now) + held + cost > plan.lately:
        return False
    for account in accounts:
        used = account.spent_micro_usd + account.held_micro_usd
        if used + cost > account.maximum_micro_usd:
            return False
    return True


def _quiet(limit: int | None, warn_at: float) -> float:
    """What is used of a limit is no reason to look as long as it is below this."""
    if warn_at <= 0:
        return -inf
    if limit is None:
        return inf
    below = min(limit * warn_at * (1 - _ROUNDING), limit)
    return below if below > 0 else -inf  # a clock that was set back makes an age below nought


def _or_endless(limit: int | None) -> float:
    return inf if limit is None else limit
