"""The sessions above one that calls: read, opened where nobody called there yet, and charged."""

from collections.abc import Sequence

import msgspec

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.decision import Admit
from proxy.core.limits import cost, tokens
from proxy.core.limits.base import maximum
from proxy.core.policy import Limits
from proxy.core.session import Below, SessionKey, SessionState, fold
from proxy.core.tree import MOST_ABOVE, Kin, lowered, tree_account
from proxy.errors import MalformedRequest
from proxy.folds import Fold, Folds
from proxy.reservation import Reservation, opening
from proxy.stores import Append, Balance, Charge, Counts, Guard, Maximum


class Ancestor(msgspec.Struct, frozen=True):
    """One of them, as it was when it was read. own: its state without the sessions below."""

    fold: Fold
    own: SessionState
    kin: Kin


class Lineage:
    """The part of the ledger that knows of trees."""

    def __init__(self, folds: Folds, clock: Clock) -> None:
        self._folds = folds
        self._clock = clock

    async def above(self, want: Reservation, fold_: Fold, *, fresh: bool) -> tuple[Ancestor, ...]:
        """Nearest first. Raises MalformedRequest for a tree that is too deep, or a circle."""
        parent = (
            want.parent if opening(want, fold_.state, self._clock.now()) else fold_.state.parent
        )
        found: list[tuple[SessionKey, Fold]] = []
        while parent is not None:
            key = SessionKey(want.key.tenant, parent)
            if key == want.key or len(found) == MOST_ABOVE or any(key == k for k, _ in found):
                message = f"x-holdfast-parent: at most {MOST_ABOVE} sessions above, in no circle"
                raise MalformedRequest(message, param="x-holdfast-parent")
            above = await self._begun(key, fresh=fresh)
            found.append((key, above))
            parent = above.state.parent
        await self.read_below([key for key, _ in found], fresh=fresh)
        return tuple([self._ancestor(want, key, above) for key, above in found])

    async def _begun(self, key: SessionKey, *, fresh: bool) -> Fold:
        """The session above, open, and marked as one with others below it."""
        fold_ = None if fresh else self._folds.at_hand(key)
        if fold_ is None:
            fold_ = await self._folds.load(key, fresh=fresh)
        if fold_.state.has_children and not fold_.stale:
            return fold_
        now = self._clock.now()
        events: tuple[ev.AnyEvent, ...] = (ev.TreeBegan(at=now),)
        if not fold_.state.seq:
            events = (ev.SessionOpened(at=now, source="child"), *events)
        after = fold(events, start=fold_.state)
        append = Append(key, events, expected_seq=fold_.state.seq)
        await self._folds.submit(fold_, append, after, (), _nobody_is_told).answered()
        return fold_

    async def read_below(self, keys: Sequence[SessionKey], *, fresh: bool) -> None:
        """Takes what is below them from the store, where it is not at hand."""
        accounts = [tree_account(key) for key in keys]
        if not fresh:
            accounts = [name for name in accounts if self._folds.balance(name) is None]
        await self._folds.read_balances(accounts)

    def _ancestor(self, want: Reservation, key: SessionKey, fold_: Fold) -> Ancestor:
        own = fold_.state
        assert want.limits_of is not None
        limits = want.limits_of(own.agent)
        limits = lowered(limits, own.budget_micro_usd, own.budget_steps)
        return Ancestor(fold_, own, Kin(key, limits, self.with_below(key, own)))

    def with_below(self, key: SessionKey, state: SessionState) -> SessionState:
        """The state with what is on the account of its tree."""
        balance = self._folds.balance(tree_account(key)) or Balance()
        counts = balance.counts
        below = Below(
            balance.spent_micro_usd,
            balance.held_micro_usd,
            counts.tokens,
            counts.held_tokens,
            counts.steps,
            counts.tool_calls,
            counts.calls,
        )
        return msgspec.structs.replace(state, below=below)


def _nobody_is_told(append: Append, after: SessionState) -> None:
    """Neither metrics nor watchers count the mark of a tree."""


def guards(above: Sequence[Ancestor]) -> tuple[Guard, ...]:
    """The decision was made on their logs, too."""
    return tuple([Guard(a.kin.key, a.own.seq, a.fold.token or None) for a in above])


def is_current(above: Sequence[Ancestor]) -> bool:
    """Whether nothing has happened to them since they were read."""
    return all(not a.fold.stale and a.fold.state is a.own for a in above)


def tree_charges(above: Sequence[Ancestor], admit: Admit, *, retry: bool) -> tuple[Charge, ...]:
    """What a new call holds on the trees it is in."""
    held_tokens = admit.hold_input_tokens + admit.output_allowance
    counts = Counts(held_tokens=held_tokens, steps=0 if retry else 1, calls=1)
    return tuple([_charge(a, admit.hold_cost_micro_usd, counts) for a in above])


def growth_charges(
    above: Sequence[Ancestor], cost_micro_usd: int, held_tokens: int
) -> tuple[Charge, ...]:
    """What a running call holds more there."""
    return tuple([_charge(a, cost_micro_usd, Counts(held_tokens=held_tokens)) for a in above])


def own_tree(key: SessionKey, limits: Limits, after: SessionState) -> tuple[Charge, ...]:
    """Compares what is below this session with what its own calls leave; moves nothing."""
    if not after.has_children:
        return ()
    return (Charge(tree_account(key), maximum=_left_below(limits, after)),)


def _charge(ancestor: Ancestor, cost_micro_usd: int, counts: Counts) -> Charge:
    most = _left_below(ancestor.kin.limits, ancestor.own)
    return Charge(tree_account(ancestor.kin.key), cost_micro_usd, 0, counts, most)


def _left_below(limits: Limits, own: SessionState) -> Maximum:
    """What the session's own calls leave to those below."""
    return Maximum(
        micro_usd=_minus(
            maximum(limits.cost_micro_usd, own, cost.COST),
            own.cost_micro_usd + own.held_micro_usd,
        ),
        tokens=_minus(maximum(limits.tokens, own, tokens.NAME), own.tokens + own.held_tokens),
        steps=_minus(maximum(limits.steps, own, "steps"), own.steps),
        calls=_minus(maximum(limits.parallel, own, "parallel"), len(own.held)),
    )


def _minus(most: int | None, used: int) -> int | None:
    return None if most is None else most - used
