"""Why nothing at all is served to a session: it was killed or paused, or waits for its human."""

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.state import SessionKey, SessionState
from proxy.errors import Unanswerable


def checkpoint(session: str, state: SessionState) -> str:
    """Where a session can be taken up again."""
    return f"{session}@{state.forked_at + state.steps}"


def refuse_killed(key: SessionKey, state: SessionState) -> None:
    """Raises Unanswerable where a human would have a session go on that was killed."""
    if state.killed:
        raise Unanswerable(f"session {key.session} was killed", "session_killed")


def refuse_closed(status: int, state: SessionState, session: str) -> Refusal | None:
    """The refusal of every call, whatever it costs; None where the session is open."""
    if state.killed:
        message = f"Session {session} was killed. Start a new session to go on."
        return _refusal(status, state, session, "session_killed", message)
    if state.paused:
        message = f"Session {session} is paused. To go on: holdfast sessions resume {session}."
        return _refusal(status, state, session, "session_paused", message)
    return refuse_awaiting(status, state, session) if state.handoffs else None


def refuse_awaiting(status: int, state: SessionState, session: str) -> Refusal | None:
    """The refusal of a session that waits for its human: it says for what, and how to answer."""
    for handoff in state.handoffs:
        if handoff.blocking:
            message = f"Session {session} waits for a human. {handoff.message}"
            return _refusal(status, state, session, "awaiting_human", message, handoff.limit)
    return None


def _refusal(
    status: int,
    state: SessionState,
    session: str,
    code: str,
    message: str,
    limit: str | None = None,
) -> Refusal:
    facts = LimitFacts(
        session=session,
        limit=limit,
        resumable=not state.killed,
        checkpoint=checkpoint(session, state),
    )
    return Refusal(status, code, "session_state", message, facts)
