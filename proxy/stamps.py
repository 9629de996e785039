"""The headers that Holdfast adds to answers. Pure."""

from proxy.core.decision import Refusal
from proxy.core.engine import remaining_micro_usd
from proxy.core.limits.base import usd
from proxy.core.session import SessionState
from proxy.intake import Call
from proxy.reservation import Admitted
from proxy.wire import Headers
from proxy.wire.headers import Kind, forwarded, kind_of

_REQUEST_IDS = ("x-request-id", "request-id")


def admitted_stamps(call: Call, admitted: Admitted, state: SessionState) -> Headers:
    """What an answer says of its session: `state` is as new as it can be when the head is sent."""
    admit = admitted.admit
    return (
        *session_stamps(call, state),
        ("x-holdfast-step", str(admit.step)),
        ("x-holdfast-decision", admit.name),
        ("x-holdfast-upstream", call.upstream.name),
        *(("x-holdfast-warning", name) for name in (*admit.warnings, *admit.loop_warnings)),
        *_replay(call),
    )


def replayed_stamps(call: Call, state: SessionState, step: int, upstream: str) -> Headers:
    """What a recorded answer says that is given again. upstream: that was asked then."""
    return (
        *session_stamps(call, state),
        ("x-holdfast-step", str(step)),
        ("x-holdfast-decision", "replay"),
        *((("x-holdfast-upstream", upstream),) if upstream else ()),
        ("x-holdfast-replay", "replayed"),
    )


def session_stamps(call: Call, state: SessionState) -> Headers:
    """Which session, how it was found, and its money."""
    stamps: Headers = (
        ("x-holdfast-session", call.key.session),
        ("x-holdfast-session-source", call.identified.source),
        ("x-holdfast-spent-usd", _usd(state.cost_micro_usd)),
    )
    left = remaining_micro_usd(call.rules.limits, state)
    return stamps if left is None else (*stamps, ("x-holdfast-remaining-usd", _usd(left)))


def refusal_stamps(call: Call, state: SessionState, refusal: Refusal) -> Headers:
    """What a refusal says of its session beside its body."""
    step = ("x-holdfast-step", str(state.steps))
    reason = ("x-holdfast-reason", refusal.code)
    return (*session_stamps(call, state), step, reason, *_replay(call))


def _replay(call: Call) -> Headers:
    return (("x-holdfast-replay", call.replay),) if call.replay else ()


def relayed_headers(
    headers: Headers, request_id: str, stamps: Headers, dropped: int = Kind.NONE
) -> Headers:
    """The provider's headers with ours. Agents need both request-id headers to find a call again;
    the one that the provider did not send gets the value of the other."""
    kept = forwarded(headers, dropped)
    theirs = {name.lower(): value for name, value in kept if kind_of(name) & Kind.REQUEST_ID}
    if len(theirs) == 2:
        return kept + stamps
    known = theirs.get("x-request-id") or theirs.get("request-id") or request_id
    ids = tuple([(name, known) for name in _REQUEST_IDS if name not in theirs])
    return kept + ids + stamps


def _usd(micro_usd: int) -> str:
    return f"{usd(micro_usd):.6f}"
