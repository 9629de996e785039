"""limits.per_tool: how often one tool, or a glob of tools, may be asked for in one session.

Like tool_calls, the gate is before the call: a request that no longer offers the tool passes.
"""

from fnmatch import fnmatchcase

from proxy.core.ask import Ask
from proxy.core.limits.base import Breach, how_to_extend, maximum, share_of
from proxy.core.policy import Limits
from proxy.core.session import SessionState


class PerTool:
    name = "per_tool"

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        for glob, limit in limits.per_tool.items():
            most = maximum(limit, state, f"per_tool.{glob}") or 0
            used = _used(state, glob)
            if used >= most and any(fnmatchcase(tool, glob) for tool in ask.tools):
                return self._breach(ask.session, glob, most, used)
        return None

    def _breach(self, session: str, glob: str, most: int, used: int) -> Breach:
        return Breach(
            code="tool_call_limit_exceeded",
            limit=f"per_tool.{glob}",
            maximum=most,
            used=used,
            requested=1,
            message=f"Session {session} has asked for tool {glob} {used} of {most} times. "
            + how_to_extend(session, f"per_tool.{glob}", "5")
            + " A request that does not offer it is still served.",
        )

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        return max(
            (share_of(_used(state, glob), limit) for glob, limit in limits.per_tool.items()),
            default=0.0,
        )


def _used(state: SessionState, glob: str) -> int:
    own = sum(count for tool, count in state.per_tool.items() if fnmatchcase(tool, glob))
    return own + state.below.per_tool.get(glob, 0)
