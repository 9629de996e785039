"""All breakers of one process: who may ask, and who must not.

Theory of operation. A breaker belongs to an upstream and a model; where a caller's own key is sent,
what is said of that key (it is dead, it has asked too often) is kept apart, and counts for nobody
else. Most calls meet a closed breaker: one look-up, and one count when they end. An open one lets
one call try once its time has come. Who tries has claimed the breaker's place among all workers,
and keeps it until the others know what came of it: so they try one after another, if they do. What
is found here is told to the others, and what they tell is taken where it is newer.
"""

import asyncio
import math
from collections.abc import Iterable
from typing import Final

from proxy.breakers.breaker import Breaker, Shut
from proxy.breakers.keeping import Keeper, news_of
from proxy.breakers.learning import Learner
from proxy.breakers.permits import Part, Permit, WatchedPermit
from proxy.core.breaking import closed_by_hand, opened_by_hand
from proxy.core.routing import Candidate
from proxy.workers.messages import BreakerNews

TRYING_SECONDS: Final = 1.0
"""What is said while somebody tries: how long that takes, nobody knows."""


class Breakers:
    """For one event loop. credential: a digest of the caller's own key, where that is sent to the
    candidate; else None. Never the key itself."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._learner = Learner(keeper)
        self._shared = keeper.shared.breakers
        self._own = keeper.own.breakers

    def closed_to(self, candidate: Candidate, credential: bytes | None) -> Shut | None:
        """Why nobody may ask it now; None where `acquire` would grant, as far as can be known.
        Takes nothing."""
        breaker, own = self._find(candidate), None
        if credential is not None and self._own:
            own = self._own.get((candidate.upstream.name, breaker.key[1], credential))
        if own is None and not breaker.is_open:
            return None
        return self._look(breaker, own)

    def acquire(self, candidate: Candidate, credential: bytes | None) -> Permit | Shut:
        """Leave to ask it once."""
        breaker, own = self._find(candidate), None
        if credential is not None and self._own:
            own = self._own.get((candidate.upstream.name, breaker.key[1], credential))
        if own is None and not breaker.is_open:
            return Permit(self._learner, breaker, breaker.generation, credential)
        return self._try(breaker, own, credential)

    def now(self) -> float:
        """The clock by which they open and close, monotonic seconds."""
        return self.keeper.clock.monotonic()

    async def open(self, upstream: str, model: str, seconds: float = math.inf) -> BreakerNews:
        """By hand, for so long, or until it is closed by hand. Returns once all workers know."""
        breaker = self.keeper.named(upstream, model)
        await self.keeper.say(breaker, opened_by_hand(breaker.standing, self.now(), seconds))
        return news_of(breaker, self.now())

    async def close(self, upstream: str, model: str) -> BreakerNews:
        """By hand; for every caller's own key as well. Returns once all workers know."""
        breaker = self.keeper.named(upstream, model)
        all_of_it = (*self.keeper.own_ones(breaker), breaker)
        said = (self.keeper.say(one, closed_by_hand(one.standing, self.now())) for one in all_of_it)
        await asyncio.gather(*said)
        return news_of(breaker, self.now())

    def hear(self, news: Iterable[BreakerNews]) -> None:
        """What other workers found."""
        self.keeper.hear(news)

    def news(self) -> tuple[BreakerNews, ...]:
        """All that is known here."""
        now = self.now()
        return tuple(news_of(breaker, now) for breaker in self.keeper.all())

    def _find(self, candidate: Candidate) -> Breaker:
        upstream = candidate.upstream
        breaker = self._shared.get((upstream.name, candidate.model, b""))
        if breaker is None or breaker.upstream is not upstream:
            return self.keeper.meet(candidate)
        if candidate.named and not breaker.named:
            breaker.named = True
        return breaker

    def _look(self, breaker: Breaker, own: Breaker | None) -> Shut | None:
        now = self.now()
        for each in (own, breaker):
            if each is None or not each.is_open:
                continue
            shut = each.shut(now)
            if shut is None and not self.keeper.is_free(each):
                shut = _tried(each)
            if shut is not None:
                return shut
        return None

    def _try(
        self, breaker: Breaker, own: Breaker | None, credential: bytes | None
    ) -> Permit | Shut:
        shut = self._look(breaker, own)
        if shut is not None:
            return shut
        tries: list[Part] = []
        for each in (own, breaker):
            if each is None or not each.is_open:
                continue
            if not self.keeper.claim(each):  # another worker was quicker
                for part in tries:
                    self._learner.gives_up(part)
                return _tried(each)
            tries.append(Part(each, each.generation))
        shared = Part(breaker, breaker.generation)
        own_generation = 0 if own is None else own.generation
        return WatchedPermit(self._learner, shared, credential, own_generation, tuple(tries))


def _tried(breaker: Breaker) -> Shut:
    """What is said while somebody else tries it."""
    standing, own = breaker.standing, bool(breaker.key.credential)
    return Shut(standing.why, TRYING_SECONDS, own, standing.said)
