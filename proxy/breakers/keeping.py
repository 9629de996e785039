"""The breakers of one process: kept, turned, told to other workers and heard of from them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import Final, Protocol

from proxy.breakers.breaker import Breaker, Key
from proxy.breakers.room import Room
from proxy.clock import Clock
from proxy.core.breaking import Standing, closed
from proxy.core.failing import BreakerPolicy
from proxy.core.policy import Policy, Upstream
from proxy.core.routing import Candidate
from proxy.workers.messages import BreakerNews
from proxy.workers.places import Places

MOST_BREAKERS: Final = 4_096
_LONGEST_NAME: Final = 256


class PolicySource(Protocol):
    """Knows the policy in force."""

    @property
    def current(self) -> Policy: ...


class Telling(Protocol):
    """Tells other workers of breakers."""

    def tell(self, news: BreakerNews, then: Callable[[], None]) -> None:
        """`then` is called when they know, or have not answered in time."""


Notice = Callable[[Breaker, Standing], None]
"""Hears of each turn that was decided here: the breaker, and how it stood before."""


class Keeper:
    """For one event loop. places: of all workers; None: there are no others. chance: from 0 to 1,
    anew each time. most: of upstreams and models, and as many again of callers' own keys."""

    def __init__(
        self,
        policy: PolicySource,
        clock: Clock,
        chance: Callable[[], float],
        telling: Telling,
        places: Places | None,
        notice: Notice,
        most: int = MOST_BREAKERS,
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.chance = chance
        self.shared = Room(most)
        self.own = Room(most)
        self._telling = telling
        self._places = places
        self._notice = notice

    @property
    def rules(self) -> BreakerPolicy:
        return self.policy.current.breakers

    def meet(self, candidate: Candidate) -> Breaker:
        """Its breaker, which is new, or was not met with this upstream as it is now."""
        upstream = candidate.upstream
        key = key_of(upstream.name, candidate.model)
        breaker = self.shared.breakers.get(key)
        now = self.clock.monotonic()
        if breaker is None:
            breaker = Breaker(key, named=candidate.named, upstream=upstream)
            self.shared.take_in(breaker, now)
            return breaker
        breaker.named = breaker.named or candidate.named
        before, breaker.upstream = breaker.upstream, upstream
        if before is not None and _is_another(before, upstream):
            breaker.seen = None
            if breaker.is_open and not breaker.standing.by_hand:
                self.stand(breaker, closed(breaker.standing, now))
        return breaker

    def own_of(self, breaker: Breaker, credential: bytes) -> Breaker:
        """What is known of a caller's key there; new where nothing is."""
        key = Key(breaker.key.upstream, breaker.key.model, credential)
        own = self.own.breakers.get(key)
        if own is None:
            own = Breaker(key, named=breaker.named, upstream=breaker.upstream)
            self.own.take_in(own, self.clock.monotonic())
        return own

    def own_ones(self, breaker: Breaker) -> list[Breaker]:
        """What is known of callers' keys there."""
        what = breaker.key[:2]
        return [own for key, own in self.own.breakers.items() if key[:2] == what]

    def named(self, upstream: str, model: str) -> Breaker:
        """For a human, who may name what nobody has asked for yet."""
        key = key_of(upstream, model)
        breaker = self.shared.breakers.get(key)
        if breaker is None:
            breaker = Breaker(key)
            self.shared.take_in(breaker, self.clock.monotonic())
        return breaker

    def known(self, key: Key) -> Breaker | None:
        return (self.own if key.credential else self.shared).breakers.get(key)

    def stand(self, breaker: Breaker, said: Standing, *, tried: bool = False) -> None:
        """What was found here, where it is news: others are told. tried: by a call that tried, and
        its place is free once they know."""
        self._stand(breaker, said, partial(self.free, breaker) if tried else _nothing)

    async def say(self, breaker: Breaker, said: Standing) -> None:
        """What a human says. Returns when others know."""
        known = asyncio.Event()
        self._stand(breaker, said, known.set)
        await known.wait()

    def _stand(self, breaker: Breaker, said: Standing, then: Callable[[], None]) -> None:
        was = breaker.standing
        if not breaker.stand(said) or self.known(breaker.key) is not breaker:
            then()  # no news, or there was no room for it: it ends with its call
            return
        self._notice(breaker, was)
        self._telling.tell(news_of(breaker, self.clock.monotonic()), then)

    def claim(self, breaker: Breaker) -> bool:
        """Whether a call may try: nobody else does, in no worker."""
        if breaker.trying or not (self._places is None or self._places.claim(breaker.place)):
            return False
        breaker.begin_to_try()
        return True

    def is_free(self, breaker: Breaker) -> bool:
        """Whether `claim` would be granted now."""
        if breaker.trying:
            return False
        return self._places is None or self._places.is_free(breaker.place)

    def free(self, breaker: Breaker) -> None:
        """Who tried here has ended."""
        breaker.trying = False
        if self._places is not None:
            self._places.give_back(breaker.place)

    def hear(self, news: Iterable[BreakerNews]) -> None:
        """What other workers found."""
        for one in news:
            key = Key(one.upstream, one.model, one.credential)
            breaker = self.known(key)
            if breaker is None:
                breaker = Breaker(key, named=one.named)
                room = self.own if key.credential else self.shared
                room.take_in(breaker, self.clock.monotonic())  # closed too: older news may follow
            breaker.named = breaker.named or one.named
            breaker.stand(one.standing)

    def all(self) -> Iterator[Breaker]:
        yield from self.shared.breakers.values()
        yield from self.own.breakers.values()


def key_of(upstream: str, model: str) -> Key:
    """A name that is too long to be one is kept as a digest."""
    if len(model) > _LONGEST_NAME:
        model = "sha256:" + sha256(model.encode("utf-8", "surrogatepass")).hexdigest()
    return Key(upstream, model)


def news_of(breaker: Breaker, now: float) -> BreakerNews:
    """All that others may know of it."""
    key = breaker.key
    return BreakerNews(
        *(key.upstream, key.model, key.credential, breaker.named),
        breaker.standing,
        *breaker.counted(now),
    )


def _is_another(before: Upstream, now: Upstream) -> bool:
    """Whether what was learnt of one says nothing of the other."""
    return (before.base_url, before.api_key) != (now.base_url, now.api_key)


def _nothing() -> None:
    pass
