"""What a provider refuses for what only another provider understands, or for what we have added, is
asked again without that, once each. Pure."""

from msgspec.structs import replace

from proxy.attempting.opened import Begun, Opened, Refused, Whole
from proxy.attempting.sending import Failed
from proxy.core.decision import Admit
from proxy.core.dialects.bound import is_bound_refusal
from proxy.core.request import CONVERSATIONS
from proxy.intake import Call
from proxy.outbound import Base, asks_usage, base_of

_REFUSED = (400, 404, 422)
_OURS = (b"stream_options", b"include_usage")


def refused_in(came: Opened | Failed) -> Refused | None:
    """The provider's refusal of what was asked, if it is one that other words may change."""
    if isinstance(came, Whole | Begun):
        return None
    answer = came.answer if isinstance(came, Failed) else came
    return answer if answer is not None and answer.status in _REFUSED else None


def amended(call: Call, admit: Admit, base: Base | None, refused: Refused) -> Base | None:
    """What is asked instead; None where there is nothing to leave out."""
    if call.request.dialect not in CONVERSATIONS:
        return None
    base = base or base_of(call, admit)
    if not base.changes.unbound and is_bound_refusal(refused.status, refused.body):
        return replace(base, changes=replace(base.changes, unbound=True))
    if refused.status == 404 or base.is_bare:
        return None
    added = base.changes.notes or base.changes.withhold_tools
    asked = base.request.stream and asks_usage(call) and any(x in refused.body for x in _OURS)
    if not (added or asked):
        return None
    return replace(
        base, changes=replace(base.changes, notes=(), withhold_tools=False), is_bare=True
    )
