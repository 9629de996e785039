"""limits.tool_calls: how many tool calls the answers of one session may ask for in all.

An answer cannot be taken back, so the gate is before the call: once the number is reached, only a
request that offers no tools is let through, so that an agent can still have its conclusion written.
"""

from proxy.core.ask import Ask
from proxy.core.limits.base import Breach, how_to_extend, maximum, share_of
from proxy.core.policy import Limits
from proxy.core.session import SessionState


class ToolCalls:
    name = "tool_calls"

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        most = maximum(limits.tool_calls, state, self.name)
        used = state.tool_calls + state.below.tool_calls
        if most is None or used < most or not ask.tools:
            return None
        return Breach(
            code="tool_call_limit_exceeded",
            limit=self.name,
            maximum=most,
            used=used,
            requested=1,
            message=f"Session {ask.session} has asked for {used} of {most} tool calls. "
            + how_to_extend(ask.session, self.name, "10")
            + " A request that offers no tools is still served.",
        )

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        return share_of(
            state.tool_calls + state.below.tool_calls, maximum(limits.tool_calls, state, self.name)
        )
