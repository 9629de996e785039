"""Whether a call may ask its provider once more inside the same step."""

from proxy.core.ask import Account, Ask
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
