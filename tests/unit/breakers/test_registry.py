"""Who may ask, and who must not; what a call's end says of that."""

import gc
import math
from dataclasses import replace

import pytest

from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.breakers.registry import TRYING_SECONDS
from proxy.core.breaking import Standing, Why, opened_by_hand
from proxy.core.failing import BreakerPolicy
from proxy.core.failures import Reason
from proxy.core.policy import Policy
from tests.fakes import FakePlaces
from tests.unit.breakers.kit import LOCAL, Kit, candidate, failure

ME = b"\x01" * 32
OTHER = b"\x02" * 32


def test_a_closed_breaker_lets_all_go() -> None:
    kit = Kit()
    kit.succeed(100)

    assert kit.breakers.closed_to(candidate(), None) is None
    assert not kit.permit().probe


def test_failures_in_a_row_open_it_for_everybody() -> None:
    kit = Kit()
    kit.fail(times=4)
    assert kit.breakers.closed_to(candidate(), ME) is None
    kit.fail()

    assert kit.breakers.closed_to(candidate(), ME) == Shut("failing", 15.0)
    assert kit.breakers.acquire(candidate(named=False), None) == Shut("failing", 15.0)
    assert kit.turns == [("gpt-5", True)]


def test_other_models_and_upstreams_are_not_meant() -> None:
    kit = Kit()
    kit.open()

    assert isinstance(kit.breakers.acquire(candidate("gpt-4"), None), Permit)
    assert isinstance(kit.breakers.acquire(candidate(upstream=LOCAL), None), Permit)


def test_an_answer_between_failures_breaks_the_row() -> None:
    kit = Kit(BreakerPolicy(failure_rate=1.0))
    for _ in range(3):
        kit.fail(times=4)
        kit.succeed()

    assert kit.breakers.closed_to(candidate(), None) is None


def test_failures_of_before_the_window_do_not_count() -> None:
    kit = Kit(BreakerPolicy(consecutive_failures=100))
    kit.fail(times=4)
    kit.clock.advance(67)
    kit.fail()
    assert kit.breakers.closed_to(candidate(), None) is None
    kit.fail(times=4)

    assert kit.breakers.closed_to(candidate(), None) is not None


def test_one_call_tries_once_its_time_has_come() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(14.9)
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)
    kit.clock.advance(0.2)
    assert kit.breakers.closed_to(candidate(), None) is None
    probe = kit.permit()

    assert probe.probe
    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", TRYING_SECONDS)
    assert kit.breakers.acquire(candidate(), None) == Shut("failing", TRYING_SECONDS)
    probe.answered()
    assert not kit.permit().probe
    assert kit.turns == [("gpt-5", True), ("gpt-5", False)]


def test_a_probe_in_vain_doubles_the_wait_up_to_the_most() -> None:
    kit = Kit(BreakerPolicy(open_seconds_max=300.0))
    kit.open()
    waits = []
    for _ in range(7):
        shut = kit.breakers.closed_to(candidate(), None)
        assert shut is not None
        waits.append(shut.seconds)
        kit.clock.advance(shut.seconds)
        kit.fail()

    assert waits == [15, 30, 60, 120, 240, 300, 300]


def test_after_a_good_probe_waits_begin_anew() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    kit.fail()
    kit.clock.advance(30)
    kit.succeed()
    kit.fail(times=4)
    assert kit.breakers.closed_to(candidate(), None) is None
    kit.fail()

    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", 15.0)


def test_a_slow_probe_is_one_in_vain() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    kit.permit().answered(slow=True)

    assert kit.breakers.closed_to(candidate(), None) == Shut("slow", 30.0)


def test_a_probe_that_has_begun_to_answer_lets_all_go() -> None:
    """A stream may take minutes; nobody is to wait for its end."""
    kit = Kit()
    kit.permit(credential=ME).failed(failure("key"))
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit(credential=ME)
    probe.begun()
    assert not kit.permit(credential=ME).probe
    assert not kit.permit().probe
    probe.begun()
    probe.failed(failure("truncated"))

    assert kit.keeper.meet(candidate()).counted(kit.clock.monotonic()) == (1, 1, 0)
    kit.fail(times=4)
    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", 15.0)


def test_a_call_that_tries_nothing_may_begin() -> None:
    kit = Kit()
    permit = kit.permit()
    permit.begun()
    permit.answered()

    assert kit.keeper.meet(candidate()).counted(kit.clock.monotonic()) == (1, 0, 0)


