"""The only writer of the log: reserve before sending, settle after, exactly once.

Theory of operation. A session's state is a fold of its log, cached here. A reservation reads the
state, decides and submits its events without an await in between, so that the cached state always
includes what was submitted before: one process never conflicts with itself. The store checks
`expected_seq` and the shared balances again in its transaction; where another process was faster,
the cached state is dropped, read anew, and the pure decision made again. Facts (settle, release,
kill) carry no expected seq: they happened.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from proxy.clock import Clock
from proxy.closings import Closings
from proxy.core import events as ev
from proxy.core.ask import Ask, Instead
from proxy.core.decision import Admit, Blocked, Granted, Refusal, Wanted
from proxy.core.limits.rooms import SESSION, Place
from proxy.core.policy import Limits
from proxy.core.session import HeldCall, SessionKey, SessionState
from proxy.errors import AccountExceeded, HoldfastError, SeqConflict, StoreUnavailable
from proxy.facts import Facts
from proxy.folds import Folds
from proxy.grounds import Ground, Grounds
from proxy.lineage import closing_charges
from proxy.lines import Lines, Waiter
from proxy.reservation import (
    Admitted,
    Reservation,
    Settlement,
    most_output,
    place_of,
)
from proxy.running import Running, RunningCalls
from proxy.stops import Stops
from proxy.stores import Append, Charge, Store
from proxy.submitted import Fold
from proxy.tasks import Tasks

Observer = Callable[[SessionKey, ev.AnyEvent, SessionState], None]

_ATTEMPTS = 64


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
        self._clock = clock
        self._owner = owner
        self._tasks = tasks
        self._folds = Folds(store, clock, tasks, sessions_in_memory, on_write)
        self._observers = tuple(observers)
        self.forget_spooled, self.doubt = self._folds.forget_spooled, self._folds.doubt
        self.calls = RunningCalls()
        self._grounds, self.mend_head = Grounds(self._folds, clock), self._folds.mend_head
        self.lines = Lines()
        self._closings = closings = Closings(self._folds, self._append, clock, tasks)
        self._stops = stops = Stops(self._folds, self._append, clock, owner)
        self.unavailable = stops.unavailable
        self.expire, self.clear_doubts = closings.expire, closings.clear_doubts
        self._facts = facts = Facts(self._folds, self._append, clock)
        self.finish, self.attempt = facts.finish, facts.attempt
        self.begin, self.before = facts.begin, facts.before

    async def reserve(self, want: Reservation) -> Admitted | Refusal:
        """Decides and holds, atomically. Raises StoreUnavailable; then nothing is held.

        What is missing only because calls in flight hold it is waited for, in line.
        """
        waits, refusal = want.wait_seconds > 0, None
        waiter = None
        if waits and self.lines.is_taken(want.key):
            waiter = self.lines.join(want.key, want.key)
        if waiter is None:
            outcome = await self._reserve(want, fresh=False, patient=waits)
            if not isinstance(outcome, Refusal):
                return outcome
            refusal = outcome
        return await self._in_line(want, waiter, refusal)

    async def _in_line(
        self, want: Reservation, waiter: Waiter | None, refusal: Refusal | None
    ) -> Admitted | Refusal:
        """Decides anew whenever something was freed, until the call's time to wait is over or there
        is no place to wait at: then it takes what there is."""
        until = self._clock.monotonic() + want.wait_seconds
        patient, tried = want.wait_seconds > 0, 0
        try:
            while True:
                fresh = False
                if refusal is not None:
                    waiter = self._line_up(waiter, want, refusal.held_at if patient else None)
                    if waiter is None and (refusal.held_at is None or not patient):
                        told = await self._stops.told(want, refusal)
                        tried += 1
                        if told is not None or tried == _ATTEMPTS:
                            return told or refusal
                        fresh = True
                if waiter is not None:
                    left = until - self._clock.monotonic()
                    fresh = not await self.lines.turn(waiter, max(left, 0.0))
                patient = waiter is not None and until > self._clock.monotonic()
                outcome = await self._reserve(want, fresh=fresh, patient=patient)
                if not isinstance(outcome, Refusal):
                    return outcome
                refusal = outcome
        finally:
            if waiter is not None:
                self.lines.leave(waiter)

    def _line_up(
        self, waiter: Waiter | None, want: Reservation, full: Place | None
    ) -> Waiter | None:
        """In the line of the room that is full; in none where waiting does not help."""
        place = None if full is None else place_of(want.key, full)
        if waiter is not None:
            if waiter.place == place:
                return waiter
            self.lines.leave(waiter)
        return None if place is None else self.lines.join(place, want.key)

    async def _reserve(
        self, want: Reservation, *, fresh: bool, patient: bool
    ) -> Admitted | Refusal:
        for _ in range(_ATTEMPTS):
            ground = None if fresh else self._grounds.at_hand(want)
            ground = ground or await self._grounds.read(want, fresh=fresh)
            if ground is None:
                continue
            # From here to the submit there is no await: the decision is made on what it changes.
            decision = ground.decide(patient=patient)
            if isinstance(decision, Refusal):
                if fresh or not (_by_shared(decision) or self._may_be_old(ground)):
                    return decision
                fresh = True  # another process may have freed what this one still sees held
                continue
            try:
                return await self._hold(want, ground, decision)
            except (SeqConflict, AccountExceeded):
                fresh = True
        raise StoreUnavailable("the session is written to by too many at once; try again")

    async def extend(self, call_id: str, wanted: Wanted | Ask | Instead) -> Granted | Blocked:
        """Holds more output tokens for a running call, as many of `wanted` as there is room for, or
        what another attempt of it may come to, beside what it holds or instead of a part of that.
        Blocked where not even the least fits, or the call is not open any more."""
        fresh = False
        for _ in range(_ATTEMPTS):
            running = self.calls.get(call_id)
            if running is None:
                return Blocked(None)
            want, accounts = running.want, running.accounts
            ground = None if fresh else self._grounds.at_hand(want, accounts)
            ground = ground or await self._grounds.read(want, fresh=fresh, accounts=accounts)
            if ground is None:
                continue
            held = ground.fold.state.held.get(call_id)
            if held is None:
                return Blocked(None)
            more = ground.fits_more(held, running.input_tokens, wanted)
            if isinstance(more, Blocked):
                own = more.place == SESSION and not self._may_be_old(ground)
                if fresh or own or more.place is None:
                    return more
            if isinstance(more, Granted) and (
                not (more.cost_micro_usd or more.output_tokens)
                or await self._grow(ground, held, more)
            ):
                return more
            fresh = True
        return Blocked(None)

    def _may_be_old(self, ground: Ground) -> bool:
        """Whether others than this process change what was decided on: it may be old."""
        held = ground.fold.state.held
        return bool(ground.above) or any(call_id not in self.calls for call_id in held)

    async def _grow(self, ground: Ground, held: HeldCall, more: Granted) -> bool:
        append, after = ground.grow(held, more)
        try:
            await self._append(ground.fold, append, after)
        except (SeqConflict, AccountExceeded):
            return False
        return True

    async def record(self, key: SessionKey, *events: ev.AnyEvent) -> SessionState:
        """Appends facts about the session (pause, kill, extend …)."""
        state = await self._facts.record(key, events)
        self.lines.stir()
        return self._grounds.with_below(key, state)

    async def refresh(self, key: SessionKey) -> None:
        """Another process wrote to the session's log: what is known here is read anew."""
        await self._folds.load(key, fresh=True)
        self.lines.stir()

    def at_hand(self, key: SessionKey) -> SessionState | None:
        """The state without what is below it, if it need not be read."""
        known = self._folds.at_hand(key)
        return None if known is None else known.state

    async def latest(self, key: SessionKey) -> SessionState:
        """The state, with all that was in the log when this was asked, whoever wrote it."""
        await self._folds.latest(key)
        return await self.state(key)

    async def state(self, key: SessionKey) -> SessionState:
        """The folded state; its seq is 0 for a session nobody has seen. With what the sessions
        below it came to."""
        state = (await self._folds.load(key)).state
        await self._grounds.read_below(key, state)
        return self._grounds.with_below(key, state)

    async def settle(self, key: SessionKey, call_id: str, what: Settlement) -> SessionState:
        """See `Closings.settle`."""
        running, charges = self.calls.get(call_id), tuple[Charge, ...]()
        if running is not None and running.trees:
            charges = closing_charges(running.trees, what, self._clock.now())
        settled = await self._closings.settle(key, call_id, what, charges)
        return self._grounds.with_below(key, settled) if settled.has_children else settled

    async def release(self, key: SessionKey, call_id: str, reason: str) -> SessionState:
        """See `Closings.release`."""
        return self._grounds.with_below(key, await self._closings.release(key, call_id, reason))

    async def drained(self) -> None:
        """Everything submitted has been written."""
        await self._folds.settled()

    def runs(self, call_id: str) -> bool:
        """Whether this process still carries the call out, and so will settle it."""
        return call_id in self.calls

    @property
    def running(self) -> int:
        """Calls of this process that hold something now."""
        return len(self.calls)

    def idle_sessions(self, idle_seconds: float) -> tuple[SessionKey, ...]:
        """Sessions at hand that nobody has used for so long, and that are not finished yet."""
        return self._folds.idle(self._clock.now() - idle_seconds)

    async def _hold(self, want: Reservation, ground: Ground, admit: Admit) -> Admitted:
        append, after = ground.hold(admit, self._owner)
        above, trees = tuple[SessionKey, ...](), tuple[tuple[str, Limits], ...]()
        if ground.above:
            above = tuple([ancestor.kin.key for ancestor in ground.above])
            trees = tuple([(a.account, a.kin.limits) for a in ground.above])
        places: tuple[Place, ...] = (want.key, *above, *[a.account for a in ground.accounts])
        running = Running(want, ground.accounts, admit.hold_input_tokens, places, trees)
        self.calls[want.call_id] = running
        try:
            await self._append(ground.fold, append, after)
        except asyncio.CancelledError:
            # The client left while the store answered: the hold has to be undone.
            self._tasks.spawn(self._closings.undo(want.key, want.call_id), "undo a reservation")
            raise
        except HoldfastError as refused:
            self.calls.pop(want.call_id, None)
            self._closings.doubt(want.key, want.call_id, refused)
            raise
        shown = self._grounds.with_below(want.key, after) if after.has_children else after
        return Admitted(admit, shown, most_output(want.ask, admit), above)

    def _append(
        self,
        fold_: Fold,
        append: Append,
        after: SessionState,
        freed: tuple[Charge, ...] = (),
    ) -> Awaitable[SessionState]:
        """Submits at once; to be awaited, for the store. What was submitted happens though the
        caller is cancelled meanwhile."""
        return self._folds.submit(fold_, append, after, freed, self._happened).answered()

    def _happened(self, append: Append, after: SessionState) -> None:
        for call_id in append.closes:
            running = self.calls.pop(call_id, None)
            if running is not None:
                self.lines.freed(*running.places)
        key = append.key
        for event in append.events:
            for observe in self._observers:
                observe(key, event, after)


def _by_shared(refusal: Refusal) -> bool:
    return refusal.facts is not None and refusal.facts.scope != "session"
