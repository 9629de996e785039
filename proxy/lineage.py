"""The sessions above one that calls: read, opened where nobody called there yet, and charged."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.decision import Admit, Granted
from proxy.core.limits import cost, tokens
from proxy.core.limits.base import maximum
from proxy.core.policy import Limits
from proxy.core.session import Below, HeldCall, SessionKey, SessionState, fold
from proxy.core.state import MARKED_AGAIN
from proxy.core.tree import (
    MOST_ABOVE,
    Kin,
    lowered,
    minute_accounts,
    tool_account,
    tree_account,
)
from proxy.errors import MalformedRequest
from proxy.folds import Folds
from proxy.reservation import Reservation, Settlement, opening
from proxy.stores import UNBOUNDED, Append, Balance, Charge, Counts, Guard, Maximum
from proxy.submitted import Fold


class Tree(msgspec.Struct, frozen=True):
    """A session and the limits that count those below it. own: its state without them."""

    key: SessionKey
    own: SessionState
    limits: Limits

    @property
    def account(self) -> str:
        return tree_account(self.key, self.own)

    def minute(self, now: float) -> tuple[str, ...]:
        """The accounts of what was spent lately; none where nothing limits that."""
        if self.limits.cost_micro_usd_per_minute is None:
            return ()
        return minute_accounts(self.account, now)

    def accounts(self, now: float) -> tuple[str, ...]:
        """All that its limits are compared with."""
        account = self.account
        tools = [tool_account(account, glob) for glob in self.limits.per_tool]
        return (account, *tools, *self.minute(now))


class Ancestor(msgspec.Struct, frozen=True):
    """A session above, as it was when it was read, at `now`. own: its state without those below.
    account: of its tree."""

    fold: Fold
    own: SessionState
    kin: Kin
    account: str
    now: float


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
        trees = [Tree(key, above.state, _limits(want, above.state)) for key, above in found]
        await self.read_below(trees, fresh=fresh)
        now = self._clock.now()
        return tuple(
            [
                Ancestor(above, tree.own, self._kin(tree, now), tree.account, now)
                for tree, (_, above) in zip(trees, found, strict=True)
            ]
        )

    async def _begun(self, want: Reservation, key: SessionKey, *, fresh: bool) -> Fold:
        """The session above, open, and marked as one with others below it: again and again, for it
        is in use as long as they are."""
        fold_ = None if fresh else self._folds.at_hand(key)
        if fold_ is None:
            fold_ = await self._folds.load(key, fresh=fresh)
        state, now = fold_.state, self._clock.now()
        opened = opening(_of_itself(want, state), state, now)
        marked = now - state.updated_at < want.idle_seconds * MARKED_AGAIN
        if state.has_children and marked and not (opened or fold_.stale):
            return fold_
        events = (*opened, ev.TreeBegan(at=now))
        after = fold(events, start=fold_.state)
        append = Append(key, events, expected_seq=fold_.state.seq)
        await self._folds.submit(fold_, append, after, (), _nobody_is_told).answered()
        return fold_

    async def read_below(self, trees: Sequence[Tree], *, fresh: bool) -> None:
        """Takes what is below them from the store, where not all of it is at hand: what is compared
        with one another is to be of one time."""
        now, missing = self._clock.now(), list[str]()
        for tree in trees:
            names = tree.accounts(now)
            if fresh or any(self._folds.balance(name) is None for name in names):
                missing += names
        await self._folds.read_balances(missing)

    def _kin(self, tree: Tree, now: float) -> Kin:
        return Kin(tree.key, tree.limits, self.with_below(tree, now))

    def with_below(self, tree: Tree, now: float) -> SessionState:
        """The state with what is on the accounts of its tree."""
        balance = self._at_hand(tree.account)
        counts, globs = balance.counts, tree.limits.per_tool
        below = Below(
            balance.spent_micro_usd,
            balance.held_micro_usd,
            counts.tokens,
            counts.held_tokens,
            counts.steps,
            counts.tool_calls,
            counts.calls,
            {g: self._at_hand(tool_account(tree.account, g)).counts.tool_calls for g in globs},
            sum(self._at_hand(name).spent_micro_usd for name in tree.minute(now)),
        )
        return msgspec.structs.replace(tree.own, below=below)

    def _at_hand(self, account: str) -> Balance:
        return self._folds.balance(account) or Balance()


def _limits(want: Reservation, own: SessionState) -> Limits:
    assert want.limits_of is not None
    return lowered(want.limits_of(own.agent), own.budget_micro_usd, own.budget_steps)


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
    bounds = {a.account: _left_below(a.kin.limits, a.kin.state, a.now) for a in above}
    return tuple(
        [
            Charge(tree, more.cost_micro_usd, 0, counts, bounds.get(tree, UNBOUNDED))
            for tree in held.trees
        ]
    )


def own_tree(
    key: SessionKey, limits: Limits, after: SessionState, now: float
) -> tuple[Charge, ...]:
    """Compares what is below this session with what its own calls leave; moves nothing. after: with
    what is below."""
    if not after.has_children:
        return ()
    return (Charge(tree_account(key, after), maximum=_left_below(limits, after, now)),)


def closing_charges(
    trees: Sequence[tuple[str, Limits]], what: Settlement, now: float
) -> tuple[Charge, ...]:
    """What a call that ends is counted as on its trees, beside what the store books by itself."""
    charges: list[Charge] = []
    for account, limits in trees:
        for glob in limits.per_tool:
            if calls := sum(fnmatchcase(tool, glob) for tool in what.tools):
                counts = Counts(tool_calls=calls)
                charges.append(Charge(tool_account(account, glob), counts=counts))
        if limits.cost_micro_usd_per_minute is not None:
            minute = minute_accounts(account, now)[0]
            charges.append(Charge(minute, spent_micro_usd=what.cost_micro_usd))
    return tuple(charges)


def _charge(ancestor: Ancestor, cost_micro_usd: int, counts: Counts) -> Charge:
    most = _left_below(ancestor.kin.limits, ancestor.kin.state, ancestor.now)
    return Charge(ancestor.account, cost_micro_usd, 0, counts, most)


def _left_below(limits: Limits, own: SessionState, now: float) -> Maximum:
    """What the session's own calls leave to those below."""
    spent = own.cost_micro_usd + own.held_micro_usd
    left = _minus(maximum(limits.cost_micro_usd, own, cost.COST), spent)
    lately = _minus(maximum(limits.cost_micro_usd_per_minute, own, cost.VELOCITY), 0)
    if lately is not None:
        # What is settled meanwhile moves from held to spent, and counts as much as before.
        below = own.below
        lately += below.spent_micro_usd - below.recent_micro_usd
        lately -= own.held_micro_usd + cost.recent_micro_usd(own, now)
        left = lately if left is None else min(left, lately)
    return Maximum(
        micro_usd=left,
        tokens=_minus(maximum(limits.tokens, own, tokens.NAME), own.tokens + own.held_tokens),
        steps=_minus(maximum(limits.steps, own, "steps"), own.steps),
        calls=_minus(maximum(limits.parallel, own, "parallel"), len(own.held)),
    )


def _minus(most: int | None, used: int) -> int | None:
    return None if most is None else most - used
