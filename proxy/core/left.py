"""What a session has left, for a call that begins or is in flight. Pure."""

from proxy.core.ask import Ask
from proxy.core.decision import Refusal
from proxy.core.engine import refused_by, remaining_micro_usd
from proxy.core.limits import cost
from proxy.core.limits.base import maximum
from proxy.core.limits.duration_seconds import DurationSeconds
from proxy.core.policy import Limits
from proxy.core.rules import Rules
from proxy.core.session import SessionState

_DURATION = DurationSeconds()


def share_left(limits: Limits, state: SessionState) -> float | None:
    """Of what the session may spend, from 0 to 1; None where it has no such limit."""
    most = maximum(limits.cost_micro_usd, state, cost.COST)
    left = remaining_micro_usd(limits, state)
    if most is None or left is None:
        return None
    return left / most if most > 0 else 0.0


def seconds_left(limits: Limits, state: SessionState, now: float) -> float | None:
    """Until the session's time is over, with all that is in flight; None where it has no end."""
    return _DURATION.left(limits, state, now)


def refuse_over(rules: Rules, state: SessionState, ask: Ask, at: float) -> Refusal:
    """What a call is told that was in flight when its session's time was over."""
    breach = _DURATION.check(rules.limits, state, ask, at)
    assert breach is not None
    return refused_by(rules, state, ask.session, breach)
