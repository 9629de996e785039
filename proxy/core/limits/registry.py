"""The ordered list of limits. Adding one: its file, and its entry here."""

from proxy.core.limits import cost, tokens
from proxy.core.limits.base import Limit
from proxy.core.limits.duration_seconds import DurationSeconds
from proxy.core.limits.parallel import Parallel
from proxy.core.limits.per_tool import PerTool
from proxy.core.limits.steps import Steps
from proxy.core.limits.tool_calls import ToolCalls
from proxy.core.policy import Limits
from proxy.core.session import SessionState

GATES: tuple[Limit, ...] = (Steps(), DurationSeconds(), ToolCalls(), PerTool(), Parallel())

EXTENDABLE_COUNTS = ("steps", "tokens", "duration_seconds", "tool_calls", "parallel")
EXTENDABLE_MONEY = (cost.COST, cost.REQUEST_COST, cost.VELOCITY)
"""What `extend` takes: counts as whole numbers, money as USD."""


def shares(limits: Limits, state: SessionState, now: float) -> dict[str, float]:
    """For each limit how much of it is used, to warn before it is reached."""
    used = {gate.name: gate.share(limits, state, now) for gate in GATES}
    used[cost.COST] = cost.share(limits, state)
    used[tokens.NAME] = tokens.share(limits, state)
    return used
