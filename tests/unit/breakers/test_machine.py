"""pybreaker turns as it is told, and by its own rules."""

from datetime import UTC, datetime

import pytest

from proxy.breakers.machine import Machine, _Storage


def test_it_goes_round() -> None:
    machine = Machine()
    assert machine.is_closed
    machine.open()
    assert not machine.is_closed
    assert not machine.is_trying
    machine.try_one()
    assert machine.is_trying
    machine.went_well()
    assert machine.is_closed


@pytest.mark.parametrize("turns", [(), ("open",)])
def test_only_who_tries_can_close_it_by_going_well(turns: tuple[str, ...]) -> None:
    machine = Machine()
    for turn in turns:
        getattr(machine, turn)()
    was = machine.is_closed
    machine.went_well()

    assert machine.is_closed == was


def test_each_try_is_a_new_one() -> None:
    """What went well before it opened again does not count."""
    machine = Machine()
    for _ in range(3):
        machine.open()
        machine.try_one()
        machine.open()
        assert not machine.is_closed
    machine.close()

    assert machine.is_closed


def test_it_keeps_no_wall_clock() -> None:
    """Set back by hand, it would keep a breaker open for as long."""
    storage = _Storage()
    storage.opened_at = datetime(2030, 1, 1, tzinfo=UTC)

    assert storage.opened_at is None
    assert storage.counter == 0