async def test_a_probe_that_begins_after_a_humans_word_changes_nothing() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit()
    await kit.breakers.open("openai", "gpt-5", 60.0)
    probe.begun()
    probe.failed(failure())

    assert kit.breakers.closed_to(candidate(), None) == Shut("manual", 60.0)


def test_a_place_is_claimed_once() -> None:
    kit = Kit()
    kit.open()
    breaker = kit.keeper.meet(candidate())
    kit.clock.advance(15)

    assert kit.keeper.is_free(breaker)
    assert kit.keeper.claim(breaker)
    assert not kit.keeper.is_free(breaker)
    assert not kit.keeper.claim(breaker)


def test_what_others_know_is_taken_and_told() -> None:
    """Of those that nobody has asked here yet, too; that the policy names it, as well."""
    here, there = Kit(), Kit()
    there.permit(candidate(named=False)).answered()
    here.open()
    here.permit(candidate("gpt-4")).answered()
    there.breakers.hear(here.breakers.news())

    assert there.breakers.closed_to(candidate(named=False), None) == Shut("failing", 15.0)
    assert [breaker.named for breaker in there.keeper.all()] == [True, True]
    assert there.turns == []


def test_a_dropped_probe_lets_another_try_at_once() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    kit.permit().dropped()

    assert kit.permit().probe


def test_a_lost_probe_lets_another_try() -> None:
    """A bug, or a task that was thrown away, must not keep a provider shut for good."""
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit()
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)
    del probe
    gc.collect()

    assert kit.permit().probe


def test_a_straggler_that_went_well_closes_nothing() -> None:
    kit = Kit()
    straggler, slow_one = kit.permit(), kit.permit()
    kit.open()
    straggler.answered()
    slow_one.answered(slow=True)

    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", 15.0)


def test_a_straggler_that_failed_opens_nothing_anew() -> None:
    kit = Kit()
    stragglers = [kit.permit() for _ in range(10)]
    kit.open()
    kit.clock.advance(15)
    kit.succeed()
    for straggler in stragglers:
        straggler.failed(failure())

    assert kit.breakers.closed_to(candidate(), None) is None


@pytest.mark.parametrize(
    ("reason", "reset", "seconds"),
    [
        ("error", None, 15.0),
        ("rate_limited", 60.0, 60.0),
        ("rate_limited", 1.0, 10.0),
        ("timeout", None, 10.0),
        ("slow", None, 10.0),
    ],
)
def test_a_late_failure_extends_the_wait(
    reason: Reason, reset: float | None, seconds: float
) -> None:
    """What ran out of time tells of when it was sent."""
    kit = Kit()
    late = kit.permit()
    kit.open()
    kit.clock.advance(5)
    late.failed(failure(reason, reset))

    shut = kit.breakers.closed_to(candidate(), None)
    assert shut is not None
    assert shut.seconds == seconds


def test_what_fails_after_a_closing_in_between_extends_nothing() -> None:
    """It was not in flight when the breaker opened this time, but the time before."""
    kit = Kit()
    straggler = kit.permit()
    kit.open()
    kit.clock.advance(15)
    kit.succeed()
    kit.open()
    kit.clock.advance(5)
    straggler.failed(failure("rate_limited", 600.0))

    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", 10.0)


def test_what_a_straggler_says_is_not_counted_with_what_is_now() -> None:
    kit = Kit()
    straggler, slow_one = kit.permit(), kit.permit()
    kit.open()
    kit.clock.advance(15)
    kit.succeed(2)
    straggler.answered()
    slow_one.answered(slow=True)

    assert kit.keeper.meet(candidate()).counted(kit.clock.monotonic()) == (1, 0, 0)


class Quick(FakePlaces):
    """Those of a crew in which somebody else is always a little quicker to claim some."""

    def __init__(self, quicker: set[int]) -> None:
        super().__init__({})
        self.quicker = quicker

    def claim(self, number: int) -> bool:
        return number not in self.quicker and super().claim(number)


def test_another_worker_may_be_quicker() -> None:
    """Then nobody here tries, and what was claimed for it already is given back."""
    quicker: set[int] = set()
    kit = Kit(places=Quick(quicker))
    kit.permit(credential=ME).failed(failure("key"))
    kit.open()
    kit.clock.advance(15)
    quicker.add(kit.keeper.meet(candidate()).place)
    assert kit.breakers.closed_to(candidate(), ME) is None
    assert kit.breakers.acquire(candidate(), ME) == Shut("failing", TRYING_SECONDS)
    quicker.clear()

    assert len(kit.permit(credential=ME).tries) == 2


