"""limits.parallel: how many calls of one session may be in flight at once. Waiting helps: 429."""

from proxy.core.ask import Ask
from proxy.core.limits.base import Breach, maximum
from proxy.core.policy import Limits
from proxy.core.session import SessionState

_RETRY_AFTER_MS = 1_000


class Parallel:
    name = "parallel"

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        most = maximum(limits.parallel, state, self.name)
        running = len(state.held) + state.below.calls
        if most is None or running < most:
            return None
        return Breach(
            code="parallel_limit_exceeded",
            limit=self.name,
            maximum=most,
            used=running,
            requested=1,
            message=f"Session {ask.session} has {running} calls in flight, and {most} are allowed "
            "at once. Try again when one has ended.",
            status=429,
            retry_after_ms=_RETRY_AFTER_MS,
        )

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        return 0.0  # being busy is no reason to warn: it passes by itself
