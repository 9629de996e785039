"""The only writer of the log: reserve before sending, settle after, exactly once.

Theory of operation. A session's state is a fold of its log, cached here. A reservation reads the
state, decides and submits its events without an await in between, so that the cached state always
includes what was submitted before: one process never conflicts with itself. The store checks
`expected_seq` and the shared balances again in its transaction; where another process was faster,
the cached state is dropped, read anew, and the pure decision made again. Facts (settle, release,
kill) carry no expected seq: they happened.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.ask import Account
from proxy.core.decision import Admit, Refusal
from proxy.core.engine import decide, fits_more
from proxy.core.session import HeldCall, SessionKey, SessionState, fold, held_call
from proxy.core.windows import accounts_for
from proxy.errors import AccountExceeded, HoldfastError, SeqConflict, StoreUnavailable
from proxy.folds import Fold, Folds
from proxy.reservation import Admitted, Reservation, Running, Settlement
from proxy.stores import Append, Charge, Store
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

Observer = Callable[[SessionKey, ev.AnyEvent, SessionState], None]

_ATTEMPTS = 64
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
            opened, state = self._open(want, fold_.state, now)
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
            ask, now = running.want.ask, self._clock.now()
            output = running.held.tokens - ask.input_tokens
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
        running = self._active[call_id]
        event = ev.HoldExtended(
            at=now, call_id=call_id, hold_cost_micro_usd=cost, hold_tokens=more_output
        )
        append = Append(
            running.want.key,
            (event,),
            expected_seq=fold_.state.seq,
            charges=tuple(
                Charge(a.account, held_micro_usd=cost, maximum_micro_usd=a.maximum_micro_usd)
                for a in running.accounts
            ),
        )
        held = replace(
            running.held,
            cost_micro_usd=running.held.cost_micro_usd + cost,
            tokens=running.held.tokens + more_output,
        )
        self._active[call_id] = replace(running, held=held)
        try:
            await self._append(fold_, append)
        except (SeqConflict, AccountExceeded):
            self._active[call_id] = running
            return False
        return True

    async def settle(self, key: SessionKey, call_id: str, what: Settlement) -> SessionState:
        """Books what the call came to and frees its hold. A repeat changes nothing."""
        fold_ = await self._folds.load(key)
        held = self._held(fold_, call_id)
        event = ev.StepSettled(
            at=self._clock.now(),
            call_id=call_id,
            outcome=what.outcome,
            status=what.status,
            usage=what.usage,
            cost_micro_usd=what.cost_micro_usd,
            tokens=what.tokens,
            overspend_micro_usd=max(0, what.cost_micro_usd - held.cost_micro_usd) if held else 0,
            tools=what.tools,
            response_id=what.response_id,
        )
        return await self._close(fold_, key, call_id, event, what.cost_micro_usd, what.links)

    async def release(self, key: SessionKey, call_id: str, reason: str) -> SessionState:
        """Gives the hold back: nothing was sent. A repeat changes nothing."""
        fold_ = await self._folds.load(key)
        event = ev.StepReleased(at=self._clock.now(), call_id=call_id, reason=reason)
        return await self._close(fold_, key, call_id, event, 0, ())

    async def record(self, key: SessionKey, event: ev.AnyEvent) -> SessionState:
        """Appends a fact about the session (pause, kill, extend …)."""
        fold_ = await self._folds.load(key)
        return await self._append(fold_, Append(key, (event,)))

    async def state(self, key: SessionKey) -> SessionState:
        """The folded state; its seq is 0 for a session nobody has seen."""
        return (await self._folds.load(key)).state

    async def drained(self) -> None:
        """Waits until everything submitted has been written."""
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

    def _open(
        self, want: Reservation, state: SessionState, now: float
    ) -> tuple[tuple[ev.AnyEvent, ...], SessionState]:
        """The events that begin a session or, after idling, its next generation."""
        idle = state.seq > 0 and not state.held and now - state.updated_at > want.idle_seconds
        if state.seq > 0 and not idle and not state.finished:
            return (), state
        begin = ev.SessionOpened(
            at=now,
            generation=state.generation + 1,
            agent=want.agent,
            parent=want.parent,
            source=want.source,
        )
        end = (ev.SessionFinished(at=now),) if state.seq > 0 and not state.finished else ()
        opened = (*end, begin)
        return opened, fold(opened, start=state)

    async def _hold(
        self,
        want: Reservation,
        fold_: Fold,
        opened: tuple[ev.AnyEvent, ...],
        admit: Admit,
        accounts: tuple[Account, ...],
        now: float,
    ) -> Admitted:
        state = fold(opened, start=fold_.state)
        reserved = ev.StepReserved(
            at=now,
            call_id=want.call_id,
            step=admit.step,
            retry=admit.step <= state.steps,
            owner=self._owner,
            deadline=now + want.deadline_seconds,
            dialect=want.ask.dialect,
            model=want.ask.model,
            upstream=want.upstream,
            body_digest=want.ask.body_digest,
            hold_cost_micro_usd=admit.hold_cost_micro_usd,
            hold_tokens=admit.hold_input_tokens + admit.output_allowance,
            accounts=tuple(a.account for a in accounts),
        )
        warned = tuple(
            ev.LimitWarned(at=now, limit=w) for w in admit.warnings if w not in state.warned
        )
        charges = tuple(
            Charge(
                a.account,
                held_micro_usd=admit.hold_cost_micro_usd,
                maximum_micro_usd=a.maximum_micro_usd,
            )
            for a in accounts
        )
        append = Append(
            want.key,
            (*opened, reserved, *warned),
            expected_seq=fold_.state.seq,
            charges=charges,
            links=want.links,
        )
        self._active[want.call_id] = Running(held_call(state, reserved), want, accounts)
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

    def _held(self, fold_: Fold, call_id: str) -> HeldCall | None:
        """The call's hold. What this process runs is known without the log, which may be behind."""
        running = self._active.get(call_id)
        return running.held if running else fold_.state.held.get(call_id)

    async def _undo(self, key: SessionKey, call_id: str) -> None:
        await self.release(key, call_id, "client_left")

    async def _close(
        self,
        fold_: Fold,
        key: SessionKey,
        call_id: str,
        event: ev.AnyEvent,
        spent_micro_usd: int,
        links: tuple[bytes, ...],
    ) -> SessionState:
        held = self._held(fold_, call_id)
        self._active.pop(call_id, None)
        charges: tuple[Charge, ...] = ()
        if held is not None:
            freed = -held.cost_micro_usd
            charges = tuple(Charge(a, freed, spent_micro_usd) for a in held.accounts)
        append = Append(key, (event,), charges=charges, closes=(call_id,), links=links)
        return await self._append(fold_, append)

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

    async def _append(self, fold_: Fold, append: Append) -> SessionState:
        after = await self._folds.append(fold_, append)
        for event in append.events:
            for observe in self._observers:
                observe(append.key, event, after)
        return after


def _by_shared(refusal: Refusal) -> bool:
    return refusal.facts is not None and refusal.facts.scope != "session"
