"""What is booked for processes that are gone, and what is left to those that live."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.checkpoints import Checkpoints
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import Append, Balance, Charge, OpenHold, SessionHead
from proxy.stores.heads import head_of
from proxy.stores.memory import MemoryStore
from proxy.sweeper import Sweeper
from proxy.workers.owners import FolderOwners
from tests.unit.test_ledger import KEY, Bench, used, wants

RETENTION_SECONDS = Checkpoints().retention_seconds
FAR = 10_000.0
"""Past the deadline of every hold, in seconds."""


class Away(MemoryStore):
    """A store that can be away."""

    away = False

    async def open_holds(self, deadline_before: float | None = None) -> list[OpenHold]:
        if self.away:
            raise StoreUnavailable("away")
        return list(await super().open_holds(deadline_before))


class Two:
    """Two processes on one store: `me`, who sweeps, and `other`."""

    def __init__(self, folder: Path) -> None:
        self.store = Away()
        self.bench = Bench(self.store)
        self.other = self.bench.another("other")
        mine, self.others = FolderOwners(folder, "me"), FolderOwners(folder, "other")
        mine.claim()
        self.others.claim()
        ledger, clock = self.bench.ledger, self.bench.clock
        self.sweeper = Sweeper(ledger, self.store, clock, lambda: 5 * 86_400, mine)

    async def outcomes(self) -> list[str]:
        """How the calls of the session ended."""
        events = [stored.event for stored in await self.store.read(KEY)]
        return [event.outcome for event in events if isinstance(event, ev.StepSettled)]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    two = Two(tmp_path)
    await two.store.open()
    yield two
    await two.bench.tasks.settle()
    await two.store.close()


async def test_what_a_dead_process_held_is_booked_before_its_deadline(two: Two) -> None:
    """Whole: nobody knows what the call used. What I hold myself stays held."""
    await two.other.reserve(wants("a"))
    await two.bench.ledger.reserve(wants("b"))
    two.others.leave(settled=False)
    await two.sweeper.recover()

    assert await two.outcomes() == ["expired"]
    assert [hold.call_id for hold in await two.store.open_holds()] == ["b"]
    state = await two.bench.ledger.state(KEY)
    assert (state.cost_micro_usd, state.held_micro_usd) == (100, 100)


async def test_a_listing_is_mended_whose_writer_died_before_it_could(two: Two) -> None:
    """It knew nothing of what another had booked meanwhile, and noticed too late. The listing says
    so: its seq is another one."""
    await two.other.reserve(wants("a"))
    known = head_of(await two.other.state(KEY))
    await two.other.settle(KEY, "a", used(30))
    await two.store.append(Append(KEY, (), head=known))
    two.others.leave(settled=False)
    await two.sweeper.recover()

    ((row,), _) = await two.store.list_sessions()
    assert (row.head.cost_micro_usd, row.head.held_micro_usd) == (30, 0)
    assert row.head.seq == row.seq


async def test_what_a_living_process_holds_is_left_to_it(two: Two) -> None:
    """However far the wall clock has jumped: it will settle the call, or book it itself."""
    await two.other.reserve(wants("a"))
    two.bench.clock.advance(FAR)

    assert await two.sweeper.sweep() == 0
    assert len(await two.store.open_holds()) == 1
    await two.other.settle(KEY, "a", used(40))
    assert await two.outcomes() == ["answered"]


async def test_what_one_held_of_whom_nothing_is_known_is_booked_at_its_deadline(two: Two) -> None:
    """It says nowhere that it lives: it may be of an older version."""
    unknown = two.bench.another("unknown")
    await unknown.reserve(wants("a"))
    await two.sweeper.sweep()
    assert await two.outcomes() == []

    two.bench.clock.advance(FAR)
    assert await two.sweeper.sweep() == 1
    assert await two.outcomes() == ["expired"]


async def test_the_dead_are_booked_later_where_the_ledger_is_away(two: Two) -> None:
    """And not forgotten: their file stays until nothing is held by them."""
    await two.other.reserve(wants("a"))
    two.others.leave(settled=False)
    two.store.away = True
    await two.sweeper.recover()
    two.store.away = False
    assert await two.outcomes() == []

    await two.sweeper.recover()
    assert await two.outcomes() == ["expired"]
    assert [path.name for path in (two.others.folder or Path()).iterdir()] == ["me.lock"]


async def test_sessions_are_kept_for_the_retention(two: Two) -> None:
    """Not a second less, and whatever holds something stays."""
    ledger, clock = two.bench.ledger, two.bench.clock
    await ledger.reserve(wants("a"))
    await ledger.settle(KEY, "a", used(40))
    await two.sweeper.purge()
    clock.advance(RETENTION_SECONDS - 60)
    await two.sweeper.purge()
    assert len(await two.store.read(KEY)) > 0

    clock.advance(61)
    await two.sweeper.purge()
    (left,) = await two.store.read(KEY)
    assert isinstance(left.event, ev.SessionDeleted)
    assert (left.event.reason, left.event.at) == ("retention", clock.now())


async def test_a_clock_that_jumps_ahead_deletes_nothing(two: Two) -> None:
    """It is set right again; what was deleted stays deleted, and each budget would begin anew."""
    await two.store.append(Append(KEY, (), charges=(Charge("month", 0, 5),), head=_head(two)))
    two.bench.clock.jump(10 * 365 * 86_400)
    await two.sweeper.purge()

    assert len((await two.store.list_sessions())[0]) == 1
    assert await two.store.balances(["month"]) == {"month": Balance(5)}


async def test_a_session_is_kept_as_long_as_it_may_be_idle(two: Two) -> None:
    """Else its budget would begin anew before its time."""
    store, clock = two.store, two.bench.clock
    sweeper = Sweeper(two.bench.ledger, store, clock, lambda: 2 * RETENTION_SECONDS)
    await store.append(Append(KEY, (), head=_head(two)))
    clock.advance(RETENTION_SECONDS + 60)
    await sweeper.purge()
    assert len((await store.list_sessions())[0]) == 1

    clock.advance(RETENTION_SECONDS)
    await sweeper.purge()
    assert (await store.list_sessions())[0] == []


async def test_accounts_outlive_their_window(two: Two) -> None:
    """The spent of a month is not forgotten within it; later it is nobody's."""
    await two.store.append(Append(KEY, (), charges=(Charge("month", 0, 5),), head=_head(two)))
    two.bench.clock.advance(31 * 86_400)
    await two.sweeper.purge()
    assert await two.store.balances(["month"]) == {"month": Balance(5)}

    two.bench.clock.advance(10 * 86_400)
    await two.sweeper.purge()
    assert await two.store.balances(["month"]) == {"month": Balance()}


async def test_retention_is_looked_after_once_a_minute(two: Two) -> None:
    """It walks tables that may be large."""
    await two.sweeper.purge()
    await two.store.append(Append(KEY, (), head=SessionHead(updated_at=1.0)))
    two.bench.clock.advance(RETENTION_SECONDS)
    await two.sweeper.purge()
    assert (await two.store.list_sessions())[0] == []
    other = SessionKey(KEY.tenant, "other")
    await two.store.append(Append(other, (), head=SessionHead(updated_at=1.0)))
    two.bench.clock.advance(59)
    await two.sweeper.purge()

    assert len((await two.store.list_sessions())[0]) == 1


def _head(two: Two) -> SessionHead:
    return SessionHead(updated_at=two.bench.clock.now())
