"""What a decision of the ledger is made on, read together: the session, those above, the accounts.

Reading may wait; once a `Ground` is given out, nothing of it has changed, and nothing does until
its holder awaits again.
"""

import dataclasses

from msgspec.structs import replace

from proxy.account_names import AccountNames
from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.again import fits_again, fits_instead
from proxy.core.ask import Account, Ask, Instead
from proxy.core.contents import NOT_RECORDED, Content
from proxy.core.decision import Admit, Blocked, Decision, Granted, Wanted
from proxy.core.engine import decide, fits_more
from proxy.core.policy import Limits
from proxy.core.session import HeldCall, SessionKey, SessionState, apply, fold
from proxy.core.tree import Kin, lowered
from proxy.errors import SeqConflict
from proxy.folds import Folds
from proxy.lineage import (
    Ancestor,
    Lineage,
    Tree,
    growth_charges,
    guards,
    is_current,
    own_tree,
    tree_charges,
)
from proxy.reservation import Reservation, holding, opening
from proxy.stores import NO_COUNTS, Append, Charge, Maximum
from proxy.submitted import Fold

NO_LIMITS = Limits()
"""Whose trees are only told of: neither tools nor minutes are counted."""


class Ground:
    """One of them. Not to be kept over an await."""

    __slots__ = (
        "_now",
        "_opened",
        "_rules",
        "_state",
        "_view",
        "_want",
        "above",
        "accounts",
        "fold",
    )

    def __init__(
        self,
        want: Reservation,
        fold_: Fold,
        accounts: tuple[Account, ...],
        above: tuple[Ancestor, ...],
        lineage: Lineage,
        now: float,
    ) -> None:
        state, rules = fold_.state, want.rules
        self.fold = fold_
        self.accounts = accounts
        self.above = above
        self._want = want
        self._now = now
        self._opened = opened = opening(want, state, now)
        if opened:
            state = fold(opened, start=state)
        if state.budget_micro_usd is not None or state.budget_steps is not None:
            limits = lowered(rules.limits, state.budget_micro_usd, state.budget_steps)
            rules = dataclasses.replace(rules, limits=limits)
        self._rules = rules
        self._state = self._view = state
        if state.has_children:
            self._view = lineage.with_below(Tree(want.key, state, rules.limits), now)

    def decide(self, *, patient: bool) -> Decision:
        """See `engine.decide`."""
        ask, now, kin = self._want.ask, self._now, self._kin()
        return decide(self._rules, self._view, ask, self.accounts, now, kin, patient=patient)

    def hold(self, admit: Admit, owner: str) -> tuple[Append, SessionState]:
        """The append of an admitted call, and the state after it."""
        want, above, state = self._want, self.above, self._state
        trees = tuple([ancestor.account for ancestor in above]) if above else ()
        kept = NOT_RECORDED if want.keep is None else want.keep(state)
        events = holding(want, admit, state, self.accounts, trees, owner, self._now, kept)
        after = apply(state, events[0])
        if len(events) > 1:
            after = fold(events[1:], start=after)
        charges = self._charges(admit.hold_cost_micro_usd, after)
        if above:
            charges += tree_charges(above, admit, retry=admit.step <= state.steps)
        return self._append(events, charges, kept.content), after

    def fits_more(
        self, held: HeldCall, input_tokens: int, wanted: Wanted | Ask | Instead
    ) -> Granted | Blocked:
        """See `engine.fits_more`, `again.fits_again` and `again.fits_instead`."""
        rules, state, accounts, now, kin = (
            self._rules, self._view, self.accounts, self._now, self._kin()
        )  # fmt: skip
        match wanted:
            case Ask():
                return fits_again(rules, state, wanted, accounts, held, now, kin)
            case Instead():
                return fits_instead(rules, state, wanted, accounts, held, now, kin)
            case Wanted():
                output = held.tokens - input_tokens
                return fits_more(rules, state, self._want.ask, accounts, output, wanted, now, kin)

    def grow(self, held: HeldCall, more: Granted) -> tuple[Append, SessionState]:
        """The append of a hold that grows, and the state after it."""
        event = ev.HoldExtended(
            at=self._now,
            call_id=self._want.call_id,
            hold_cost_micro_usd=more.cost_micro_usd,
            hold_tokens=more.output_tokens,
        )
        after = apply(self._state, event)
        charges = self._charges(more.cost_micro_usd, after)
        if held.trees:
            charges += growth_charges(held, self.above, more)
        return self._append((event,), charges), after

    def _kin(self) -> tuple[Kin, ...]:
        return tuple([ancestor.kin for ancestor in self.above]) if self.above else ()

    def _charges(self, cost_micro_usd: int, after: SessionState) -> tuple[Charge, ...]:
        windows = tuple(
            [
                Charge(a.account, cost_micro_usd, 0, NO_COUNTS, Maximum(a.maximum_micro_usd))
                for a in self.accounts
            ]
        )
        if not after.has_children:
            return windows
        after = replace(after, below=self._view.below)
        return (*windows, *own_tree(self._want.key, self._rules.limits, after, self._now))

    def _append(
        self,
        events: tuple[ev.AnyEvent, ...],
        charges: tuple[Charge, ...],
        content: Content | None = None,
    ) -> Append:
        """All that happens to the session, its opening first."""
        return Append(
            self._want.key,
            (*self._opened, *events) if self._opened else events,
            expected_seq=self.fold.state.seq,
            charges=charges,
            guards=guards(self.above) if self.above else (),
            contents=() if content is None else (content,),
        )


