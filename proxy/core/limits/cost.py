"""The limits on money, each a room in micro-USD: limits.cost_usd, limits.request_cost_usd,
limits.cost_usd_per_minute, and the windows that many sessions share (`budgets`)."""

from collections.abc import Iterator

from proxy.core.ask import Account
from proxy.core.limits.base import Breach, how_to_extend, maximum, money, share_of, usd
from proxy.core.limits.rooms import Room
from proxy.core.policy import Limits
from proxy.core.session import VELOCITY_SECONDS, SessionState

COST = "cost_usd"
REQUEST_COST = "request_cost_usd"
VELOCITY = "cost_usd_per_minute"


def rooms(
    limits: Limits, state: SessionState, session: str, accounts: tuple[Account, ...], now: float
) -> Iterator[Room]:
    """Every room for money that this call has to fit into."""
    if (most := maximum(limits.cost_micro_usd, state, COST)) is not None:
        yield _session_room(most, state, session)
    if (most := maximum(limits.request_cost_micro_usd, state, REQUEST_COST)) is not None:
        yield _request_room(most, session)
    if (most := maximum(limits.cost_micro_usd_per_minute, state, VELOCITY)) is not None:
        yield _velocity_room(most, state, session, now)
    for account in accounts:
        yield _account_room(account, session)


def recent_micro_usd(state: SessionState, now: float) -> int:
    """What the session's own calls came to within a minute."""
    # Farther ahead than a minute is no other host's clock, but ours before it was set back.
    return sum(cost for at, cost in state.recent_costs if abs(at - now) < VELOCITY_SECONDS)


def share(limits: Limits, state: SessionState) -> float:
    used = state.cost_micro_usd + state.below.spent_micro_usd
    return share_of(used, maximum(limits.cost_micro_usd, state, COST))


def _session_room(most: int, state: SessionState, session: str) -> Room:
    spent = state.cost_micro_usd + state.below.spent_micro_usd
    held = state.held_micro_usd + state.below.held_micro_usd

    def breach(requested: int) -> Breach:
        in_flight = f" and holds {money(held)} for calls in flight" if held else ""
        return Breach(
            code="budget_exceeded",
            limit=COST,
            maximum=usd(most),
            used=usd(spent + held),
            requested=usd(requested),
            message=f"Session {session} has spent {money(spent)} of {money(most)}{in_flight}; "
            f"this call can cost {money(requested)}. " + how_to_extend(session, COST, "1"),
        )

    return Room(most - spent - held, "micro_usd", breach, held)


def _request_room(most: int, session: str) -> Room:
    def breach(requested: int) -> Breach:
        return Breach(
            code="request_cost_exceeded",
            limit=REQUEST_COST,
            maximum=usd(most),
            used=0.0,
            requested=usd(requested),
            message=f"This call of session {session} can cost {money(requested)}, and one call "
            f"may cost {money(most)}. Send less, or raise limits.{REQUEST_COST}.",
        )

    return Room(most, "micro_usd", breach, per_call=True)


def _velocity_room(most: int, state: SessionState, session: str, now: float) -> Room:
    held = state.held_micro_usd + state.below.held_micro_usd
    used = held + recent_micro_usd(state, now) + state.below.recent_micro_usd

    def breach(requested: int) -> Breach:
        return Breach(
            code="velocity_exceeded",
            limit=VELOCITY,
            maximum=usd(most),
            used=usd(used),
            requested=usd(requested),
            message=f"Session {session} has spent or holds {money(used)} within a minute, of "
            f"{money(most)}; this call can cost {money(requested)}. It may go on in a minute.",
        )

    return Room(most - used, "micro_usd", breach, held)


def _account_room(account: Account, session: str) -> Room:
    used = account.spent_micro_usd + account.held_micro_usd

    def breach(requested: int) -> Breach:
        return Breach(
            code="budget_exceeded",
            limit=f"budgets.{account.scope}.{account.window}",
            scope=account.scope,
            maximum=usd(account.maximum_micro_usd),
            used=usd(used),
            requested=usd(requested),
            message=f"The {account.scope} budget of {money(account.maximum_micro_usd)} per "
            f"{account.window} has {money(used)} spent or held; this call of session "
            f"{session} can cost {money(requested)}. It opens again with the next window, or "
            "raise it under budgets in the policy.",
        )

    return Room(
        account.room_micro_usd, "micro_usd", breach, account.held_micro_usd, account.account
    )
