"""What a call's end says of the breakers that let it go."""

from typing import Final

from proxy.breakers.breaker import Breaker
from proxy.breakers.keeping import Keeper
from proxy.breakers.permits import Part, Permit, WatchedPermit
from proxy.core.breaking import (
    Effect,
    Why,
    closed,
    effect_of,
    extended,
    is_late,
    opened,
    reason_to_open,
    tells_of_now,
)
from proxy.core.failures import Failure

_WHY: Final[dict[Effect, Why]] = {
    "slow": "slow",
    "failure": "failing",
    "rate_limited": "rate_limited",
    "key": "key",
}
_SLOW: Final = Failure("slow", "It was slow.")


class Learner:
    """See `permits.Learning`."""

    def __init__(self, keeper: Keeper) -> None:
        self.clock = keeper.clock
        self._keeper = keeper

    def well(self, permit: Permit, breaker: Breaker, *, slow: bool) -> None:
        now = self.clock.monotonic()
        part = Part(breaker, permit.generation)
        if slow:
            self._failed(permit, part, _SLOW, "slow", now)
        elif part.generation == breaker.generation:
            breaker.record(self._keeper.rules.window_seconds).went_well(now)
        for tried in permit.tries:
            if not (slow and tried == part):
                self._closes(tried, now)
        for late in () if slow else permit.late:
            self._closes_late(late, now)

    def badly(self, permit: Permit, breaker: Breaker, failure: Failure) -> None:
        effect = effect_of(failure)
        if effect == "none":
            self.well(permit, breaker, slow=False)
            return
        part = Part(breaker, permit.generation)
        if permit.credential is not None and effect in ("rate_limited", "key"):
            own = self._keeper.own_of(breaker, permit.credential)
            part = Part(own, permit.own_generation)
        self._failed(permit, part, failure, effect, self.clock.monotonic())
        for tried in permit.tries:
            if tried != part:
                self.gives_up(tried)

    def begun(self, permit: WatchedPermit, breaker: Breaker) -> None:
        now = self.clock.monotonic()
        tries, permit.tries, permit.probe = permit.tries, (), False
        late, permit.late = permit.late, ()
        for part in (*tries, *late):
            overtaken = part.generation != part.breaker.generation
            if part in tries:
                self._closes(part, now)
            else:
                self._closes_late(part, now)
            if overtaken:
                continue
            if part.breaker is breaker:
                permit.generation = breaker.generation
            else:
                permit.own_generation = part.breaker.generation

    def overstays(self, permit: WatchedPermit) -> None:
        permit.late, permit.tries = (*permit.late, *permit.tries), ()
        for part in permit.late:
            self.gives_up(part)

    def nothing(self, permit: Permit) -> None:
        for part in permit.tries:
            self.gives_up(part)

    def _closes(self, part: Part, now: float) -> None:
        breaker = part.breaker
        if part.generation != breaker.generation:  # a human, or another worker, was quicker
            self.gives_up(part)
            return
        breaker.tried(well=True)
        self._keeper.stand(breaker, closed(breaker.standing, now), tried=True)

    def _closes_late(self, part: Part, now: float) -> None:
        """Whoever tries meanwhile finds it closed."""
        breaker = part.breaker
        if part.generation == breaker.generation:
            self._keeper.stand(breaker, closed(breaker.standing, now))

    def gives_up(self, part: Part) -> None:
        """Nothing was learnt: another may try."""
        part.breaker.tried(well=False)
        self._keeper.free(part.breaker)

    def _failed(
        self, permit: Permit, part: Part, failure: Failure, effect: Effect, now: float
    ) -> None:
        breaker, generation = part
        standing, why = breaker.standing, _WHY[effect]
        terms = (self._keeper.rules, why, now, self._keeper.chance(), failure.reset_seconds)
        if part in permit.tries:
            breaker.tried(well=False)
            reopens = generation == standing.generation
            said = opened(standing, *terms) if reopens else standing
            self._keeper.stand(breaker, said, tried=True)
        elif generation != standing.generation:
            if is_late(standing, generation, now) and tells_of_now(failure):
                self._keeper.stand(breaker, extended(standing, *terms))
        elif (found := self._found(breaker, effect, now)) is not None:
            terms = (terms[0], found, *terms[2:])
            self._keeper.stand(breaker, opened(standing, *terms))

    def _found(self, breaker: Breaker, effect: Effect, now: float) -> Why | None:
        """Why a closed breaker opens now; None: it does not."""
        if effect in ("rate_limited", "key"):
            return _WHY[effect]
        rules = self._keeper.rules
        record = breaker.record(rules.window_seconds)
        if effect == "slow":
            record.was_slow(now)
        else:
            record.failed(now)
        return reason_to_open(rules, record)
