"""The sessions above one that calls: read, opened where nobody called there yet, and charged."""

from collections.abc import Sequence

import msgspec

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.decision import Admit, Granted
from proxy.core.limits import cost, tokens
from proxy.core.limits.base import maximum
from proxy.core.policy import Limits
from proxy.core.session import Below, HeldCall, SessionKey, SessionState, fold
from proxy.core.tree import MOST_ABOVE, Kin, lowered, tree_account
from proxy.errors import MalformedRequest
from proxy.folds import Fold, Folds
from proxy.reservation import Reservation, opening
from proxy.stores import UNBOUNDED, Append, Balance, Charge, Counts, Guard, Maximum

_MARKED_AGAIN = 1 / 8
"""Of the time after which it would be idle."""


class Ancestor(msgspec.Struct, frozen=True):
    """One of them, as it was when it was read. own: its state without the sessions below. account:
    of its tree."""

    fold: Fold
    own: SessionState
    kin: Kin
    account: str


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
            above = await self._begun(want, key, fresh=fresh)
            found.append((key, above))
            parent = above.state.parent
        await self.read_below([(key, above.state) for key, above in found], fresh=fresh)
        return tuple([self._ancestor(want, key, above) for key, above in found])

    async def _begun(self, want: Reservation, key: SessionKey, *, fresh: bool) -> Fold:
        """The session above, open, and marked as one with others below it: again and again, for it
        is in use as long as they are."""
        fold_ = None if fresh else self._folds.at_hand(key)
        if fold_ is None:
            fold_ = await self._folds.load(key, fresh=fresh)
        state, now = fold_.state, self._clock.now()
        opened = opening(_of_itself(want, state), state, now)
        marked = now - state.updated_at < want.idle_seconds * _MARKED_AGAIN
        if state.has_children and marked and not (opened or fold_.stale):
            return fold_
        events = (*opened, ev.TreeBegan(at=now))
        after = fold(events, start=fold_.state)
        append = Append(key, events, expected_seq=fold_.state.seq)
        await self._folds.submit(fold_, append, after, (), _nobody_is_told).answered()
        return fold_

    async def read_below(
        self, trees: Sequence[tuple[SessionKey, SessionState]], *, fresh: bool
    ) -> None:
        """Takes what is below them from the store, where it is not at hand."""
        accounts = [tree_account(key, state) for key, state in trees]
        if not fresh:
            accounts = [name for name in accounts if self._folds.balance(name) is None]
        await self._folds.read_balances(accounts)

    def _ancestor(self, want: Reservation, key: SessionKey, fold_: Fold) -> Ancestor:
        own = fold_.state
        assert want.limits_of is not None
        limits = want.limits_of(own.agent)
        limits = lowered(limits, own.budget_micro_usd, own.budget_steps)
        kin = Kin(key, limits, self.with_below(key, own))
        return Ancestor(fold_, own, kin, tree_account(key, own))

    def with_below(self, key: SessionKey, state: SessionState) -> SessionState:
        """The state with what is on the account of its tree."""
        balance = self._folds.balance(tree_account(key, state)) or Balance()
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


def _of_itself(want: Reservation, state: SessionState) -> Reservation:
    """With which a session above would open itself: as it was, if there was one."""
    return msgspec.structs.replace(
        want,
        agent=state.agent,
        parent=state.parent,
        source="child",
        budget_micro_usd=state.budget_micro_usd,
        budget_steps=state.budget_steps,
    )


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


def growth_charges(held: HeldCall, above: Sequence[Ancestor], more: Granted) -> tuple[Charge, ...]:
    """What a running call holds more on the trees where it holds something already. One that is
    not above any more is of a generation that has ended: nothing bounds it."""
    counts = Counts(held_tokens=more.output_tokens)
    bounds = {a.account: _left_below(a.kin.limits, a.own) for a in above}
    return tuple(
        [
            Charge(tree, more.cost_micro_usd, 0, counts, bounds.get(tree, UNBOUNDED))
            for tree in held.trees
        ]
    )


def own_tree(key: SessionKey, limits: Limits, after: SessionState) -> tuple[Charge, ...]:
    """Compares what is below this session with what its own calls leave; moves nothing."""
    if not after.has_children:
        return ()
    return (Charge(tree_account(key, after), maximum=_left_below(limits, after)),)


def _charge(ancestor: Ancestor, cost_micro_usd: int, counts: Counts) -> Charge:
    most = _left_below(ancestor.kin.limits, ancestor.own)
    return Charge(ancestor.account, cost_micro_usd, 0, counts, most)


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
