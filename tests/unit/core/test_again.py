"""Whether a call may ask its provider once more inside the same step."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from proxy.core.again import fits_again
from proxy.core.ask import Account, Ask
from proxy.core.decision import Blocked, Granted
from proxy.core.policy import Limits
from proxy.core.rules import Rules
from proxy.core.session import EMPTY, HeldCall, SessionState
from tests.unit.core.test_engine import PRICE

FREE = Limits(steps=None, cost_micro_usd=None, tokens=None, duration_seconds=None, parallel=None)
HELD = HeldCall(1, False, "m", 300, 300, 9e9, (), b"")


def state(**fields: object) -> SessionState:
    held = {"held": {"c": HELD}, "held_micro_usd": 300, "held_tokens": 300}
    return changed(EMPTY, seq=3, steps=1, **{**held, **fields})


def ask(bound: int = 100) -> Ask:
    return Ask("s", "chat", "m", 100, bound, 1_000, 1, PRICE, ("t",))


def again(limits: Limits, now: SessionState | None = None, *accounts: Account) -> Granted | Blocked:
    rules = Rules(limits, min_output_tokens=10)
    return fits_again(rules, now or state(), ask(), accounts, HELD, 1.0)


def granted(outcome: Granted | Blocked) -> Granted:
    assert isinstance(outcome, Granted)
    return outcome


def test_another_attempt_is_held_beside_what_is_held_already() -> None:
    more = granted(again(replace(FREE, cost_micro_usd=10_000)))
    assert more.admit is not None

    assert more.output_tokens == 200
    assert more.cost_micro_usd == more.admit.hold_cost_micro_usd > 0


def test_it_is_bounded_to_what_is_left() -> None:
    whole = granted(again(FREE)).cost_micro_usd
    more = granted(again(replace(FREE, cost_micro_usd=300 + whole - 1)))
    assert more.admit is not None

    assert more.admit.output_bound is not None
    assert more.cost_micro_usd < whole


def test_it_is_refused_with_a_reason_where_too_little_is_left() -> None:
    blocked = again(replace(FREE, cost_micro_usd=301))
    assert isinstance(blocked, Blocked)
    assert blocked.why is not None

    assert blocked.why.code == "budget_exceeded"


def test_both_attempts_together_are_one_call() -> None:
    whole = granted(again(FREE)).cost_micro_usd

    assert isinstance(again(replace(FREE, request_cost_micro_usd=300 + whole)), Granted)
    assert isinstance(again(replace(FREE, request_cost_micro_usd=300 + whole - 1)), Blocked)


def test_it_is_no_new_step() -> None:
    assert isinstance(again(replace(FREE, steps=1)), Granted)


@pytest.mark.parametrize("closed", ["killed", "paused"])
def test_a_session_that_was_closed_meanwhile_asks_no_more(closed: str) -> None:
    assert isinstance(again(FREE, state(**{closed: True})), Blocked)


def test_what_many_sessions_share_bounds_it_too() -> None:
    full = Account("a", "global", "1d", 350, 0, 300)

    assert isinstance(again(FREE, None, full), Blocked)
