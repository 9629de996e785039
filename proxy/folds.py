"""The cache of folded sessions and of shared balances, kept one step ahead of the store.

What was submitted is applied at once, in the order of submission, which is the order in which the
store writes. When the store answers with another seq than was foreseen, or refuses, the fold is
dropped and the next reader folds the log anew.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from proxy.clock import Clock
from proxy.core.ask import Account
from proxy.core.session import EMPTY, SessionKey, SessionState, fold
from proxy.errors import HoldfastError
from proxy.stores import NO_COUNTS, Append, Appended, Balance, Charge, Store, StoreAway
from proxy.stores.effects import counted, larger
from proxy.stores.heads import head_of
from proxy.stores.written import outlasting
from proxy.submitted import Fold, Submitted, newer_of
from proxy.tasks import Tasks

_TRIED_AT_ONCE = 8
_NOTHING = Balance()
_BALANCES = 1_024  # at the least: a call is decided on those of all its budgets and trees together


class Folds:
    """At most `capacity` sessions; those in use are never dropped."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tasks: Tasks,
        capacity: int,
        on_write: Callable[[float], None] | None = None,
    ) -> None:
        self._store = store
        self._monotonic = clock.monotonic
        self._tasks = tasks
        self._on_write = on_write
        self._capacity = capacity
        self._folds: OrderedDict[SessionKey, Fold] = OrderedDict()
        self._loading: dict[SessionKey, asyncio.Future[None]] = {}
        self._balances: dict[str, Balance] = {}  # the one moved last is at the end
        self._tokens = _tokens(secrets.token_bytes(8))
        self._pending = 0
        self._all_answered = asyncio.Event()

    def at_hand(self, key: SessionKey, *, new: bool = False) -> Fold | None:
        """The session's fold if it need not be read. new: made for this call, nothing is there."""
        known = self._folds.get(key)
        if known is None:
            return self._keep(Fold(key, EMPTY)) if new else None
        if known.stale:
            return None
        self._folds.move_to_end(key)
        return known

    async def load(self, key: SessionKey, *, fresh: bool = False) -> Fold:
        """The session's fold, read from the store if not at hand; many callers read it once."""
        while True:
            known = self._folds.get(key)
            if known is not None and not known.stale and not (fresh and known.pending == 0):
                self._folds.move_to_end(key)
                return known
            if (running := self._loading.get(key)) is None:
                return await self._read(key)
            await asyncio.shield(running)
            fresh = False

    async def latest(self, key: SessionKey) -> Fold:
        """With all that was in the log when this was asked. While appends of ours are under way
        the log is not read: their answers tell whether others wrote."""
        known = self._folds.get(key)
        if known is None or not known.pending:
            known = await self.load(key, fresh=True)
        if not known.pending:
            return known
        await known.caught_up()
        return await self.load(key)

    async def _read(self, key: SessionKey) -> Fold:
        done = self._loading[key] = asyncio.get_running_loop().create_future()
        try:
            return self._keep(await self._read_log(key))
        except StoreAway as away:
            return await self._as_known(key, away)
        finally:
            del self._loading[key]
            done.set_result(None)

    async def _read_log(self, key: SessionKey) -> Fold:
        """As the log is, with what was gone on with meanwhile."""
        while True:
            was = self._folds.get(key)
            before = (0, 0) if was is None else (was.answers, was.pending)
            stored = await self._store.read(key)
            fold_ = Fold(key, fold((s.event for s in stored), start=EMPTY))
            if stored:
                fold_.state = replace(fold_.state, seq=stored[-1].seq)
            if (newer := newer_of(fold_, self._folds.get(key, was), before)) is not None:
                return newer

    async def _as_known(self, key: SessionKey, away: StoreAway) -> Fold:
        """While the store is away: the fold at hand, else what was done since it went."""
        known = self._folds.get(key)
        if known is None:
            known = Fold(key, fold(away.log, start=EMPTY))
        while known.refused and known.pending:
            await known.caught_up()
        known.undo()
        known.stale, known.is_spooled = False, True
        return self._keep(known)

    def forget_spooled(self, keys: Collection[SessionKey] | None = None) -> None:
        """The store is back, and has all that was spooled of these sessions, or of all: what is
        known of them here is read anew."""
        for key in self._folds if keys is None else keys:
            fold_ = self._folds.get(key)
            if fold_ is not None and fold_.is_spooled:
                fold_.stale, fold_.is_spooled = True, False
                fold_.misled = fold_.misled or fold_.pending > 0
        if keys is None:
            self._balances.clear()

    def doubt(self) -> None:
        """Others may have written, which went unheard: all that is known here is read anew."""
        for fold_ in self._folds.values():
            fold_.stale = True

    def _keep(self, fold_: Fold) -> Fold:
        self._folds[fold_.key] = fold_
        self._evict()
        return fold_

    def filled(self, accounts: tuple[Account, ...]) -> tuple[Account, ...] | None:
        """The accounts with what is on them; None where that has to be read."""
        filled = []
        for account in accounts:
            balance = self._balances.get(account.account)
            if balance is None:
                return None
            spent, held = balance.spent_micro_usd, balance.held_micro_usd
            filled.append(
                Account(
                    account.account,
                    account.scope,
                    account.window,
                    account.maximum_micro_usd,
                    spent,
                    held,
                )
            )
        return tuple(filled)

    def balance(self, account: str) -> Balance | None:
        """What is on one account; None where that has to be read."""
        return self._balances.get(account)

    async def read_balances(self, accounts: Sequence[str]) -> None:
        """Takes what is on them from the store."""
        if accounts:
            try:
                read = await self._store.balances(accounts)
            except StoreAway as away:
                here, there = self._balances, away.balances
                read = {a: larger(here.get(a, _NOTHING), there.get(a, _NOTHING)) for a in accounts}
            for account, balance in read.items():
                self._balances.pop(account, None)
                self._balances[account] = balance
            while len(self._balances) > max(self._capacity, _BALANCES):
                del self._balances[next(iter(self._balances))]

    def submit(
        self,
        fold_: Fold,
        append: Append,
        after: SessionState,
        freed: tuple[Charge, ...],
        happened: Callable[[Append, SessionState], None],
    ) -> Submitted:
        """Submits what leads to `after`; the fold has it from this moment on.

        freed: what closing a hold gives back on shared accounts, as far as it is known here.
        happened: told once it is written, whoever still waits for it.
        """
        fold_.submits(after)
        self._pending += 1
        if append.charges:
            self._move(append.charges, 1)
        if freed:
            self._move(freed, 1)
        after_token, fold_.token = fold_.token or None, next(self._tokens)
        append = replace(append, after=after_token, token=fold_.token, head=head_of(after))
        written = outlasting(self._store.append, append)
        return Submitted(
            self.take, fold_, append, after, freed, happened, written, self._monotonic()
        )

    def take(self, done: Submitted, result: Appended | BaseException) -> None:
        """The store has answered."""
        fold_ = done.fold
        fold_.answered(done.append, done.after, is_taken=isinstance(result, Appended))
        self._pending -= 1
        if self._folds.get(fold_.key, fold_) is not fold_:
            self._folds[fold_.key].stale = True  # it was read beside this append: without it, maybe
        if fold_.awaited:
            fold_.wake()
        if not self._pending:
            self._all_answered.set()
        if isinstance(result, Appended):
            self._taken(done, result)
        else:
            fold_.stale = True
            fold_.misled = fold_.misled or fold_.pending > 0
            self._move(done.append.charges, -1)
            self._move(done.freed, -1)
        if fold_.misled and not fold_.pending:
            self._tasks.spawn(self.mend_head(fold_.key), "mend a listing")
        if self._on_write is not None:
            self._on_write(self._monotonic() - done.began)

    def _taken(self, done: Submitted, result: Appended) -> None:
        fold_ = done.fold
        if result.spooled:
            fold_.is_spooled = True
        elif result.repeated or result.seq != done.after.seq:
            fold_.stale = True
            fold_.misled = fold_.misled or not result.repeated
        if result.repeated:
            self._move(done.append.charges, -1)
        done.happened(done.append, done.after)

    async def mend_head(self, key: SessionKey) -> None:
        """Tells listings of the session as its log has it. Where another process wrote meanwhile,
        it mends; if the store is away they stay wrong until the session's next call."""
        with suppress(HoldfastError):
            fold_ = await self.latest(key)
            state = fold_.state
            if not (state.is_new or fold_.pending):  # that may be refused yet
                mended = Append(key, (), expected_seq=state.seq, head=head_of(state))
                await self._store.append(mended)

    async def settled(self) -> None:
        """Waits until every append that was submitted has been answered."""
        while self._pending:
            self._all_answered.clear()
            await self._all_answered.wait()

    def _move(self, charges: tuple[Charge, ...], sign: int) -> None:
        """What is not at hand is read anew before it is compared with anything."""
        for charge in charges:
            old = self._balances.pop(charge.account, None)
            if old is not None:
                counts = old.counts
                if charge.counts is not NO_COUNTS:
                    counts = counted(counts, charge.counts, sign)
                self._balances[charge.account] = Balance(
                    old.spent_micro_usd + sign * charge.spent_micro_usd,
                    old.held_micro_usd + sign * charge.held_micro_usd,
                    counts,
                )

    def idle(self, before: float) -> tuple[SessionKey, ...]:
        """Sessions at hand, last used before then, with nothing under way and not finished."""
        return tuple(
            f.key
            for f in self._folds.values()
            if not f.state.is_new
            and f.state.updated_at < before
            and not (f.state.finished or f.state.paused or f.state.held or f.pending)
            and not f.state.waits
        )

    def _evict(self) -> None:
        """Drops the sessions unused the longest; one in use goes to the end of the line."""
        for _ in range(_TRIED_AT_ONCE):
            if len(self._folds) <= self._capacity:
                return
            key = next(iter(self._folds))
            fold_ = self._folds[key]
            if fold_.pending or fold_.state.held:
                self._folds.move_to_end(key)
            else:
                del self._folds[key]


def _tokens(process: bytes) -> Iterator[bytes]:
    """Names for appends that no other process gives."""
    return (process + number.to_bytes(8, "big") for number in count(1))
