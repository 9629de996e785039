"""When breakers open, for how long, and whose word is the newest."""

import math
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.breaking import (
    JITTER,
    Record,
    Standing,
    closed,
    closed_by_hand,
    effect_of,
    extended,
    is_late,
    newest,
    opened,
    opened_by_hand,
    phase_of,
    reason_to_open,
    tells_of_now,
)
from proxy.core.failing import BreakerPolicy
from proxy.core.failures import Failure
from proxy.core.resets import MAX_RESET_SECONDS

RULES = BreakerPolicy()
NOW = 1_000.0
times = st.floats(0, 1e7)
chances = st.floats(0, 1)
resets = st.none() | st.floats(-10, 1e9)
standings = st.builds(
    Standing,
    generation=st.integers(0, 5),
    by_hand=st.booleans(),
    is_open=st.booleans(),
    until=st.sampled_from((0.0, 10.0, 20.0, math.inf)),
    openings=st.integers(0, 3),
    why=st.sampled_from(("failing", "slow", "manual")),
)
outcomes = st.lists(
    st.tuples(st.floats(0, 40), st.sampled_from(("well", "failed", "slow"))), max_size=60
)


def record_of(*said: str, seconds: float = 60.0, now: float = NOW) -> Record:
    record = Record(seconds)
    for what in said:
        note(record, what, now)
    return record


def note(record: Record, what: str, now: float) -> None:
    match what:
        case "well":
            record.went_well(now)
        case "failed":
            record.failed(now)
        case _:
            record.was_slow(now)


@given(outcomes)
def test_a_record_counts_what_is_of_its_window(gaps: list[tuple[float, str]]) -> None:
    """As if each outcome had been kept: those of the tenth that is now, and of the nine before."""
    record, kept, now = Record(30.0), list[tuple[int, str]](), NOW
    for gap, what in gaps:
        now += gap
        note(record, what, now)
        kept.append((int(now / 3.0), what))
        lately = [said for piece, said in kept if piece > int(now / 3.0) - 10]

        assert record.calls == len(lately)
        assert record.failures == lately.count("failed")
        assert record.slow == lately.count("slow")


@given(outcomes, st.floats(0, 100))
def test_looking_at_a_record_later_only_forgets(
    gaps: list[tuple[float, str]], later: float
) -> None:
    record, now = Record(30.0), NOW
    for gap, what in gaps:
        now += gap
        note(record, what, now)
    before = (record.calls, record.failures, record.slow)
    record.move(now + later)
    after = (record.calls, record.failures, record.slow)

    assert all(b >= a >= 0 for b, a in zip(before, after, strict=True))
    if later >= 30.0 + 3.0:
        assert after == (0, 0, 0)


def test_a_clock_that_stands_or_goes_back_loses_no_count() -> None:
    record = record_of("well", now=NOW)
    record.failed(NOW - 100)
    record.went_well(NOW - 100)

    assert (record.calls, record.failures) == (3, 1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("failed",) * 5, "failing"),
        (("failed",) * 4, None),
        (("well",) * 100 + ("failed",) * 5, "failing"),
        (("well",) * 100 + ("failed",) * 4, None),
        (("failed", "failed", "well", "well", "failed"), "failing"),
        (("failed", "well", "well", "well", "failed"), None),
        (("failed", "well", "failed"), None),
        (("failed", "failed", "slow", "failed", "failed", "failed"), "failing"),
        (("well",) * 100 + ("failed",) * 4 + ("well", "failed"), None),
        (("well", "failed") * 3, "failing"),
        (("well", "failed") * 2 + ("well", "well", "failed"), None),
        (("well", "slow") * 3, "slow"),
        (("well", "slow") * 2 + ("well", "well", "slow"), None),
        (("slow", "slow", "well", "well", "slow"), "slow"),
        (("slow", "well", "well", "well", "slow"), None),
        (("slow",) * 4, None),
        (("well",) * 100 + ("slow",) * 5, "slow"),
        (("well",) * 100 + ("slow",) * 4, None),
        (("well",) * 100 + ("slow",) * 4 + ("well", "slow"), None),
        (("well",) * 5 + ("slow",), None),
        (("well",) * 5 + ("failed",), None),
    ],
)
def test_it_opens_for_a_rate_or_a_row(said: tuple[str, ...], why: str | None) -> None:
    assert reason_to_open(RULES, record_of(*said)) == why


def test_a_row_of_slow_ones_opens_though_a_busy_minute_was_quick() -> None:
    """Of 1,000 calls a minute, 500 would have to wait before half of them are slow."""
    record = record_of(*("well",) * 1_000, *("slow",) * RULES.minimum_calls)
    assert reason_to_open(RULES, record) == "slow"


