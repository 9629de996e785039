"""Made-up names push out nothing that matters."""

import pytest

from proxy.breakers.breaker import Breaker, Key, Shut
from proxy.breakers.permits import Permit
from proxy.breakers.room import FORGOTTEN_SECONDS, Room
from proxy.core.breaking import Standing
from tests.unit.breakers.kit import Kit, candidate, failure

MOST = 64


def test_a_flood_of_names_forgets_nothing_bad() -> None:
    """Models without end that nobody has: what is open stays so, and what has failed is known."""
    kit = Kit(most=MOST)
    kit.fail(times=4)
    for _ in range(5):
        kit.permit(candidate("a-clients", named=False)).failed(failure())
    for number in range(3 * MOST):
        kit.permit(candidate(f"made-up-{number}", named=False)).answered()

    assert len(kit.keeper.shared.breakers) <= MOST
    assert kit.breakers.closed_to(candidate("a-clients", named=False), None) is not None
    kit.fail()
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)


def test_a_flood_of_names_that_fail_pushes_out_no_open_breaker() -> None:
    """As where a whole provider is down; the policy's models keep their counts as well."""
    kit = Kit(most=MOST)
    kit.fail(times=4)
    for _ in range(5):
        kit.permit(candidate("a-clients", named=False)).failed(failure())
    for number in range(2 * MOST):
        kit.permit(candidate(f"made-up-{number}", named=False)).failed(failure())

    assert len(kit.keeper.shared.breakers) <= MOST
    assert kit.breakers.closed_to(candidate("a-clients", named=False), None) is not None
    kit.fail()
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)


def test_where_all_are_open_newcomers_are_let_go() -> None:
    """Nothing is known of them, and nothing is kept; an hour later there is room again."""
    kit = Kit(most=MOST)
    for number in range(MOST + 10):
        for _ in range(5):
            given = kit.breakers.acquire(candidate(f"made-up-{number}", named=False), None)
            assert isinstance(given, Permit)
            given.failed(failure())

    assert len(kit.keeper.shared.breakers) == MOST
    assert kit.breakers.closed_to(candidate("made-up-0", named=False), None) is not None
    last = candidate(f"made-up-{MOST + 5}", named=False)
    assert kit.breakers.closed_to(last, None) is None
    kit.clock.advance(FORGOTTEN_SECONDS + 16)
    for _ in range(5):
        kit.permit(last).failed(failure())
    assert kit.breakers.closed_to(last, None) is not None


def test_a_flood_of_bad_keys_is_bounded_and_closes_nothing_else() -> None:
    """Each made-up key is open after one call."""
    kit = Kit(most=MOST)
    kit.open()
    mine = b"mine" * 8
    kit.permit(candidate("gpt-4"), credential=mine).failed(failure("key"))
    for number in range(2 * MOST):
        key = number.to_bytes(32)
        kit.permit(candidate("gpt-4"), credential=key).failed(failure("key"))

    assert len(kit.keeper.own.breakers) == MOST
    assert isinstance(kit.breakers.acquire(candidate(), None), Shut)
    assert isinstance(kit.breakers.acquire(candidate("gpt-4"), mine), Shut)
    assert kit.breakers.closed_to(candidate("gpt-4"), None) is None


def test_what_is_not_kept_is_not_told() -> None:
    """Whoever makes up keys beyond all bounds must not keep the workers talking."""
    kit = Kit(most=MOST)
    for number in range(MOST + 100):
        key = number.to_bytes(32)
        kit.permit(credential=key).failed(failure("key"))

    assert len(kit.turns) == MOST


@pytest.mark.parametrize("is_open", [False, True])
def test_who_is_in_the_middle_of_a_try_stays(is_open: bool) -> None:
    """However long ago its time came."""
    room = Room(2)
    trying, shut = Breaker(Key("openai", "trying")), Breaker(Key("openai", "shut"))
    trying.stand(Standing(1, False, is_open, 10.0, 1))
    trying.trying = True
    shut.stand(Standing(1, False, True, 2e9, 1))
    for breaker in (trying, shut):
        assert room.take_in(breaker, 0.0)

    assert not room.take_in(Breaker(Key("openai", "another")), 1e9)
    assert [*room.breakers.values()] == [trying, shut]


def test_what_the_policy_names_stays_before_what_clients_do() -> None:
    """Its calls of the last minute are still counted."""
    kit = Kit(most=MOST)
    kit.succeed(3)
    for number in range(2 * MOST):
        kit.permit(candidate(f"made-up-{number}", named=False)).answered()

    assert kit.keeper.meet(candidate()).counted(kit.clock.monotonic()) == (3, 0, 0)