class Grounds:
    """Reads them."""

    def __init__(self, folds: Folds, clock: Clock) -> None:
        self._folds = folds
        self._clock = clock
        self._names = AccountNames()
        self._lineage = Lineage(folds, clock)

    async def read_below(self, key: SessionKey, state: SessionState) -> None:
        """Makes sure that what the sessions below came to is at hand."""
        if state.has_children:
            await self._lineage.read_below([Tree(key, state, NO_LIMITS)], fresh=False)

    def with_below(self, key: SessionKey, state: SessionState) -> SessionState:
        """The state with what the sessions below it came to, as far as it is at hand."""
        if not state.has_children:
            return state
        return self._lineage.with_below(Tree(key, state, NO_LIMITS), self._clock.now())

    def at_hand(
        self, want: Reservation, accounts: tuple[Account, ...] | None = None
    ) -> Ground | None:
        """As `read`, where nothing of it has to be read. None also where trees are concerned."""
        folds = self._folds
        fold_ = folds.at_hand(want.key, new=want.new)
        if fold_ is None:
            return None
        state = fold_.state
        if want.parent or state.parent or state.has_children:
            return None
        now = self._clock.now()
        if accounts is None:
            accounts = self._names.accounts(want.budgets, want.key.tenant, want.agent, now)
        filled = folds.filled(accounts)
        return None if filled is None else Ground(want, fold_, filled, (), self._lineage, now)

    async def read(
        self, want: Reservation, *, fresh: bool, accounts: tuple[Account, ...] | None = None
    ) -> Ground | None:
        """None where something changed while it was read: then it is to be read again. fresh:
        from the store. accounts: those of a call that runs; else those of now."""
        folds = self._folds
        fold_ = None if fresh else folds.at_hand(want.key, new=want.new)
        if fold_ is None:
            fold_ = await folds.load(want.key, fresh=fresh)
        now = self._clock.now()
        if accounts is None:
            accounts = self._names.accounts(want.budgets, want.key.tenant, want.agent, now)
        above: tuple[Ancestor, ...] = ()
        if fold_.state.parent or want.parent:
            try:
                above = await self._lineage.above(want, fold_, fresh=fresh)
            except SeqConflict:  # another process began the same tree
                return None
        if fold_.state.has_children:
            tree = Tree(want.key, fold_.state, want.rules.limits)
            await self._lineage.read_below([tree], fresh=fresh)
        filled = None if fresh else folds.filled(accounts)
        while filled is None:
            await folds.read_balances([account.account for account in accounts])
            filled = folds.filled(accounts)
        if fold_.stale or not is_current(above):
            return None
        return Ground(want, fold_, filled, above, self._lineage, now)
