"""The cache of folded sessions and of shared balances, kept one step ahead of the store.

What was submitted is applied at once, in the order of submission, which is the order in which the
store writes. When the store answers with another seq than was foreseen, or refuses, the fold is
dropped and the next reader folds the log anew.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count

from cachetools import LRUCache
from msgspec import structs

from proxy.clock import Clock
from proxy.core.ask import Account
from proxy.core.session import EMPTY, SessionKey, SessionState, fold
from proxy.errors import HoldfastError
from proxy.stores import Append, Balance, Charge, SessionHead, Store

_TRIED_AT_ONCE = 8


@dataclass(slots=True, eq=False)
class Fold:
    """A session's state with everything submitted so far.

    token: of the append submitted last, b"" where the state was read from the log. pending: appends
    not answered yet. stale: the log is not what was foreseen. refused: an append
    was; the heads of those submitted after it told of what never happened.
    """

    key: SessionKey
    state: SessionState
    token: bytes = b""
    pending: int = 0
    stale: bool = False
    refused: bool = False


class Folds:
    """At most `capacity` sessions; those in use are never dropped."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        capacity: int,
        on_write: Callable[[float], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_write = on_write
        self._capacity = capacity
        self._folds: OrderedDict[SessionKey, Fold] = OrderedDict()
        self._loading: dict[SessionKey, asyncio.Future[None]] = {}
        self._balances: LRUCache[str, Balance] = LRUCache(capacity)
        self._tokens = _tokens(secrets.token_bytes(8))
        self._writes: set[asyncio.Task[None]] = set()

    async def load(self, key: SessionKey, *, fresh: bool = False, new: bool = False) -> Fold:
        """The session's fold, read from the store if not at hand; many callers read it once.

        new: the id was made for this call, so there is nothing to read.
        """
        if new and key not in self._folds:
            return self._keep(Fold(key, EMPTY))
        while True:
            known = self._folds.get(key)
            if known is not None and not known.stale and not (fresh and known.pending == 0):
                self._folds.move_to_end(key)
                return known
            if (running := self._loading.get(key)) is None:
                return await self._read(key)
            await asyncio.shield(running)
            fresh = False

    async def _read(self, key: SessionKey) -> Fold:
        done = self._loading[key] = asyncio.get_running_loop().create_future()
        try:
            stored = await self._store.read(key)
            fold_ = Fold(key, fold((s.event for s in stored), start=EMPTY))
            if stored:
                fold_.state = replace(fold_.state, seq=stored[-1].seq)
            return self._keep(fold_)
        finally:
            del self._loading[key]
            done.set_result(None)

    def _keep(self, fold_: Fold) -> Fold:
        self._folds[fold_.key] = fold_
        self._evict()
        return fold_

    async def with_balances(
        self, accounts: tuple[Account, ...], *, fresh: bool
    ) -> tuple[Account, ...]:
        """The accounts with what is on them; from the store where `fresh` or not at hand."""
        wanted = [a.account for a in accounts if fresh or a.account not in self._balances]
        if wanted:
            self._balances.update(await self._store.balances(wanted))
        return tuple(self._filled(a) for a in accounts)

    def _filled(self, account: Account) -> Account:
        balance = self._balances.get(account.account, Balance())
        return replace(
            account,
            spent_micro_usd=balance.spent_micro_usd,
            held_micro_usd=balance.held_micro_usd,
        )

    async def append(
        self, fold_: Fold, append: Append, freed: tuple[Charge, ...] = ()
    ) -> SessionState:
        """Submits; the fold has it from this moment on. Returns the state right after it.

        freed: what closing a hold gives back on shared accounts, as far as it is known here.
        """
        after = fold(append.events, start=fold_.state)
        fold_.state = after
        fold_.pending += 1
        moved = (*append.charges, *freed)
        self._move(moved, 1)
        after_token, fold_.token = fold_.token or None, next(self._tokens)
        append = structs.replace(append, after=after_token, token=fold_.token, head=_head(after))
        await asyncio.shield(self._spawn(self._write(fold_, append, moved, after.seq)))
        return after

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Tasks start in the order in which they are made, which is the order of the log."""
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def _write(
        self, fold_: Fold, append: Append, moved: tuple[Charge, ...], foreseen_seq: int
    ) -> None:
        started = self._clock.monotonic()
        try:
            appended = await self._store.append(append)
            if self._on_write is not None:
                self._on_write(self._clock.monotonic() - started)
            if appended.repeated or appended.seq != foreseen_seq:
                fold_.stale = True
        except HoldfastError:
            fold_.stale = True
            fold_.refused = fold_.refused or fold_.pending > 1
            self._move(moved, -1)
            raise
        finally:
            fold_.pending -= 1
            if fold_.refused and not fold_.pending:
                self._spawn(self._mend_head(fold_.key))

    async def _mend_head(self, key: SessionKey) -> None:
        """Tells listings of the session as its log has it. If the store is away they stay wrong
        until the session's next call."""
        with suppress(HoldfastError):
            state = (await self.load(key)).state
            if state.seq:
                await self._store.append(Append(key, (), head=_head(state)))

    async def settled(self) -> None:
        """Waits until every append that was submitted has been answered."""
        while self._writes:
            await asyncio.gather(*self._writes, return_exceptions=True)

    def _move(self, charges: tuple[Charge, ...], sign: int) -> None:
        for charge in charges:
            old = self._balances.get(charge.account, Balance())
            self._balances[charge.account] = Balance(
                spent_micro_usd=old.spent_micro_usd + sign * charge.spent_micro_usd,
                held_micro_usd=old.held_micro_usd + sign * charge.held_micro_usd,
            )

    def idle(self, before: float) -> tuple[SessionKey, ...]:
        """Sessions at hand, last used before then, with nothing under way and not finished."""
        return tuple(
            f.key
            for f in self._folds.values()
            if f.state.seq
            and f.state.updated_at < before
            and not (f.state.finished or f.state.paused or f.state.held or f.pending)
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


def _head(state: SessionState) -> SessionHead:
    return SessionHead(
        state=state.status,
        agent=state.agent,
        parent=state.parent,
        generation=state.generation,
        steps=state.steps,
        tokens=state.tokens,
        cost_micro_usd=state.cost_micro_usd,
        held_micro_usd=state.held_micro_usd,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )
