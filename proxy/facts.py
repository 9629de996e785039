"""Facts about a session that no call of it brings: what humans and executors of tools say, and what
follows from its age."""

from collections.abc import Awaitable, Callable, Sequence

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.session import SessionKey, SessionState, fold, is_idle
from proxy.errors import SeqConflict, StoreUnavailable
from proxy.folds import Folds
from proxy.reservation import Reservation, opening
from proxy.stores import Append, Content
from proxy.submitted import Fold

AppendTo = Callable[[Fold, Append, SessionState], Awaitable[SessionState]]
Decide = Callable[[SessionState, float], tuple[ev.AnyEvent, ...]]

_ATTEMPTS = 64


class Facts:
    """The part of the ledger that writes them down."""

    def __init__(self, folds: Folds, append: AppendTo, clock: Clock) -> None:
        self._folds = folds
        self._append = append
        self._clock = clock

    async def record(self, key: SessionKey, events: Sequence[ev.AnyEvent]) -> SessionState:
        """Appends what happened, whatever else did."""
        fold_ = await self._folds.load(key)
        after = fold(events, start=fold_.state)
        return await self._append(fold_, Append(key, tuple(events)), after)

    async def begin(
        self, key: SessionKey, events: Sequence[ev.AnyEvent], contents: tuple[Content, ...]
    ) -> SessionState:
        """Writes a session that is not there, or not any more. Raises SeqConflict where it is."""
        fold_ = await self._folds.load(key, fresh=True)
        state = fold_.state
        if not state.is_new:
            raise SeqConflict(state.seq)
        append = Append(key, tuple(events), expected_seq=state.seq, contents=contents)
        return await self._append(fold_, append, fold(events, start=state))

    async def before(self, want: Reservation) -> tuple[SessionState, bool]:
        """The state that a call will be held on, as far as is known: with what it begins. And
        whether all of it was written."""
        fold_ = self._folds.at_hand(want.key, new=want.new) or await self._folds.load(want.key)
        state = fold(opening(want, fold_.state, self._clock.now()), start=fold_.state)
        return state, fold_.pending == 0

    async def attempt(self, key: SessionKey, decide: Decide, *, fresh: bool) -> SessionState:
        """Appends what `decide` makes of the session's state (nothing: then nothing happens), on no
        other state than that one: of several at once, here and in other processes, each decides on
        what the one before it did. fresh: others may have written.

        Raises StoreUnavailable; then nothing was written.
        """
        for _ in range(_ATTEMPTS):
            fold_ = await self._folds.load(key, fresh=fresh)
            state = fold_.state
            events = decide(state, self._clock.now())
            if not events:
                return state
            append = Append(key, events, expected_seq=state.seq)
            try:
                return await self._append(fold_, append, fold(events, start=state))
            except SeqConflict:
                fresh = True
        raise StoreUnavailable("the session is written to by too many at once; try again")

    async def finish(self, key: SessionKey, idle_seconds: float) -> bool:
        """Ends a session that is idle; False if it has been used meanwhile, here or elsewhere."""
        fold_ = await self._folds.load(key)
        state, now = fold_.state, self._clock.now()
        if fold_.stale or state.finished or not is_idle(state, idle_seconds, now):
            return False
        event = ev.SessionFinished(at=now)
        try:
            append = Append(key, (event,), expected_seq=state.seq)
            await self._append(fold_, append, fold((event,), start=state))
        except SeqConflict:
            return False
        return True
