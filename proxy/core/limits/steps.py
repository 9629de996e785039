"""limits.steps: how many model calls one session may make."""

from proxy.core.ask import Ask
from proxy.core.limits.base import Breach, how_to_extend, maximum, share_of
from proxy.core.policy import Limits
from proxy.core.session import SessionState, failed_before


class Steps:
    name = "steps"

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        most = maximum(limits.steps, state, self.name)
        used = state.steps + state.below.steps
        if most is None or used < most or failed_before(state, ask.body_digest):
            return None
        return Breach(
            code="step_limit_exceeded",
            limit=self.name,
            maximum=most,
            used=used,
            requested=1,
            message=f"Session {ask.session} has used {used} of {most} steps. "
            + how_to_extend(ask.session, self.name, "10"),
        )

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        return share_of(state.steps + state.below.steps, maximum(limits.steps, state, self.name))
