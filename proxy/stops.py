"""Refusals as facts: written down, and where they are stops, put before a human."""

from contextlib import suppress
from dataclasses import replace

from proxy.clock import Clock
from proxy.closings import AppendTo
from proxy.core import events as ev
from proxy.core.closed import refuse_awaiting, refuse_closed
from proxy.core.decision import Refusal
from proxy.core.handoff import OnLimit, blocks, stands_in_queue
from proxy.core.limits.base import unbegun
from proxy.core.session import SessionKey, SessionState, fold
from proxy.errors import SeqConflict
from proxy.folds import Folds
from proxy.ids import unique_ids
from proxy.reservation import Reservation, opening
from proxy.stores import Append
from proxy.submitted import Fold

_REPEAT_SECONDS = 60.0
_TRIES = 8


class Stops:
    """The part of the ledger that says no. owner: the process that tells of a handoff."""

    def __init__(self, folds: Folds, append: AppendTo, clock: Clock, owner: str) -> None:
        self._folds = folds
        self._append = append
        self._clock = clock
        self._owner = owner
        self._new_id = unique_ids("ho_")

    async def told(self, want: Reservation, refusal: Refusal) -> Refusal | None:
        """What the client is told of a refusal, once it is in the log. None where its session was
        changed since it was decided on: then it has to be decided anew. Raises StoreUnavailable."""
        if stands_in_queue(refusal):
            assert refusal.facts is not None
            key = SessionKey(want.key.tenant, refusal.facts.session)
            fold_ = self._folds.at_hand(key)
            if fold_ is None:
                await self._folds.load(key)
                return None
            if opening(want, fold_.state, self._clock.now()):
                refusal = unbegun(refusal)
            else:
                try:
                    refusal = await self._put_before_a_human(fold_, want, refusal)
                except SeqConflict:
                    return None
        await self._note(want.key, refusal)
        return refusal

    async def unavailable(self, want: Reservation, refusal: Refusal) -> Refusal:
        """Puts a session whose call nobody serves before a human, who decides when it goes on; what
        has not begun is only refused. What its client is told. Raises StoreUnavailable."""
        session = want.key.session
        way = f"To go on: holdfast sessions guide {session} 'try again'."
        waits = replace(refusal, message=f"{refusal.message} {way}")
        for _ in range(_TRIES):
            fold_ = await self._folds.load(want.key)
            # Another call of it may have come to nothing at the same time.
            closed = refuse_closed(want.rules.refusal_status, fold_.state, session)
            if closed is not None:
                return closed
            if opening(want, fold_.state, self._clock.now()):
                return refusal
            with suppress(SeqConflict):
                return await self._put_before_a_human(fold_, want, waits, blocking=True)
        return refusal

    async def _put_before_a_human(
        self, fold_: Fold, want: Reservation, refusal: Refusal, *, blocking: bool | None = None
    ) -> Refusal:
        """Once: a stop that stands there already is the same one. Raises SeqConflict."""
        state = fold_.state
        facts = refusal.facts
        assert facts is not None
        if blocking is None:
            blocking = blocks(refusal, _on_limit(want, fold_.key, state))
        stands = (refusal.code, facts.limit)
        if not blocking and any((h.code, h.limit) == stands for h in state.handoffs):
            return refusal
        handed_off = ev.HandedOff(
            at=self._clock.now(),
            handoff=self._new_id(),
            code=refusal.code,
            limit=facts.limit,
            message=refusal.message,
            blocking=blocking,
            notify=blocking and want.rules.handoff.webhook is not None,
            owner=self._owner,
        )
        append = Append(fold_.key, (handed_off,), expected_seq=state.seq)
        after = await self._append(fold_, append, fold((handed_off,), start=state), ())
        status = want.rules.refusal_status
        return refuse_awaiting(status, after, fold_.key.session) or refusal

    async def _note(self, key: SessionKey, refusal: Refusal) -> None:
        """The same one only once a minute: a client that hammers on a closed door must not fill the
        disk."""
        fold_, now = await self._folds.load(key), self._clock.now()
        state = fold_.state
        again = now - state.refused_at < _REPEAT_SECONDS
        if not (state.is_new or (again and state.refused_code == refusal.code)):
            limit = refusal.facts.limit if refusal.facts else None
            event = ev.CallRefused(at=now, code=refusal.code, limit=limit)
            await self._append(fold_, Append(key, (event,)), fold((event,), start=state), ())


def _on_limit(want: Reservation, key: SessionKey, state: SessionState) -> OnLimit:
    """What the policy says for the session whose limit it is, which may be above the caller's."""
    limits = want.rules.limits
    if key != want.key and want.limits_of is not None:
        limits = want.limits_of(state.agent)
    return limits.on_limit
