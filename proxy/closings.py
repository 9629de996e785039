"""How calls end in the ledger: settled, released or expired, each exactly once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from msgspec.structs import replace

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.session import HeldCall, SessionKey, SessionState, apply, fold
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.folds import Folds
from proxy.reservation import Settlement
from proxy.stores import Append, Charge, Counts
from proxy.stores.effects import counted
from proxy.submitted import Fold
from proxy.tasks import Tasks

AppendTo = Callable[[Fold, Append, SessionState, tuple[Charge, ...]], Awaitable[SessionState]]

_RETRY_SECONDS = 0.1
_RETRY_MOST_SECONDS = 5.0
_MOST_DOUBTFUL = 4_096
"""What is above waits for its deadline."""


class Closings:
    """The part of the ledger that books and gives back. What is begun here is done, whatever
    cancels who began it; where the store is away it is tried again until the store takes it."""

    def __init__(
        self,
        folds: Folds,
        append: AppendTo,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._folds = folds
        self._append = append
        self._clock = clock
        self._tasks = tasks
        self._doubtful: dict[str, SessionKey] = {}

    def settle(
        self,
        key: SessionKey,
        call_id: str,
        what: Settlement,
        charges: tuple[Charge, ...] = (),
    ) -> Awaitable[SessionState]:
        """Books what the call came to and frees its hold. A repeat changes nothing. charges: where
        it counts beside the accounts of its hold.

        Raises StoreUnavailable; then it is tried again.
        """
        event = ev.StepSettled(
            self._clock.now(),
            call_id,
            what.outcome,
            what.status,
            what.usage,
            what.cost_micro_usd,
            what.tokens,
            what.tools,
            what.response_id,
            what.asked,
            what.upstream,
            what.model,
            what.kept.fingerprint,
        )
        append = Append(
            key,
            (event, *what.facts) if what.facts else (event,),
            charges=charges,
            closes=(call_id,),
            spent_micro_usd=what.cost_micro_usd,
            counts=Counts(tokens=what.tokens, tool_calls=len(what.tools)),
            links=what.links,
            contents=() if what.kept.content is None else (what.kept.content,),
        )
        return self._close(append)

    def release(self, key: SessionKey, call_id: str, reason: str) -> Awaitable[SessionState]:
        """Gives the hold back, as nothing was sent. Like `settle` otherwise."""
        event = ev.StepReleased(at=self._clock.now(), call_id=call_id, reason=reason)
        return self._close(Append(key, (event,), closes=(call_id,)))

    async def undo(self, key: SessionKey, call_id: str) -> None:
        """Takes a reservation back whose client left while it was made."""
        with suppress(StoreUnavailable):
            await self.release(key, call_id, "client_left")

    def doubt(self, key: SessionKey, call_id: str, error: HoldfastError) -> None:
        """A call could not be reserved, and so was not sent. Where the store failed, over a network
        its answer alone may have been lost: then it holds what nobody will settle."""
        if isinstance(error, StoreUnavailable):
            self._doubtful[call_id] = key
        if len(self._doubtful) > _MOST_DOUBTFUL:
            del self._doubtful[next(iter(self._doubtful))]

    async def clear_doubts(self) -> None:
        """Gives back what such calls hold. Raises StoreUnavailable; then later."""
        for call_id, key in tuple(self._doubtful.items()):
            fold_ = await self._folds.load(key, fresh=True)
            if call_id in fold_.state.held:
                await self.release(key, call_id, "unanswered")
            self._doubtful.pop(call_id, None)

    async def expire(self, key: SessionKey, call_id: str) -> bool:
        """Books the whole hold of a call nobody will settle; False if the log does not have it."""
        fold_ = await self._folds.load(key, fresh=True)
        held = fold_.state.held.get(call_id)
        if held is None:
            return False
        booked = Settlement("expired", 0, held.cost_micro_usd, None, held.tokens)
        await self.settle(key, call_id, booked)
        return True

    async def _close(self, append: Append) -> SessionState:
        fold_ = self._folds.at_hand(append.key)
        try:
            if fold_ is not None:
                return await self._close_on(fold_, append)
            # A read can be cancelled, and the call would stay open.
            return await asyncio.shield(self._tasks.run(self._load_and_close(append), "close"))
        except (StoreUnavailable, asyncio.CancelledError):  # a repeat of what was done does nothing
            self._tasks.spawn(self._close_later(append), "close a call again")
            raise

    async def _load_and_close(self, append: Append) -> SessionState:
        return await self._close_on(await self._folds.load(append.key), append)

    async def _close_later(self, append: Append) -> None:
        """A hold must not stay for ever, nor a bill be forgotten."""
        for attempt in count():
            await self._clock.sleep(min(_RETRY_SECONDS * 2**attempt, _RETRY_MOST_SECONDS))
            with suppress(StoreUnavailable):
                await self._load_and_close(append)
                return

    def _close_on(self, fold_: Fold, append: Append) -> Awaitable[SessionState]:
        """Submits at once, as `AppendTo`."""
        (call_id,) = append.closes
        held = fold_.state.held.get(call_id)
        freed: tuple[Charge, ...] = ()
        if held is not None:
            if held.trees and isinstance(append.events[0], ev.StepReleased) and not held.retry:
                append = replace(append, counts=Counts(steps=-1))
            freed = _freed(held, append)
        after = apply(fold_.state, append.events[0])
        if len(append.events) > 1:
            after = fold(append.events[1:], start=after)
        return self._append(fold_, append, after, freed)


def _freed(held: HeldCall, append: Append) -> tuple[Charge, ...]:
    """What the store gives back on shared accounts, as far as it is known here."""
    cost, spent = held.cost_micro_usd, append.spent_micro_usd
    freed = tuple([Charge(account, -cost, spent) for account in held.accounts])
    if not held.trees:
        return freed
    counts = counted(append.counts, Counts(held_tokens=-held.tokens, calls=-1))
    return (*freed, *[Charge(tree, -cost, spent, counts) for tree in held.trees])
