"""Random lives of calls in three workers that share breakers: outcomes in any order, news that come
late, twice over or never, workers killed and replaced, humans who open and close.

What must hold after each step is said once, in the invariants and where a rule ends.
"""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.breakers.breaker import Breaker, Shut
from proxy.breakers.keeping import news_of
from proxy.breakers.permits import Permit
from proxy.core.breaking import Standing, closed_by_hand, opened_by_hand
from proxy.core.failing import BreakerPolicy
from proxy.core.failures import Reason
from proxy.workers.messages import BreakerNews
from tests.fakes import FakeClock, FakePlaces
from tests.unit.breakers.kit import Kit, candidate, failure

WORKERS = 3
RULES = BreakerPolicy(
    consecutive_failures=2, minimum_calls=3, open_seconds=10.0, open_seconds_max=300.0
)
MODELS = ("a", "b")
CREDENTIALS = (None, b"one", b"two")
REASONS: tuple[Reason, ...] = ("error", "timeout", "slow", "rate_limited", "key", "not_found")
workers = st.integers(0, WORKERS - 1)
What = tuple[str, bytes]


class Letter:
    """News on its way to a worker. heard: is called once it has arrived, or was given up."""

    def __init__(self, to: int, news: BreakerNews, heard: Callable[[], None]) -> None:
        self.to, self.news, self.heard = to, news, heard


class Mail:
    """What one worker tells."""

    def __init__(self, crew: "BreakerMachine", number: int) -> None:
        self._crew, self._number = crew, number
        self.is_dead = False

    def tell(self, news: BreakerNews, then: Callable[[], None]) -> None:
        left = [other for other in range(WORKERS) if other != self._number]
        waiting = len(left)

        def heard() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0 and not self.is_dead:
                then()

        self._crew.letters += [Letter(other, news, heard) for other in left]


