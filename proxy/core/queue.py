"""What a human's answer makes of what stands in the queue: pure; the fold only carries it out."""

from proxy.core import events as ev
from proxy.core.state import SessionState


def answering(
    state: SessionState, action: ev.HumanAction, now: float
) -> tuple[ev.HandoffAnswered, ...]:
    """The answers to all stops that more room or a hint answers, or (kill) to everything. A held
    tool call is answered by `deciding` alone: whoever gives a hint has not approved it."""
    return tuple(
        [
            _answer(handoff, action, now)
            for handoff in state.handoffs
            if handoff.held is None or action == "kill"
        ]
    )


def deciding(
    state: SessionState, name: str, action: ev.HumanAction, message: str, now: float
) -> ev.HandoffAnswered | None:
    """The answer to one held tool call, named by its own id or its handoff's; of several with the
    same id the oldest. None where none is held."""
    for handoff in state.handoffs:
        if handoff.held is not None and name in (handoff.held.call_id, handoff.handoff):
            return _answer(handoff, action, now, message)
    return None


def held_calls(state: SessionState) -> tuple[str, ...]:
    """The ids of the tool calls that wait."""
    return tuple([handoff.held.call_id for handoff in state.handoffs if handoff.held is not None])


def _answer(
    handoff: ev.HandedOff, action: ev.HumanAction, now: float, message: str = ""
) -> ev.HandoffAnswered:
    """What nobody waited for took no time: it stood there."""
    waited = max(0.0, now - handoff.at) if handoff.blocking else 0.0
    return ev.HandoffAnswered(
        at=now,
        handoff=handoff.handoff,
        action=action,
        message=message,
        waited_seconds=waited,
        held=handoff.held,
    )