def test_slow_calls_open_it_and_it_says_so() -> None:
    """A slow answer is better than none: who asks may want to know."""
    kit = Kit()
    kit.succeed(200)
    for _ in range(4):
        kit.permit().stalled()
    assert kit.breakers.closed_to(candidate(), None) is None
    kit.permit().failed(failure("slow"))

    assert kit.breakers.closed_to(candidate(), None) == Shut("slow", 15.0)


def test_not_found_is_an_answer() -> None:
    kit = Kit()
    kit.fail("not_found", times=20)

    assert kit.breakers.closed_to(candidate(), None) is None


@pytest.mark.parametrize(("reason", "reset"), [("key", None), ("rate_limited", 40.0)])
def test_our_own_key_is_everybodys(reason: Reason, reset: float | None) -> None:
    kit = Kit()
    kit.succeed(100)
    kit.permit().failed(failure(reason, reset))
    why: Why = "key" if reason == "key" else "rate_limited"

    assert kit.breakers.closed_to(candidate(), None) == Shut(why, reset or 15.0, said=bool(reset))


@pytest.mark.parametrize(("reason", "reset"), [("key", None), ("rate_limited", 40.0)])
def test_a_callers_own_key_is_only_its_own(reason: Reason, reset: float | None) -> None:
    kit = Kit()
    kit.permit(credential=ME).failed(failure(reason, reset))
    why: Why = "key" if reason == "key" else "rate_limited"

    assert kit.breakers.closed_to(candidate(), ME) == Shut(
        why, reset or 15.0, own=True, said=bool(reset)
    )
    assert kit.breakers.closed_to(candidate(), OTHER) is None
    assert kit.breakers.closed_to(candidate(), None) is None
    assert isinstance(kit.breakers.acquire(candidate("gpt-4"), ME), Permit)


def test_a_callers_key_is_tried_again_by_that_caller() -> None:
    kit = Kit()
    kit.succeed()
    kit.permit(credential=ME).failed(failure("key"))
    kit.clock.advance(15)
    probe = kit.permit(credential=ME)
    assert probe.probe
    assert kit.breakers.acquire(candidate(), ME) == Shut("key", TRYING_SECONDS, own=True)
    assert not kit.permit(credential=OTHER).probe
    probe.answered()

    assert not kit.permit(credential=ME).probe


def test_a_bad_key_says_nothing_of_the_provider() -> None:
    """Neither may a caller with one close what is broken, nor keep others from trying."""
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit(credential=ME)
    probe.failed(failure("key"))
    assert kit.breakers.closed_to(candidate(), ME) == Shut("key", 15.0, own=True)

    again = kit.permit(credential=OTHER)
    assert again.probe
    again.answered()
    assert kit.breakers.closed_to(candidate(), OTHER) is None


def test_a_call_may_try_a_key_and_its_provider_at_once() -> None:
    kit = Kit()
    kit.permit(credential=ME).failed(failure("key"))
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit(credential=ME)
    assert len(probe.tries) == 2
    probe.failed(failure("error"))

    assert kit.breakers.closed_to(candidate(), OTHER) == Shut("failing", 30.0)
    kit.clock.advance(30)
    kit.permit(credential=ME).answered()
    assert kit.breakers.closed_to(candidate(), ME) is None


def test_a_key_that_is_shut_takes_no_place_of_the_provider() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(10)
    kit.keeper.own_of(kit.keeper.meet(candidate()), ME)
    own = kit.keeper.own.breakers[("openai", "gpt-5", ME)]
    kit.clock.advance(5)
    held = kit.permit(credential=ME)
    held.failed(failure("key"))
    assert own.is_open

    assert isinstance(kit.breakers.acquire(candidate(), ME), Shut)
    assert kit.permit(credential=OTHER).probe


def test_a_new_key_in_the_policy_is_a_new_beginning() -> None:
    kit = Kit()
    to = candidate(upstream=LOCAL)
    kit.permit(to).failed(failure("key"))
    assert isinstance(kit.breakers.acquire(to, None), Shut)
    same = candidate(upstream=replace(LOCAL))
    assert isinstance(kit.breakers.acquire(same, None), Shut)
    mended = candidate(upstream=replace(LOCAL, api_key="another"))

    assert isinstance(kit.breakers.acquire(mended, None), Permit)


def test_failures_of_before_a_new_key_do_not_count() -> None:
    kit = Kit()
    for _ in range(4):
        kit.permit(candidate(upstream=LOCAL)).failed(failure())
    mended = candidate(upstream=replace(LOCAL, base_url="http://127.0.0.1:8000/v1"))
    kit.permit(mended).failed(failure())

    assert isinstance(kit.breakers.acquire(mended, None), Permit)