class Call:
    """A permit, and what the breakers of its worker were like when it was given."""

    def __init__(self, worker: int, permit: Permit, what: What) -> None:
        self.worker, self.permit, self.what = worker, permit, what


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.taken: dict[int, FakePlaces] = {}
        self.letters: list[Letter] = []
        self.calls: list[Call] = []
        self.chance = 0.0
        self.mails: list[Mail] = []
        self.crew = [self._worker(number) for number in range(WORKERS)]
        self.seen: list[dict[What, Standing]] = [{} for _ in range(WORKERS)]
        self.may_close: set[tuple[What, int]] = set()
        """Generations that were begun by a call that tried and went well, or by a human."""

    def _worker(self, number: int) -> Kit:
        mail = Mail(self, number)
        self.mails[number:number] = [mail]
        return Kit(RULES, FakePlaces(self.taken), mail, self.clock)

    @rule(worker=workers, model=st.sampled_from(MODELS), credential=st.sampled_from(CREDENTIALS))
    def ask(self, worker: int, model: str, credential: bytes | None) -> None:
        kit = self.crew[worker]
        before = kit.breakers.closed_to(candidate(model), credential)
        given = kit.breakers.acquire(candidate(model), credential)

        assert (before is None) == isinstance(given, Permit)
        if isinstance(given, Permit):
            self.calls.append(Call(worker, given, (model, credential or b"")))
        else:
            assert given == before
            assert given.seconds > 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), slow=st.booleans())
    def answered(self, data: st.DataObject, slow: bool) -> None:
        call = self._ends(data)
        tried = [part for part in call.permit.tries if part.generation == part.breaker.generation]
        straggles = call.permit.tries == () and self._is_old(call)
        before = self._all(call.worker)
        call.permit.answered(slow=slow)
        self._note_closed(call.worker, [part.breaker for part in tried])
        if straggles:
            assert self._all(call.worker) == before
        self._again(call)

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        reason=st.sampled_from(REASONS),
        reset=st.sampled_from((None, 0.0, 5.0, 90_000.0)),
    )
    def failed(self, data: st.DataObject, reason: Reason, reset: float | None) -> None:
        """An old call that fails extends at most; `not_found` is an answer."""
        call = self._ends(data)
        tried = [part for part in call.permit.tries if part.generation == part.breaker.generation]
        before = self._all(call.worker)
        old = call.permit.tries == () and self._is_old(call) and call.permit.credential is None
        call.permit.failed(failure(reason, reset if reason == "rate_limited" else None))
        self._note_closed(call.worker, [part.breaker for part in tried])
        if old:
            after = self._all(call.worker)
            assert after.keys() == before.keys()
            for what, (standing, counts) in after.items():
                was, counted = before[what]
                assert counts == counted
                assert (standing.generation, standing.is_open) == (was.generation, was.is_open)
                assert standing.until >= was.until
        self._again(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def begins(self, data: st.DataObject) -> None:
        """It goes on, and tries no more."""
        call = self.calls[data.draw(st.integers(0, len(self.calls) - 1))]
        tried = [part for part in call.permit.tries if part.generation == part.breaker.generation]
        before = self._all(call.worker)
        call.permit.begun()
        self._note_closed(call.worker, [part.breaker for part in tried])
        assert not call.permit.probe
        if not tried:
            assert self._all(call.worker) == before

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def dropped(self, data: st.DataObject) -> None:
        """It changes nothing, but that another may try."""
        call = self._ends(data)
        before = self._all(call.worker)
        call.permit.dropped()

        assert self._all(call.worker) == before
        for part in call.permit.tries:
            assert not part.breaker.trying
        self._again(call)

    @rule(seconds=st.sampled_from((0.5, 9.0, 11.0, 60.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.letters)
    @rule(data=st.data(), twice=st.booleans())
    def a_letter_arrives(self, data: st.DataObject, twice: bool) -> None:
        letter = self._letter(data)
        for _ in range(1 + twice):
            self.crew[letter.to].keeper.hear([letter.news])
        letter.heard()

    @precondition(lambda self: self.letters)
    @rule(data=st.data())
    def a_letter_is_given_up(self, data: st.DataObject) -> None:
        self._letter(data).heard()

    @rule(worker=workers, model=st.sampled_from(MODELS), seconds=st.sampled_from((5.0, None)))
    def a_human_opens(self, worker: int, model: str, seconds: float | None) -> None:
        keeper = self.crew[worker].keeper
        breaker = keeper.named("openai", model)
        now = self.clock.monotonic()
        said = opened_by_hand(breaker.standing, now, *(() if seconds is None else (seconds,)))
        keeper.stand(breaker, said)
        given = self.crew[worker].breakers.acquire(candidate(model), None)

        assert isinstance(given, Shut)
        assert given.why == "manual"

    @rule(worker=workers, model=st.sampled_from(MODELS))
    def a_human_closes(self, worker: int, model: str) -> None:
        keeper = self.crew[worker].keeper
        breaker = keeper.named("openai", model)
        keeper.stand(breaker, closed_by_hand(breaker.standing, self.clock.monotonic()))
        self.may_close.add(((model, b""), breaker.generation))

        assert self.crew[worker].breakers.closed_to(candidate(model), None) is None

    @rule(worker=workers)
    def a_worker_is_killed(self, worker: int) -> None:
        """Its successor asks the others what they know."""
        self.mails[worker].is_dead = True
        places = self.crew[worker].places
        assert places is not None
        places.die()
        for call in self.calls:
            if call.worker == worker:
                call.permit._breaker = None  # it ends with its process, and says nothing
        self.calls = [call for call in self.calls if call.worker != worker]
        del self.mails[worker]
        self.crew[worker] = new = self._worker(worker)
        self.seen[worker] = {}
        now = self.clock.monotonic()
        for other in range(WORKERS):
            if other != worker:
                new.keeper.hear([news_of(one, now) for one in self.crew[other].keeper.all()])

    @invariant()
    def at_most_one_tries(self) -> None:
        trying = [part.breaker.key for call in self.calls for part in call.permit.tries]
        assert len(trying) == len(set(trying))

    @invariant()
    def who_tries_has_the_place(self) -> None:
        for call in self.calls:
            for part in call.permit.tries:
                assert self.taken.get(part.breaker.place) is self.crew[call.worker].places

    @invariant()
    def nobody_keeps_a_place_for_nothing(self) -> None:
        """What came of a try is told first; then another may."""
        if not self.letters and not any(call.permit.tries for call in self.calls):
            assert not self.taken
            assert not any(one.trying for kit in self.crew for one in kit.keeper.all())

    @invariant()
    def waits_only_grow_and_nothing_closes_by_itself(self) -> None:
        for seen, kit in zip(self.seen, self.crew, strict=True):
            for breaker in kit.keeper.all():
                what = (breaker.key.model, breaker.key.credential)
                was, now = seen.get(what), breaker.standing
                if was is not None and was.is_open and _is_same_spell(was, now):
                    assert now.until >= was.until
                if was is not None and was.is_open and not now.is_open:
                    assert (what, now.generation) in self.may_close
                seen[what] = now

    def teardown(self) -> None:
        """Once all is told, all know the same."""
        for letter in self.letters:
            self.crew[letter.to].keeper.hear([letter.news])
        for kit in self.crew:
            for other in self.crew:
                if other is not kit:
                    now = self.clock.monotonic()
                    kit.keeper.hear([news_of(one, now) for one in other.keeper.all()])
        known = [
            {one.key: one.standing for one in kit.keeper.all() if one.is_open} for kit in self.crew
        ]
        assert known[0] == known[1] == known[2]

    def _letter(self, data: st.DataObject) -> Letter:
        return self.letters.pop(data.draw(st.integers(0, len(self.letters) - 1)))

    def _ends(self, data: st.DataObject) -> Call:
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    def _is_old(self, call: Call) -> bool:
        breaker = self.crew[call.worker].keeper.named("openai", call.what[0])
        return breaker.generation != call.permit.generation

    def _again(self, call: Call) -> None:
        """A permit that was used up says nothing more."""
        before = self._all(call.worker)
        call.permit.answered(slow=True)
        call.permit.failed(failure("key"))
        call.permit.dropped()
        assert self._all(call.worker) == before

    def _note_closed(self, worker: int, breakers: list[Breaker]) -> None:
        for breaker in breakers:
            if not breaker.is_open:
                self.may_close.add(
                    ((breaker.key.model, breaker.key.credential), breaker.generation)
                )

    def _all(self, worker: int) -> dict[What, tuple[Standing, tuple[int, int, int]]]:
        now = self.clock.monotonic()
        return {
            (one.key.model, one.key.credential): (one.standing, one.counted(now))
            for one in self.crew[worker].keeper.all()
        }


def _is_same_spell(was: Standing, now: Standing) -> bool:
    """A human's word may shorten what another worker found at the same time."""
    return (was.generation, was.by_hand) == (now.generation, now.by_hand)


BreakerMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)
TestBreakerMachine = pytest.mark.timeout(60)(BreakerMachine.TestCase)
