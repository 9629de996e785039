"""Trees of sessions: what a limit of a session above counts, and how it is charged.

A session keeps its own log. What the sessions below it come to stands on one account of the store,
its tree's. A limit of the session counts both.
"""

from dataclasses import replace

import msgspec

from proxy.core.policy import Limits
from proxy.core.session import SessionKey, SessionState

MOST_ABOVE = 8
"""Sessions above one another."""


_SLOT_SECONDS = 15
_SLOTS = 5


class Kin(msgspec.Struct, frozen=True):
    """A session above the one that calls. state: with what the sessions below it came to."""

    key: SessionKey
    limits: Limits
    state: SessionState


def tree_account(key: SessionKey, state: SessionState) -> str:
    """The id of the account of all sessions below this one, in this generation of it.

    By its beginning: generations are counted anew where a log was deleted."""
    return f"tree:{key.tenant}:{key.session}:{state.created_at * 1000:.0f}"


def tool_account(tree: str, glob: str) -> str:
    """The id of the account that counts the calls of such tools below."""
    return f"{tree}/tool/{glob}"


def minute_accounts(tree: str, now: float) -> tuple[str, ...]:
    """The ids of the accounts of what was settled below within a minute, and up to a quarter more;
    the one of now is the first."""
    slot = int(now // _SLOT_SECONDS)
    return tuple([f"{tree}/minute/{slot - back}" for back in range(_SLOTS)])


def lowered(limits: Limits, cost_micro_usd: int | None, steps: int | None) -> Limits:
    """The limits with a budget that a run brought along for itself."""
    if cost_micro_usd is None and steps is None:
        return limits
    return replace(
        limits,
        cost_micro_usd=_less(limits.cost_micro_usd, cost_micro_usd),
        steps=_less(limits.steps, steps),
    )


def _less(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