def test_what_a_human_shut_stays_so_under_a_new_policy() -> None:
    kit = Kit()
    to = candidate(upstream=LOCAL)
    breaker = kit.keeper.meet(to)
    kit.keeper.stand(breaker, opened_by_hand(Standing(), kit.clock.monotonic()))
    mended = candidate(upstream=replace(LOCAL, api_key="another"))

    assert kit.breakers.acquire(mended, None) == Shut("manual", math.inf)


async def test_a_human_opens_and_closes() -> None:
    kit = Kit()
    straggler = kit.permit()
    await kit.breakers.open("openai", "gpt-5", 60.0)
    straggler.failed(failure("rate_limited", 3_000.0))
    assert kit.breakers.closed_to(candidate(), None) == Shut("manual", 60.0)
    await kit.breakers.open("openai", "gpt-5")
    kit.clock.advance(1e9)
    assert kit.breakers.closed_to(candidate(), None) == Shut("manual", math.inf)
    await kit.breakers.close("openai", "gpt-5")

    assert kit.breakers.closed_to(candidate(), None) is None


@pytest.mark.parametrize("fails", [False, True])
async def test_a_probe_that_a_human_overtook_changes_nothing(fails: bool) -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    probe = kit.permit()
    await kit.breakers.open("openai", "gpt-5", 60.0)
    if fails:
        probe.failed(failure())
    else:
        probe.answered()
    assert kit.breakers.closed_to(candidate(), None) == Shut("manual", 60.0)
    kit.clock.advance(60)

    assert kit.permit().probe


def test_a_policy_that_changes_counts_from_its_next_failure() -> None:
    kit = Kit()
    kit.fail(times=4)
    rules = BreakerPolicy(consecutive_failures=3, window_seconds=10.0, open_seconds=1.0)
    kit.policy.current = Policy({}, (), breakers=rules)
    kit.fail(times=2)
    assert kit.breakers.closed_to(candidate(), None) is None
    kit.fail()

    assert kit.breakers.closed_to(candidate(), None) == Shut("failing", 1.0)


def test_a_names_length_is_bounded() -> None:
    kit = Kit()
    long = candidate("x" * 100_000, named=False)
    for _ in range(5):
        permit = kit.breakers.acquire(long, None)
        assert isinstance(permit, Permit)
        permit.failed(failure())

    assert isinstance(kit.breakers.acquire(long, None), Shut)
    assert all(len(breaker.key.model) < 100 for breaker in kit.keeper.all())


def test_both_ways_to_a_model_share_one_breaker() -> None:
    """Named by a client, or by the policy: what is learnt is the same. Once the policy has named
    it, it stays so."""
    kit = Kit()
    for named in (False, True, False):
        kit.permit(candidate(named=named)).failed(failure())

    (breaker,) = kit.keeper.all()
    assert breaker.named
    assert breaker.counted(kit.clock.monotonic()) == (3, 3, 0)


@pytest.mark.parametrize("well", [True, False])
def test_who_tries_for_too_long_lets_another_try(well: bool) -> None:
    """A probe that hangs, or that has asked for a long answer, keeps nobody out for good."""
    kit = Kit(places=FakePlaces({}))
    kit.open()
    kit.clock.advance(15.0)
    first = kit.permit()
    first.overstays()
    second = kit.permit()

    assert second.probe
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)
    if well:
        first.answered()
        assert kit.breakers.closed_to(candidate(), None) is None
        second.failed(failure())  # what it says is of before
        assert kit.breakers.closed_to(candidate(), None) is None
    else:
        first.failed(failure())
        assert kit.breakers.closed_to(candidate(), None) == Shut("failing", TRYING_SECONDS)
        second.begun()
        assert kit.breakers.closed_to(candidate(), None) is None


def test_who_has_tried_for_too_long_and_begins_closes_it() -> None:
    kit = Kit(places=FakePlaces({}))
    kit.open()
    kit.clock.advance(15.0)
    first = kit.permit()
    first.overstays()
    first.begun()
    assert kit.breakers.closed_to(candidate(), None) is None
    first.failed(failure())  # its end counts like any other's

    assert kit.breakers.closed_to(candidate(), None) is None
    assert kit.keeper.named("openai", "gpt-5").counted(kit.clock.monotonic()) == (1, 1, 0)


def test_who_overstays_and_leaves_says_nothing() -> None:
    kit = Kit(places=FakePlaces({}))
    kit.open()
    kit.clock.advance(15.0)
    first = kit.permit()
    first.overstays()
    first.overstays()
    second = kit.permit()
    first.dropped()

    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)
    second.dropped()
    assert kit.permit().probe
