"""Whether a call may ask its provider once more, or another one, inside the same step."""

from msgspec.structs import replace

from proxy.core.ask import Account, Ask, Instead
from proxy.core.closed import refuse_closed
from proxy.core.decision import Blocked, Granted, Refusal
from proxy.core.engine import fit
from proxy.core.limits.base import maximum
from proxy.core.limits.cost import REQUEST_COST
from proxy.core.limits.rooms import SESSION
from proxy.core.rules import Rules
from proxy.core.session import HeldCall, SessionState
from proxy.core.tree import Kin


def fits_again(
    rules: Rules,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    held: HeldCall,
    now: float,
    above: tuple[Kin, ...] = (),
) -> Granted | Blocked:
    """What the call holds for another attempt, beside what it holds already: it must fit into all
    rooms as a call of its own would, and both together into that of one call. Steps and time are
    not asked: it is the same step."""
    if (closed := refuse_closed(rules.refusal_status, state, ask.session)) is not None:
        return Blocked(None, closed)
    most = maximum(rules.limits.request_cost_micro_usd, state, REQUEST_COST)
    admit = fit(rules, state, ask, accounts, now, above, patient=False)
    if isinstance(admit, Refusal):
        return Blocked(admit.held_at or SESSION, admit)
    cost = admit.hold_cost_micro_usd
    if most is not None and held.cost_micro_usd + cost > most:
        return Blocked(None)
    return Granted(admit.hold_input_tokens + admit.output_allowance, cost, admit)


def fits_instead(
    rules: Rules,
    state: SessionState,
    wanted: Instead,
    accounts: tuple[Account, ...],
    held: HeldCall,
    now: float,
    above: tuple[Kin, ...] = (),
) -> Granted | Blocked:
    """What the call holds on top for an attempt that is made in the place of one that came to
    nothing: what that one held and did not use is used for it."""
    if (closed := refuse_closed(rules.refusal_status, state, wanted.ask.session)) is not None:
        return Blocked(None, closed)
    cost, tokens = wanted.spare_micro_usd, wanted.spare_tokens
    most = maximum(rules.limits.request_cost_micro_usd, state, REQUEST_COST)
    freed = replace(
        state, held_micro_usd=state.held_micro_usd - cost, held_tokens=state.held_tokens - tokens
    )
    shared = tuple([replace(a, held_micro_usd=a.held_micro_usd - cost) for a in accounts])
    kin = tuple([_freed(one, cost, tokens) for one in above])
    admit = fit(rules, freed, wanted.ask, shared, now, kin, patient=False)
    if isinstance(admit, Refusal):
        return Blocked(admit.held_at or SESSION, admit)
    used = held.cost_micro_usd - cost
    if most is not None and used + admit.hold_cost_micro_usd > most:
        return Blocked(None)
    more_tokens = admit.hold_input_tokens + admit.output_allowance - tokens
    return Granted(max(0, more_tokens), max(0, admit.hold_cost_micro_usd - cost), admit)


def _freed(kin: Kin, cost_micro_usd: int, tokens: int) -> Kin:
    below = kin.state.below
    below = replace(
        below,
        held_micro_usd=below.held_micro_usd - cost_micro_usd,
        held_tokens=below.held_tokens - tokens,
    )
    return replace(kin, state=replace(kin.state, below=below))
