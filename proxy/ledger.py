"""The only writer of the log: reserve before sending, settle after, exactly once.

Theory of operation. A session's state is a fold of its log, cached here. A reservation reads the
state, decides and submits its events without an await in between, so that the cached state always
includes what was submitted before: one process never conflicts with itself. The store checks
`expected_seq` and the shared balances again in its transaction; where another process was faster,
the cached state is dropped, read anew, and the pure decision made again. Facts (settle, release,
kill) carry no expected seq: they happened.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.ask import Account
from proxy.core.decision import Admit, Refusal
from proxy.core.engine import decide, fits_more
from proxy.core.session import SessionKey, SessionState, fold, is_idle
from proxy.core.windows import accounts_for
from proxy.errors import AccountExceeded, HoldfastError, SeqConflict, StoreUnavailable
from proxy.folds import Fold, Folds
from proxy.reservation import (
    Admitted,
    Reservation,
    Running,
    Settlement,
    holding,
    opening,
)
from proxy.stores import Append, Charge, Maximum, Store
from proxy.tasks import Tasks

Observer = Callable[[SessionKey, ev.AnyEvent, SessionState], None]

_ATTEMPTS = 64
_RETRY_SECONDS = 0.1
_RETRY_MOST_SECONDS = 5.0
_REFUSAL_REPEAT_SECONDS = 60.0


class Ledger:
    """Shared by all calls of a process. `owner` names the process in the holds it opens."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: str,
        tasks: Tasks,
        *,
        sessions_in_memory: int = 10_000,
        observers: Sequence[Observer] = (),
        on_write: Callable[[float], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._tasks = tasks
        self._folds = Folds(store, clock, sessions_in_memory, on_write)
        self._observers = tuple(observers)
        self._active: dict[str, Running] = {}

    async def reserve(self, want: Reservation) -> Admitted | Refusal:
        """Decides and holds, atomically. Raises StoreUnavailable; then nothing is held."""
        fresh = False
        for _ in range(_ATTEMPTS):
            fold_ = await self._folds.load(want.key, new=want.new)
            now = self._clock.now()
            accounts = await self._folds.with_balances(
                accounts_for(want.budgets, want.key, want.agent, now), fresh=fresh
            )
            if fold_.stale:
                continue
            # From here to the submit there is no await: the decision is made on what it changes.
            opened = opening(want, fold_.state, now)
            state = fold(opened, start=fold_.state)
            decision = decide(want.rules, state, want.ask, accounts, now)
            if isinstance(decision, Refusal):
                if _by_shared(decision) and not fresh:
                    fresh = True  # another process may have freed what this one still sees held
                    continue
                return await self._refused(want, fold_, decision, now)
            try:
                return await self._hold(want, fold_, opened, decision, accounts, now)
            except (SeqConflict, AccountExceeded):
                fresh = True
        raise StoreUnavailable("the session is written to by too many at once; try again")

    async def extend(self, call_id: str, more_output: int) -> int | None:
        """Holds more for a running call: its micro-USD, or None where a room is too small."""
        fresh = False
        for _ in range(_ATTEMPTS):
            running = self._active[call_id]
            fold_ = await self._folds.load(running.want.key)
            accounts = await self._folds.with_balances(running.accounts, fresh=fresh)
            if fold_.stale:
                continue
            held = fold_.state.held.get(call_id)
            if held is None:
                return None
            ask, now = running.want.ask, self._clock.now()
            output = held.tokens - ask.input_tokens
            cost = fits_more(
                running.want.rules, fold_.state, ask, accounts, output, more_output, now
            )
            if cost is None and (fresh or not accounts):
                return None
            if cost is not None and await self._extend(fold_, call_id, cost, more_output, now):
                return cost
            fresh = True
        return None

    async def _extend(
        self, fold_: Fold, call_id: str, cost: int, more_output: int, now: float
    ) -> bool:
        event = ev.HoldExtended(
            at=now, call_id=call_id, hold_cost_micro_usd=cost, hold_tokens=more_output
        )
        charges = _holding(self._active[call_id].accounts, cost)
        append = Append(fold_.key, (event,), expected_seq=fold_.state.seq, charges=charges)
        try:
            await self._append(fold_, append)
        except (SeqConflict, AccountExceeded):
            return False
        return True

    async def settle(self, key: SessionKey, call_id: str, what: Settlement) -> SessionState:
        """Books what the call came to and frees its hold. A repeat changes nothing.

        Raises StoreUnavailable; then it is tried again until the store takes it.
        """
        event = ev.StepSettled(
            at=self._clock.now(),
            call_id=call_id,
            outcome=what.outcome,
            status=what.status,
            usage=what.usage,
            cost_micro_usd=what.cost_micro_usd,
            tokens=what.tokens,
            tools=what.tools,
            response_id=what.response_id,
        )
        return await self._close(
            Append(
                key,
                (event,),
                closes=(call_id,),
                spent_micro_usd=what.cost_micro_usd,
                links=what.links,
            )
        )

    async def release(self, key: SessionKey, call_id: str, reason: str) -> SessionState:
        """Gives the hold back, as nothing was sent. Like `settle` otherwise."""
        event = ev.StepReleased(at=self._clock.now(), call_id=call_id, reason=reason)
        return await self._close(Append(key, (event,), closes=(call_id,)))

    async def expire(self, key: SessionKey, call_id: str) -> bool:
        """Books the whole hold of a call nobody will settle; False if the log does not have it."""
        fold_ = await self._folds.load(key, fresh=True)
        held = fold_.state.held.get(call_id)
        if held is None:
            return False
        booked = Settlement("expired", 0, held.cost_micro_usd, None, held.tokens)
        await self.settle(key, call_id, booked)
        return True

    async def finish(self, key: SessionKey, idle_seconds: float) -> bool:
        """Ends a session that is idle; False if it has been used meanwhile, here or elsewhere."""
        fold_ = await self._folds.load(key)
        state, now = fold_.state, self._clock.now()
        if fold_.stale or state.finished or not is_idle(state, idle_seconds, now):
            return False
        append = Append(key, (ev.SessionFinished(at=now),), expected_seq=state.seq)
        try:
            await self._append(fold_, append)
        except SeqConflict:
            return False
        return True

    async def record(self, key: SessionKey, event: ev.AnyEvent) -> SessionState:
        """Appends a fact about the session (pause, kill, extend …)."""
        fold_ = await self._folds.load(key)
        return await self._append(fold_, Append(key, (event,)))

    async def state(self, key: SessionKey) -> SessionState:
        """The folded state; its seq is 0 for a session nobody has seen."""
        return (await self._folds.load(key)).state

    async def drained(self) -> None:
        """Everything submitted has been written."""
        await self._folds.settled()

    def runs(self, call_id: str) -> bool:
        """Whether this process still carries the call out, and so will settle it."""
        return call_id in self._active

    @property
    def running(self) -> int:
        """Calls of this process that hold something now."""
        return len(self._active)

    def idle_sessions(self, idle_seconds: int) -> tuple[SessionKey, ...]:
        """Sessions at hand that nobody has used for so long, and that are not finished yet."""
        return self._folds.idle(self._clock.now() - idle_seconds)

    async def _hold(
        self,
        want: Reservation,
        fold_: Fold,
        opened: tuple[ev.AnyEvent, ...],
        admit: Admit,
        accounts: tuple[Account, ...],
        now: float,
    ) -> Admitted:
        reserved = holding(want, admit, fold(opened, start=fold_.state), accounts, self._owner, now)
        append = Append(
            want.key,
            (*opened, *reserved),
            expected_seq=fold_.state.seq,
            charges=_holding(accounts, admit.hold_cost_micro_usd),
        )
        self._active[want.call_id] = Running(want, accounts)
        try:
            after = await self._append(fold_, append)
        except asyncio.CancelledError:
            # The client left while we waited: the write goes on, so the hold has to be undone.
            self._tasks.spawn(self._undo(want.key, want.call_id), "undo a reservation")
            raise
        except HoldfastError:
            self._active.pop(want.call_id, None)
            raise
        return Admitted(admit, after)

    async def _undo(self, key: SessionKey, call_id: str) -> None:
        with suppress(StoreUnavailable):  # tried again until it is taken
            await self.release(key, call_id, "client_left")

    async def _close(self, append: Append) -> SessionState:
        try:
            return await self._close_once(append)
        except StoreUnavailable:
            self._tasks.spawn(self._close_later(append), "close a call again")
            raise

    async def _close_later(self, append: Append) -> None:
        """The store was away. A hold must not stay for ever, nor a bill be forgotten."""
        for attempt in count():
            await self._clock.sleep(min(_RETRY_SECONDS * 2**attempt, _RETRY_MOST_SECONDS))
            with suppress(StoreUnavailable):
                await self._close_once(append)
                return

    async def _close_once(self, append: Append) -> SessionState:
        (call_id,) = append.closes
        fold_ = await self._folds.load(append.key)
        held = fold_.state.held.get(call_id)
        freed: tuple[Charge, ...] = ()
        if held is not None:
            cost, spent = held.cost_micro_usd, append.spent_micro_usd
            freed = tuple(Charge(account, -cost, spent) for account in held.accounts)
        state = await self._append(fold_, append, freed)
        self._active.pop(call_id, None)
        return state

    async def _refused(
        self, want: Reservation, fold_: Fold, refusal: Refusal, now: float
    ) -> Refusal:
        """Writes a refusal down, but the same one only once a minute: a client that hammers on a
        closed door must not fill the disk."""
        state = fold_.state
        again = now - state.refused_at < _REFUSAL_REPEAT_SECONDS
        if state.seq > 0 and not (again and state.refused_code == refusal.code):
            limit = refusal.facts.limit if refusal.facts else None
            event = ev.CallRefused(at=now, code=refusal.code, limit=limit)
            await self._append(fold_, Append(want.key, (event,)))
        return refusal

    async def _append(
        self, fold_: Fold, append: Append, freed: tuple[Charge, ...] = ()
    ) -> SessionState:
        after = await self._folds.append(fold_, append, freed)
        for event in append.events:
            for observe in self._observers:
                observe(append.key, event, after)
        return after


def _holding(accounts: tuple[Account, ...], cost_micro_usd: int) -> tuple[Charge, ...]:
    return tuple(
        Charge(a.account, cost_micro_usd, maximum=Maximum(a.maximum_micro_usd)) for a in accounts
    )


def _by_shared(refusal: Refusal) -> bool:
    return refusal.facts is not None and refusal.facts.scope != "session"
