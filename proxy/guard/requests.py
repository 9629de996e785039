"""What the policy's `tools` ask of a call before it is sent: refused, changed, or let through."""

from functools import partial

from proxy.core.decision import Refusal
from proxy.core.globs import matches
from proxy.core.request import CONVERSATIONS
from proxy.core.session import SessionState
from proxy.core.splice import raw_value
from proxy.core.tools.choice import chosen_tool
from proxy.core.tools.policy import Tools
from proxy.core.tools.wording import denied
from proxy.intake import Call
from proxy.replies import dialect_of
from proxy.reservation import Brings


def is_guarded(call: Call, state: SessionState) -> bool:
    """Whether this call's request or answer may have to be changed for its tools."""
    tools, known = call.rules.tools, state.tools
    if not tools.globs or call.request.dialect not in CONVERSATIONS:
        return False
    if tools.guards(call.request.offered_tools):
        return True
    return bool(known.withheld or known.renamed or (known.effects and tools.scope == "tree"))


def brings(call: Call) -> Brings | None:
    """Where the call may bring results that are to be recorded."""
    if not call.rules.tools.globs:
        return None
    dialect = dialect_of(call.request.dialect)
    return Brings(call.request.messages, partial(dialect.result_contents, call.body))


def refuse_request(call: Call) -> Refusal | None:
    """Why a call is not even sent: it forces a denied tool, or asks for several answers of which
    only one could be guarded."""
    tools, request = call.rules.tools, call.request
    if not (tools.globs and tools.guards(request.offered_tools)):
        return None
    if request.choices > 1:
        message = "Of several choices (n) only one could be guarded; ask for one (policy: tools)."
        return Refusal(400, "invalid_request", "invalid_request_error", message, param="n")
    if not (tools.deny and request.forces_tool):
        return None
    forced = _forced(call)
    if forced is None:  # any, and then there has to be one that is allowed
        allowed = [name for name in request.offered_tools if not matches(tools.deny, name)]
        forced = None if allowed else request.offered_tools[0]
    return refuse_denied(forced) if forced and matches(tools.deny, forced) else None


def refuse_denied(tool: str) -> Refusal:
    return Refusal(403, "denied_tool", "session_limit", denied(tool), param="tools")


def denied_tools(tools: Tools, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are taken off the offered ones."""
    return tuple([name for name in offered if matches(tools.deny, name)]) if tools.deny else ()


def _forced(call: Call) -> str | None:
    places = call.request.places
    for key in ("tool_choice", "function_call"):
        tool = chosen_tool(raw_value(call.body, places, key))
        if tool is not None:
            return tool
    return None
