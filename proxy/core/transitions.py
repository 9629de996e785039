"""How events that have nothing to do with money change the state of a session."""

from collections.abc import Mapping

from proxy.core import events as ev
from proxy.core.effects import answered, learnt
from proxy.core.events_record import RecordEvent
from proxy.core.fingerprints import remembered
from proxy.core.loops.finding import strongest
from proxy.core.loops.thread import begun_anew
from proxy.core.state import SessionState
from proxy.core.tools.events import ToolEvent

Marking = (
    ev.AttemptFailed
    | ev.CallRefused
    | ev.LimitWarned
    | ev.LoopNoticed
    | ev.LimitsExtended
    | ev.SessionPaused
    | ev.SessionResumed
    | ev.SessionKilled
    | ev.SessionFinished
    | ev.TreeBegan
    | ev.HandedOff
    | ev.HandoffAnswered
    | ev.Guided
    | ev.WebhookDelivered
    | ToolEvent
    | RecordEvent
)
"""Events that have nothing to do with money: they set a few fields."""


def changed(  # noqa: C901 - the arms of a match over a closed union count as one
    state: SessionState, event: Marking
) -> dict[str, object]:
    """The fields of the state that it sets, with their values."""
    if isinstance(event, RecordEvent):
        return _kept(state, event)
    match event:
        case ev.CallRefused():
            refused = {"refused_code": event.code, "refused_at": event.at}
            return {**refused, "refusals": state.refusals + 1}
        case ev.LimitWarned():
            return {"warned": state.warned | {event.limit}}
        case ev.LoopNoticed():
            return {"rung": strongest(state.rung, event.rung)}
        case ev.LimitsExtended():
            extended = {"extended": _extended(state, event), "finished": False}
            return {**extended, "threads": begun_anew(state.threads), "rung": None}
        case ev.SessionPaused():
            return {"paused": True, "finished": False}
        case ev.SessionResumed():
            return {"paused": False}
        case ev.SessionKilled():
            return {"killed": True, "finished": False, "handoffs": ()}
        case ev.SessionFinished():
            return {"finished": True, "handoffs": ()}
        case ev.TreeBegan():
            return {"has_children": True}
        case ev.HandedOff():
            return {"handoffs": (*state.handoffs, event)}
        case ev.HandoffAnswered():
            return _answered(state, event)
        case ev.Guided():
            guided = {"guidance": (*state.guidance, event.message), "finished": False}
            return {**guided, "threads": begun_anew(state.threads), "rung": None}
        case ev.WebhookDelivered() | ev.AttemptFailed():
            return {}
        case _:
            return {"tools": learnt(state.tools, event, state.seq + 1)}


def _kept(state: SessionState, event: RecordEvent) -> dict[str, object]:
    told: dict[str, object] = {"replays": state.replays + 1}
    match event:
        case ev.StepInherited():
            return {**told, "recorded": remembered(state.recorded, event.call_id, event.content)}
        case ev.ReplayAllowed():
            return {**told, "resumable": True}
        case ev.ReplayBegan():
            return {**told, "finished": False}
        case ev.StepReplayed() | ev.ReplayDiverged():
            return told
        case ev.SessionForked():
            return {"forked_at": event.step}
        case ev.SessionImported():
            return {}


def _extended(state: SessionState, event: ev.LimitsExtended) -> Mapping[str, int]:
    extended = dict(state.extended)
    for limit, amount in event.added:
        extended[limit] = extended.get(limit, 0) + amount
    return extended


def _answered(state: SessionState, event: ev.HandoffAnswered) -> dict[str, object]:
    left = tuple([handoff for handoff in state.handoffs if handoff.handoff != event.handoff])
    changed = {"handoffs": left, "finished": False}
    if event.held is None or event.action not in ("approve", "deny"):
        return changed
    approved, said = event.action == "approve", event.message
    tools = answered(state.tools, event.held.digest, approved=approved, message=said)
    return {**changed, "tools": tools}
