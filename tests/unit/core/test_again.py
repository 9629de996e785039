"""Whether a call may ask its provider once more inside the same step."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from proxy.core.again import fits_again, fits_instead
from proxy.core.ask import Account, Ask, Instead
from proxy.core.decision import Blocked, Granted
from proxy.core.policy import Limits
from proxy.core.rules import Rules
from proxy.core.session import EMPTY, HeldCall, SessionKey, SessionState
from proxy.core.state import Below
from proxy.core.tree import Kin
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


def instead(
    limits: Limits, spare: int = 300, *accounts: Account, above: tuple[Kin, ...] = ()
) -> Granted | Blocked:
    """In the place of an attempt on which nothing, or all but `spare`, was booked."""
    rules = Rules(limits, min_output_tokens=10)
    wanted = Instead(ask(), spare, spare)
    return fits_instead(rules, state(), wanted, accounts, HELD, 1.0, above)


def needed() -> int:
    """What such an attempt holds where nothing is there yet."""
    return granted(instead(FREE, 0)).cost_micro_usd


def test_what_is_held_and_unused_is_used_for_the_next_attempt() -> None:
    more = granted(instead(FREE))
    assert more.admit is not None

    assert more.cost_micro_usd == max(0, more.admit.hold_cost_micro_usd - 300)
    assert more.output_tokens == 0  # 200 tokens, and 300 are there


def test_nothing_more_is_held_where_enough_is() -> None:
    more = granted(instead(FREE, 10_000))

    assert (more.cost_micro_usd, more.output_tokens) == (0, 0)


@pytest.mark.parametrize("short", [0, 1])
def test_an_attempt_instead_fits_where_both_would_not(short: int) -> None:
    """The limit has room for one of them."""
    more = instead(replace(FREE, cost_micro_usd=needed() - short))

    bound = granted(more).admit
    assert bound is not None
    assert (bound.output_bound is None) == (short == 0)


@pytest.mark.parametrize("short", [0, 1])
def test_what_was_booked_of_the_hold_is_not_spare(short: int) -> None:
    limits = replace(FREE, cost_micro_usd=200 + needed() - short)
    bound = granted(instead(limits, 100)).admit
    assert bound is not None

    assert (bound.output_bound is None) == (short == 0)


def test_a_shared_budget_gets_back_what_is_spare() -> None:
    account = Account("a", "tenant", "1d", needed(), held_micro_usd=300)
    bound = granted(instead(FREE, 300, account)).admit
    assert bound is not None

    assert bound.output_bound is None
    assert isinstance(instead(FREE, 0, account), Blocked)


def test_a_session_above_gets_back_what_is_spare() -> None:
    below = Below(held_micro_usd=300, held_tokens=300, calls=1)
    root = changed(EMPTY, seq=3, has_children=True, below=below)
    limits = replace(FREE, cost_micro_usd=needed())
    bound = granted(instead(FREE, 300, above=(Kin(SessionKey("t", "root"), limits, root),))).admit
    assert bound is not None

    assert bound.output_bound is None


def test_what_was_booked_and_an_attempt_instead_are_one_call() -> None:
    """limits.request_cost_usd: what was booked counts."""
    most = 200 + needed()

    assert isinstance(instead(replace(FREE, request_cost_micro_usd=most), 100), Granted)
    assert isinstance(instead(replace(FREE, request_cost_micro_usd=most - 1), 100), Blocked)


def test_a_closed_session_makes_no_attempt_instead() -> None:
    rules = Rules(FREE, min_output_tokens=10)
    blocked = fits_instead(rules, state(killed=True), Instead(ask(), 300, 300), (), HELD, 1.0)

    assert isinstance(blocked, Blocked)
    assert blocked.why is not None
