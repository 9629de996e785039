"""limits.duration_seconds: how long after its first call a session may still begin one."""

from proxy.core.ask import Ask
from proxy.core.limits.base import Breach, how_to_extend, maximum, share_of
from proxy.core.policy import Limits
from proxy.core.session import SessionState


class DurationSeconds:
    name = "duration_seconds"

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        most = maximum(limits.duration_seconds, state, self.name)
        age = _age(state, now)
        if most is None or age < most:
            return None
        return Breach(
            code="duration_exceeded",
            limit=self.name,
            maximum=most,
            used=int(age),
            requested=0,
            message=f"Session {ask.session} has run for {int(age)} of {most} seconds. "
            + how_to_extend(ask.session, self.name, "600"),
        )

    def left(self, limits: Limits, state: SessionState, now: float) -> float | None:
        """Seconds until the session's time is over; None where it has no end."""
        most = maximum(limits.duration_seconds, state, self.name)
        return None if most is None else most - _age(state, now)

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        return share_of(_age(state, now), maximum(limits.duration_seconds, state, self.name))


def _age(state: SessionState, now: float) -> float:
    """Seconds since the session's first call; a clock set back makes no negative age."""
    return max(0.0, now - state.created_at) if state.created_at else 0.0
