"""What listings show of a session, from its state."""

from proxy.core.session import SessionState
from proxy.stores import SessionHead


def head_of(state: SessionState) -> SessionHead:
    """What listings show of it."""
    return SessionHead(
        state.status,
        state.agent,
        state.parent,
        state.generation,
        state.steps,
        state.tokens,
        state.cost_micro_usd,
        state.held_micro_usd,
        state.created_at,
        state.updated_at,
        seq=state.seq,
    )
