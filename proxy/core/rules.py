"""What a call is held to, as one value."""

from dataclasses import dataclass, field

from proxy.core.handoff import Handoff
from proxy.core.loops.policy import Loops
from proxy.core.plan import Plan, plan_of
from proxy.core.policy import Limits
from proxy.core.tools.policy import NO_TOOLS, Tools


@dataclass(frozen=True, slots=True)
class Rules:
    """What a call is held to, resolved from the policy for this caller. plan: of the limits.
    loops: None where nothing looks for them. tools: which of them are guarded."""

    limits: Limits
    min_output_tokens: int = 256
    refusal_status: int = 422
    loops: Loops | None = None
    tools: Tools = NO_TOOLS
    handoff: Handoff = field(default_factory=Handoff)
    plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", plan_of(self.limits))
