"""limits.tokens: input and output tokens of one session; a room, like money (see rooms.py)."""

from proxy.core.limits.base import Breach, how_to_extend, maximum, share_of
from proxy.core.limits.rooms import Room
from proxy.core.policy import Limits
from proxy.core.session import SessionState

NAME = "tokens"


def room(limits: Limits, state: SessionState, session: str) -> Room | None:
    """How many tokens the session has left, this call's input not yet taken off."""
    most = maximum(limits.tokens, state, NAME)
    if most is None:
        return None
    used = _used(state)

    def breach(requested: int) -> Breach:
        return Breach(
            code="token_limit_exceeded",
            limit=NAME,
            maximum=most,
            used=used,
            requested=requested,
            message=f"Session {session} has used {used} of {most} tokens, and this call needs "
            f"{requested}. " + how_to_extend(session, NAME, "100000"),
        )

    return Room(most - used, "tokens", breach, state.held_tokens + state.below.held_tokens)


def share(limits: Limits, state: SessionState) -> float:
    return share_of(_used(state), maximum(limits.tokens, state, NAME))


def _used(state: SessionState) -> int:
    below = state.below
    return state.tokens + state.held_tokens + below.tokens + below.held_tokens
