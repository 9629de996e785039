"""What a session has left, for a call that begins or is in flight."""

from msgspec.structs import replace

from proxy.core.left import refuse_over, seconds_left, share_left
from proxy.core.policy import Limits
from proxy.core.rules import Rules
from proxy.core.session import EMPTY
from proxy.core.state import Below
from tests.unit.test_ledger import ASK

BEGUN = replace(EMPTY, seq=2, created_at=1_000.0)


def test_a_share_of_nothing_bounded_is_none() -> None:
    assert share_left(Limits(cost_micro_usd=None), EMPTY) is None


def test_a_share_counts_what_is_spent_and_held_here_and_below() -> None:
    below = Below(spent_micro_usd=100, held_micro_usd=200)
    state = replace(BEGUN, cost_micro_usd=300, held_micro_usd=150, below=below)

    assert share_left(Limits(cost_micro_usd=1_000), state) == 0.25


def test_a_share_counts_what_a_human_added() -> None:
    state = replace(BEGUN, cost_micro_usd=1_000, extended={"cost_usd": 1_000})

    assert share_left(Limits(cost_micro_usd=1_000), state) == 0.5


def test_of_no_money_nothing_is_left() -> None:
    assert share_left(Limits(cost_micro_usd=0), EMPTY) == 0.0


def test_time_is_left_from_the_first_call_on_as_extended() -> None:
    limits = Limits(duration_seconds=60)

    assert seconds_left(limits, BEGUN, 1_010.0) == 50.0
    assert seconds_left(limits, replace(BEGUN, extended={"duration_seconds": 5}), 1_010.0) == 55.0
    assert seconds_left(Limits(duration_seconds=None), BEGUN, 1_010.0) is None


def test_a_call_in_flight_is_told_like_one_that_comes_too_late() -> None:
    refusal = refuse_over(Rules(Limits(duration_seconds=60)), BEGUN, ASK, 1_060.0)

    assert (refusal.status, refusal.code) == (422, "duration_exceeded")
    assert "60 of 60 seconds" in refusal.message
