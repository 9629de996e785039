"""A session that was deleted: what the ledger makes of what is left of it."""

from collections.abc import AsyncIterator

import pytest

from proxy.core import events as ev
from proxy.core.claims import rule
from proxy.core.decision import Refusal
from proxy.core.session import fold, is_idle
from proxy.core.tools.facts import Handed, effect_of
from proxy.reservation import Admitted
from tests.unit.test_ledger import KEY, Bench, used, wants


@pytest.fixture
async def deleted() -> AsyncIterator[Bench]:
    """A ledger that knows a session which another process has deleted since."""
    bench = Bench()
    await bench.store.open()
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(900))
    await bench.store.delete(KEY, bench.clock.now())
    yield bench
    await bench.tasks.settle()
    await bench.store.close()


async def names(bench: Bench) -> list[str]:
    return [type(stored.event).__name__ for stored in await bench.store.read(KEY)]


async def test_its_next_call_begins_anew(deleted: Bench) -> None:
    """With nothing spent, whatever this process remembers."""
    admitted = await deleted.ledger.reserve(wants("b"))

    assert isinstance(admitted, Admitted)
    assert await names(deleted) == ["SessionDeleted", "SessionOpened", "StepReserved"]
    state = await deleted.ledger.latest(KEY)
    assert (state.generation, state.steps, state.cost_micro_usd, state.seq) == (1, 1, 0, 6)


async def test_it_is_never_idle(deleted: Bench) -> None:
    """Else it would be finished, time and again."""
    await deleted.ledger.refresh(KEY)
    deleted.clock.advance(7200)

    assert deleted.ledger.idle_sessions(3600) == ()
    assert await deleted.sweeper.sweep() == 0
    assert await names(deleted) == ["SessionDeleted"]
    assert not is_idle(fold([ev.SessionDeleted(5.0, events=3)]), 3600, 1e9)


async def test_a_refusal_is_not_written_behind_it(deleted: Bench) -> None:
    """Nothing is written of a session that has not begun."""
    await deleted.ledger.refresh(KEY)

    assert isinstance(await deleted.ledger.reserve(wants("b", cost=0)), Refusal)
    await deleted.ledger.drained()
    assert await names(deleted) == ["SessionDeleted"]


def test_a_claim_may_be_the_first_that_is_heard_of_it() -> None:
    """As of a session that nobody knows."""
    left = fold([ev.SessionDeleted(5.0, events=3)])
    call = Handed("c", "pay", effect_of("pay", "{}"))

    assert isinstance(rule(left, call, 60.0, 10.0).events[0], ev.SessionOpened)