@pytest.mark.parametrize(
    ("reason", "effect", "of_now"),
    [
        ("connect", "failure", True),
        ("timeout", "failure", False),
        ("malformed", "failure", True),
        ("slow", "slow", False),
        ("key", "key", True),
        ("rate_limited", "rate_limited", True),
        ("not_found", "none", False),
    ],
)
def test_what_a_failure_means(reason: str, effect: str, of_now: bool) -> None:
    failure = msgspec.convert({"reason": reason, "message": ""}, Failure)
    assert effect_of(failure) == effect
    assert tells_of_now(failure) == of_now


@given(st.integers(0, 2_000), chances)
def test_waits_double_up_to_their_most(openings: int, chance: float) -> None:
    was = Standing(openings=openings)
    wait = opened(was, RULES, "failing", NOW, chance).until - NOW
    longest = opened(was, RULES, "failing", NOW, 0.0).until - NOW
    after = opened(Standing(openings=openings + 1), RULES, "failing", NOW, chance).until - NOW

    assert RULES.open_seconds * (1 - JITTER) - 1e-6 <= wait <= RULES.open_seconds_max
    assert longest == min(RULES.open_seconds * 2 ** min(openings, 10), RULES.open_seconds_max)
    assert longest * (1 - JITTER) - 1e-6 <= wait <= longest
    assert after >= wait - 1e-6


@given(standings, resets, times, chances)
def test_a_reset_is_kept_to_within_an_hour(
    was: Standing, reset: float | None, now: float, chance: float
) -> None:
    said = opened(was, RULES, "rate_limited", now, chance, reset)

    assert now <= said.until <= now + MAX_RESET_SECONDS
    if reset is not None and 0 <= reset <= MAX_RESET_SECONDS:
        assert said.until == now + reset


@given(standings, times, chances, resets)
def test_a_late_failure_extends_and_never_shortens(
    was: Standing, now: float, chance: float, reset: float | None
) -> None:
    said = extended(was, RULES, "failing", now, chance, reset)

    assert said.until >= was.until
    assert (said.generation, said.is_open) == (was.generation, was.is_open)
    if was.by_hand:
        assert said == was


def test_a_late_failure_makes_it_wait_from_then_on() -> None:
    was = opened(Standing(), RULES, "failing", NOW, 0.0)

    assert extended(was, RULES, "failing", NOW + 5, 0.0).until == NOW + 20
    said = extended(was, RULES, "rate_limited", NOW + 5, 0.0, 60.0)
    assert (said.until, said.why) == (NOW + 65, "rate_limited")
    assert extended(was, RULES, "rate_limited", NOW + 5, 0.0, 1.0) == was


def test_only_calls_that_were_in_flight_when_it_opened_are_late() -> None:
    was = Standing(generation=7)
    said = opened(was, RULES, "failing", NOW, 0.0)

    assert is_late(said, 7, NOW + 1)
    assert not is_late(said, 6, NOW + 1)
    assert not is_late(said, said.generation, NOW + 1)
    assert not is_late(said, 7, said.until)
    assert not is_late(closed(said, NOW), said.generation, NOW)
    again = opened(said, RULES, "failing", NOW + 15, 0.0)
    assert not is_late(again, 7, NOW + 16)


@given(standings, times, st.floats(0, 1e6), chances)
def test_each_turn_is_newer_than_what_was(
    was: Standing, now: float, seconds: float, chance: float
) -> None:
    turns = (
        opened(was, RULES, "failing", now, chance),
        closed(was, now),
        opened_by_hand(was, now, seconds),
        closed_by_hand(was, now),
    )
    for said in turns:
        assert newest(was, said) == newest(said, was) == said
        assert said.before == was.generation
        assert said.generation > was.generation


@given(st.lists(standings, min_size=1, max_size=4))
def test_in_whatever_order_news_come_all_end_at_the_same(news: list[Standing]) -> None:
    ends = set()
    for order in permutations(news):
        stands = Standing()
        for said in (*order, *order):
            stands = newest(stands, said)
        ends.add(stands)

    assert len(ends) == 1


def test_one_who_has_forgotten_outbids_what_others_know() -> None:
    """A breaker that made room for others, and opens anew, is heard."""
    known = closed(opened(Standing(), RULES, "failing", NOW, 0.0), NOW + 10)
    anew = opened(Standing(), RULES, "failing", NOW + 11, 0.0)

    assert newest(known, anew) == anew


def test_a_humans_word_holds_against_what_is_found_at_the_same_time() -> None:
    was = Standing(generation=9_000_000)
    found, said = opened(was, RULES, "failing", NOW, 0.0), closed_by_hand(was, NOW)

    assert found.generation == said.generation
    assert newest(found, said) == said


def test_a_phase_is_a_matter_of_time() -> None:
    was = opened(Standing(), RULES, "failing", NOW, 0.0)

    assert phase_of(was, NOW + 14.9) == "open"
    assert phase_of(was, NOW + 15.0) == "half-open"
    assert phase_of(closed(was, NOW + 15), NOW + 15) == "closed"
    assert phase_of(opened_by_hand(was, NOW), 1e12) == "open"


@given(standings)
def test_standings_survive_the_way_to_another_worker(was: Standing) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(was), type=Standing) == was
