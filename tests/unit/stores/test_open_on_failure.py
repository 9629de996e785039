"""`store.on_failure: open`: what is done while the store is away is in it afterwards, each once."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.policy import Budget
from proxy.core.session import SessionKey, fold
from proxy.core.tools.facts import Handed
from proxy.errors import AccountExceeded, StoreUnavailable
from proxy.ledger import Ledger
from proxy.reservation import Admitted, Reservation
from proxy.stores import (
    SPOOLED,
    Append,
    Appended,
    Balance,
    Charge,
    LogCutShort,
    Maximum,
    Store,
    StoreAway,
    Stored,
)
from proxy.stores.memory import MemoryStore
from proxy.stores.open_on_failure import Mode, OpenOnFailure
from proxy.stores.spools import Spools
from proxy.stores.sqlite import SqliteStore
from proxy.sweeper import Sweeper
from proxy.tasks import Tasks
from proxy.workers.owners import FolderOwners
from tests.fakes import FakeClock, turns
from tests.fakes_stores import KEY, NOW, SECRET, Disk, Going, opened, outcome, reserved, settled
from tests.unit.test_ledger import used, wants

BUDGETS = (Budget("tenant", "1d", 100_000),)


@dataclass
class Side:
    """One process: its store over a primary that several share, and its ledger."""

    going: Going
    folder: Path
    name: str
    clock: FakeClock
    disk: Disk = field(default_factory=Disk)
    most_bytes: int = 1024**2

    def __post_init__(self) -> None:
        self.is_open = True
        self.let_through = 0
        self.spools = Spools(self.folder, self.name, self.disk.connect, self.most_bytes)
        self.store = OpenOnFailure(
            self.going, self.spools, lambda: self.is_open, lambda: 3600.0, self._let_through
        )
        self.tasks = Tasks()
        self.ledger = Ledger(self.store, self.clock, self.name, self.tasks)
        self.store.on_back = self.ledger.forget_spooled

    def _let_through(self) -> None:
        self.let_through += 1

    async def call(self, call_id: str, cost: int, key: SessionKey = KEY) -> None:
        await self.reserve(call_id, key)
        await self.ledger.settle(key, call_id, used(cost))

    async def reserve(self, call_id: str, key: SessionKey = KEY) -> Admitted:
        admitted = await self.ledger.reserve(wanted(call_id, key))
        assert isinstance(admitted, Admitted)
        return admitted

    async def back(self) -> None:
        self.going.away = ""
        await self.store.look()
        assert self.store.mode is Mode.HERE

    def kill(self) -> None:
        """As kill -9: nothing is written any more, and the kernel lets go of its locks."""
        for lock in self.spools._locks.values():
            os.close(lock)
        self.spools._locks.clear()


def wanted(call_id: str, key: SessionKey = KEY) -> Reservation:
    return wants(call_id, key=key, cost=None, budgets=BUDGETS)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def going() -> AsyncIterator[Going]:
    memory = MemoryStore(SECRET)
    await memory.open()
    yield Going(memory)
    await memory.close()


@pytest.fixture
async def side(going: Going, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Side]:
    side = Side(going, tmp_path, "one", clock)
    await side.store.open()
    yield side
    await side.tasks.close()
    await side.store.close()


async def log_of(going: Going, key: SessionKey = KEY) -> list[ev.AnyEvent]:
    return [stored.event for stored in await going._primary.read(key)]


async def spent(going: Going, clock: FakeClock) -> Balance:
    (account,) = (f"tenant:{KEY.tenant}:1d:{int(clock.now() // 86_400)}",)
    return (await going._primary.balances([account]))[account]


async def test_calls_go_on_and_are_booked_when_it_is_back(side: Side, clock: FakeClock) -> None:
    """The whole point: nothing stops, and nothing is free."""
    await side.call("a", 10)
    side.going.away = "before"
    await side.call("b", 20)
    await side.call("c", 30)
    assert side.let_through == 2
    assert (await side.ledger.state(KEY)).cost_micro_usd == 60

    await side.back()

    state = await side.ledger.state(KEY)
    assert (state.steps, state.cost_micro_usd, state.held_micro_usd) == (3, 60, 0)
    assert state == fold(await log_of(side.going))
    assert await spent(side.going, clock) == Balance(60)
    (row,), _ = await side.store.list_sessions()
    assert (row.head.steps, row.head.cost_micro_usd, row.seq) == (3, 60, state.seq)


async def test_what_was_written_though_its_answer_was_lost_is_written_once(
    side: Side, clock: FakeClock
) -> None:
    """A connection ends between the write and its answer: nobody knows, until the log is read."""
    side.going.away = "after"
    await side.reserve("a")
    assert len(await log_of(side.going)) == 2
    await side.ledger.settle(KEY, "a", used(40))
    await side.back()

    assert [type(event) for event in await log_of(side.going)] == [
        ev.SessionOpened,
        ev.StepReserved,
        ev.StepSettled,
    ]
    assert await spent(side.going, clock) == Balance(40)


@pytest.mark.parametrize("away", ["before", "after"])
async def test_a_hold_opened_before_is_settled_meanwhile(
    side: Side, clock: FakeClock, away: str
) -> None:
    await side.reserve("a")
    side.going.away = "before" if away == "before" else "after"
    await side.ledger.settle(KEY, "a", used(70))
    await side.back()

    assert fold(await log_of(side.going)).cost_micro_usd == 70
    assert await spent(side.going, clock) == Balance(70)
    assert list(await side.store.open_holds()) == []


async def test_a_hold_opened_meanwhile_is_settled_after(side: Side, clock: FakeClock) -> None:
    side.going.away = "before"
    await side.reserve("a")
    await side.back()
    assert [hold.call_id for hold in await side.store.open_holds()] == ["a"]
    await side.ledger.settle(KEY, "a", used(70))

    assert await spent(side.going, clock) == Balance(70)
    assert list(await side.store.open_holds()) == []


async def test_a_released_call_gives_its_hold_back(side: Side, clock: FakeClock) -> None:
    side.going.away = "before"
    await side.reserve("a")
    await side.ledger.release(KEY, "a", "not_sent")
    await side.back()

    assert await spent(side.going, clock) == Balance()
    assert fold(await log_of(side.going)).steps == 0


async def test_a_session_never_seen_here_is_reconciled_with_what_it_was(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """Another replica knows it: here it begins from nothing, and is one session afterwards."""
    one, two = (Side(going, tmp_path / name, name, clock) for name in ("one", "two"))
    for name in "abcde":
        await one.call(name, 10)
    going.away = "before"
    assert (await two.reserve("x")).state.steps == 1
    await two.ledger.settle(KEY, "x", used(3))
    await one.call("f", 10)
    await two.back()
    await one.back()

    log = await log_of(going)
    state = fold(log)
    assert [event.step for event in log if isinstance(event, ev.StepReserved)] == [*range(1, 8)]
    assert (state.steps, state.cost_micro_usd, state.generation) == (7, 63, 1)
    assert [await side.ledger.state(KEY) for side in (one, two)] == [state] * 2
    assert await spent(going, clock) == Balance(63)
    assert (await going.list_sessions())[0][0].head.cost_micro_usd == 63
    for side in (one, two):
        await side.store.close()
        assert list((side.folder).iterdir()) == []
        await going.open()


async def test_a_new_session_of_both_is_one(going: Going, tmp_path: Path, clock: FakeClock) -> None:
    """Nobody ever saw it: whoever is back first opens it."""
    one, two = (Side(going, tmp_path / name, name, clock) for name in ("one", "two"))
    going.away = "before"
    await asyncio.gather(one.call("a", 1), two.call("b", 2), one.call("c", 4))
    going.away = ""
    await asyncio.gather(one.back(), two.back())

    state = fold(await log_of(going))
    assert (state.steps, state.cost_micro_usd, state.generation) == (3, 7, 1)
    assert await spent(going, clock) == Balance(7)


async def test_a_session_that_was_over_begins_anew(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """Not known here, but its log says that nobody used it for longer than it lives."""
    one, two = (Side(going, tmp_path / name, name, clock) for name in ("one", "two"))
    await one.call("a", 10)
    clock.advance(7200)
    going.away = "before"
    await two.call("b", 5)
    await two.back()

    state = fold(await log_of(going))
    assert (state.generation, state.steps, state.cost_micro_usd) == (2, 1, 5)


async def test_others_meanwhile_do_not_end_what_goes_on(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """One sees an idle session and finishes it, while the other goes on with it."""
    one, two = (Side(going, tmp_path / name, name, clock) for name in ("one", "two"))
    await one.call("a", 10)
    await two.ledger.state(KEY)
    going.away = "before"
    clock.advance(3000)
    await two.call("b", 5)
    clock.advance(1000)
    assert await one.ledger.finish(KEY, 3600)
    await two.back()
    await one.back()

    state = fold(await log_of(going))
    assert (state.finished, state.generation, state.steps) == (False, 1, 2)


async def test_a_killed_session_stays_killed(side: Side) -> None:
    """What a human says while the store is away is as good as ever."""
    await side.call("a", 10)
    side.going.away = "before"
    await side.ledger.record(KEY, ev.SessionKilled(NOW))
    refused = await side.ledger.reserve(wanted("b"))
    assert not isinstance(refused, Admitted)
    await side.back()

    assert fold(await log_of(side.going)).killed


async def test_a_fact_is_written_once_though_nobody_knows(side: Side) -> None:
    """More room, granted once: without a call to tell it by."""
    await side.call("a", 10)
    side.going.away = "after"
    await side.ledger.record(KEY, ev.LimitsExtended(NOW, added=(("steps", 5),)))
    side.going.away = "before"
    await side.ledger.record(KEY, ev.LimitsExtended(NOW + 1, added=(("steps", 5),)))
    await side.back()

    assert fold(await log_of(side.going)).extended == {"steps": 10}


async def test_what_others_booked_meanwhile_is_not_booked_twice(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """Its hold was past its deadline, so another booked it whole."""
    one, two = (Side(going, tmp_path / name, name, clock) for name in ("one", "two"))
    await one.reserve("a")
    going.away = "before"
    await one.ledger.settle(KEY, "a", used(40))
    going.away = ""
    await two.ledger.expire(KEY, "a")
    await one.back()

    assert await spent(going, clock) == Balance(100)
    assert (await one.ledger.state(KEY)).cost_micro_usd == 100


async def test_sessions_keep_their_order(side: Side) -> None:
    """Each session's log is as it happened, whatever the others did."""
    side.going.away = "before"
    keys = [SessionKey("team-a", f"s{n}") for n in range(20)]
    for n in range(10):
        await asyncio.gather(*(side.call(f"{key.session}-{n}", 1, key) for key in keys))
    await side.back()

    for key in keys:
        calls = [e.call_id for e in await log_of(side.going, key) if isinstance(e, ev.StepReserved)]
        assert calls == [f"{key.session}-{n}" for n in range(10)]


async def test_in_flight_when_it_goes(going: Going, tmp_path: Path) -> None:
    """Some were written, some were not, and younger ones wait their turn."""

    class Slow(Going):
        """Answers when it is told to."""

        hangs = True
        answers: ClassVar[list["asyncio.Future[bool]"]] = []

        def append(self, append: Append) -> Awaitable[Appended]:
            if not self.hangs:
                return super().append(append)
            written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self.answers.append(written)
            return self._later(append, written)

        async def _later(self, append: Append, written: "asyncio.Future[bool]") -> Appended:
            if await written:
                await self._primary.append(append)
            raise StoreUnavailable("reset")

    slow = Slow(going._primary)
    store = OpenOnFailure(slow, Spools(tmp_path, "one"), lambda: True, lambda: 3600.0)
    written = [asyncio.ensure_future(outcome(store, opened()))]
    written += [asyncio.ensure_future(outcome(store, reserved(f"c{n}"))) for n in range(3)]
    await asyncio.sleep(0)  # noqa: TID251 - each is submitted
    slow.answers[0].set_result(True)
    await written[0]
    young = asyncio.ensure_future(outcome(store, settled("c2")))
    for place, is_written in ((2, True), (1, False), (3, False)):
        slow.answers[place].set_result(is_written)

    assert await asyncio.gather(*written, young) == [SPOOLED] * 5
    slow.hangs = False
    await store.look()
    assert store.mode is Mode.HERE
    said = [getattr(event, "call_id", "") for event in await log_of(going)]
    assert sorted(said[:-1]) == ["", "c0", "c1", "c2"]
    assert said[-1] == "c2"


async def test_closed_in_the_middle_refuses_what_is_new_and_books_what_ends(
    side: Side, clock: FakeClock
) -> None:
    """A policy is reloaded while the store is away: no call more, but those there were are kept."""
    side.going.away = "before"
    await side.reserve("a")
    side.is_open = False
    with pytest.raises(StoreUnavailable, match="gone"):
        await side.ledger.reserve(wanted("b"))
    assert not await side.store.writable()
    await side.ledger.settle(KEY, "a", used(40))
    await side.back()

    assert await spent(side.going, clock) == Balance(40)
    side.going.away = "before"
    with pytest.raises(StoreUnavailable, match="gone"):
        await side.ledger.reserve(wanted("c"))
    assert side.store.mode is Mode.HERE
    side.is_open = True
    await side.call("d", 2)
    await side.back()
    assert await spent(side.going, clock) == Balance(42)


async def test_a_full_disk_closes(side: Side) -> None:
    """What cannot be kept for later is not let through."""
    side.going.away = "before"
    await side.call("a", 10)
    side.disk.fill()
    for _ in range(100):
        told = await outcome(side.store, reserved("x" * 9_000))
        if told != SPOOLED:
            break
    assert isinstance(told, StoreUnavailable)
    assert "disk is full" in told.message
    side.disk.repair()
    assert await outcome(side.store, reserved("y")) == SPOOLED


async def test_a_spool_is_bounded(going: Going, tmp_path: Path, clock: FakeClock) -> None:
    side = Side(going, tmp_path, "one", clock, most_bytes=300_000)
    going.away = "before"
    told: list[object] = []
    while SPOOLED in told[-1:] or not told:
        told.append(await outcome(side.store, reserved(f"{len(told)}{'x' * 5_000}")))
    assert isinstance(told[-1], StoreUnavailable)
    assert 20 < len(told) < 60
    await side.back()
    assert len(await log_of(going)) == len(told) - 1
    await side.store.close()
    await going.open()


@pytest.mark.parametrize("begun", [False, True])
async def test_the_spool_of_a_dead_process_is_taken_over(
    going: Going, tmp_path: Path, clock: FakeClock, *, begun: bool
) -> None:
    """Also where it died between writing to the ledger and emptying its spool."""
    dead = Side(going, tmp_path / "a", "dead", clock)
    going.away = "before"
    await dead.call("a", 10)
    await dead.call("b", 20)
    await dead.reserve("c")
    going.away = ""
    if begun:
        copy = tmp_path / "b"
        await dead.store._spool().close()
        shutil.copytree(tmp_path / "a", copy)
        await dead.back()
    else:
        copy = tmp_path / "a"
        await dead.store._spool().close()
        dead.kill()

    living = Side(going, copy, "living", clock)
    await living.store.open()

    state = await living.ledger.state(KEY)
    assert (state.steps, state.cost_micro_usd, state.held_micro_usd) == (3, 30, 100)
    assert await spent(going, clock) == Balance(30, 100)
    assert living.store.waiting == 0
    assert sorted(path.name for path in copy.glob("*.spool")) == ["living.spool"]
    await living.store.close()
    await going.open()


async def test_it_starts_though_the_store_is_away(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """A pod that is started meanwhile serves, and goes on from what its predecessor kept."""
    dead = Side(going, tmp_path, "dead", clock)
    await dead.call("before", 100)
    going.away = "before"
    await dead.call("a", 10)
    await dead.store._spool().close()
    dead.kill()

    living = Side(going, tmp_path, "living", clock)
    await living.store.open()
    assert living.store.mode is Mode.AWAY
    assert (await living.ledger.state(KEY)).cost_micro_usd == 10
    assert "gone" in (living.store.said() or "")
    await living.call("b", 5)
    await living.back()

    assert fold(await log_of(going)).cost_micro_usd == 115
    assert living.store.said() is None
    closed = Side(going, tmp_path, "closed", clock)
    closed.is_open = False
    going.away = "before"
    with pytest.raises(StoreUnavailable, match="gone"):
        await closed.store.open()
    going.away = ""
    await living.store.close()
    await going.open()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_the_dead_have_settled_is_not_booked_before_it_is_home(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """One worker dies; another hears of it before anybody has read what it had spooled. One call
    was settled, another one held, while the store was away."""
    living, dead = (Side(going, tmp_path / "spools", name, clock) for name in ("living", "dead"))
    for side in (living, dead):
        await side.store.open()
    owners = FolderOwners(tmp_path / "owners", "dead")
    owners.claim()
    others = FolderOwners(tmp_path / "owners", "living")
    sweeper = Sweeper(
        *(living.ledger, living.store, clock, lambda: 3600, others),
        is_spooled=living.store.is_spooled,
    )
    await dead.reserve("a")
    going.away = "before"
    await dead.ledger.settle(KEY, "a", used(10))
    await dead.reserve("b")
    await dead.store._spool().close()
    dead.kill()
    owners.leave(settled=False)
    going.away = ""
    await sweeper.recover()
    assert (await living.ledger.latest(KEY)).held
    await living.store.look()
    await sweeper.recover()

    state = fold(await log_of(going))
    assert (state.cost_micro_usd, state.held_micro_usd) == (10 + 100, 0)
    assert names_in(tmp_path / "owners") == []
    for side in (living, dead):
        await side.tasks.close()
    await living.store.close()
    await going.open()


async def test_what_was_refused_just_before_it_went_did_not_happen(
    going: Going, tmp_path: Path, clock: FakeClock
) -> None:
    """Another process was faster, and the log cannot be read any more: the call is decided on what
    was known before, and not on itself. A fact that was submitted behind it is known."""
    one, other = (Side(going, tmp_path, name, clock) for name in ("one", "other"))
    await one.call("a", 10)
    await other.call("b", 20)
    held = asyncio.ensure_future(one.reserve("c"))
    while len(going.given) < 5:
        await turns(1)
    fact = ev.CallsHanded(at=NOW, calls=(Handed("call_1", "search", b"d" * 16),))
    told = asyncio.ensure_future(one.ledger.record(KEY, fact))
    await turns(1)
    going.away = "before"
    admitted = await held
    await told

    assert (admitted.state.held_micro_usd, admitted.state.steps) == (100, 2)
    assert "call_1" in admitted.state.tools.handed
    await one.ledger.settle(KEY, "c", used(5))
    assert (await one.ledger.state(KEY)).held_micro_usd == 0
    await one.back()
    assert fold(await log_of(going)).cost_micro_usd == 35
    for side in (one, other):
        await side.tasks.close()
        await side.store.close()
    await going.open()


@pytest.mark.parametrize("called", [False, True])
async def test_a_process_that_was_never_opened_looks_once_more_at_its_end(
    going: Going, tmp_path: Path, clock: FakeClock, *, called: bool
) -> None:
    """The store was away from its start on, and is back when it ends. Another's spool, with
    something in it or not, is not left for somebody else."""
    dead = Side(going, tmp_path, "dead", clock)
    await dead.store.open()
    going.away = "before"
    if called:
        await dead.call("a", 10)
    await dead.store._spool().close()
    dead.kill()
    living = Side(going, tmp_path, "living", clock)
    await living.store.open()
    assert living.store.mode is Mode.AWAY
    going.away = ""
    await living.store.close()

    assert names_in(tmp_path) == []
    await going.open()
    assert fold(await log_of(going)).cost_micro_usd == (10 if called else 0)
    await dead.tasks.close()


async def test_reads_of_the_living(side: Side, clock: FakeClock) -> None:
    """A fold at hand stays true; an unknown session begins; nobody is found by history."""
    await side.call("a", 10)
    side.going.away = "before"
    side.ledger._folds._folds[KEY].stale = True
    assert (await side.ledger.state(KEY)).cost_micro_usd == 10
    unknown = SessionKey("team-a", "other")
    assert (await side.ledger.state(unknown)).seq == 0
    assert await side.store.find_links("team-a", [b"x"]) == {}
    assert await side.store.writable()
    assert side.store.waiting == 0
    await side.call("b", 1, unknown)
    del side.ledger._folds._folds[unknown]
    assert (await side.ledger.state(unknown)).cost_micro_usd == 1
    assert side.store.waiting == 2


async def test_what_the_ledger_never_takes_stays_for_a_human(
    side: Side, going: Going, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One append must not hold up all that came after it."""
    going.away = "before"
    await side.call("a", 10)
    poison = SessionKey("team-a", "poison")
    assert await outcome(side.store, opened(poison)) == SPOOLED

    class Picky(MemoryStore):
        def _append(self, append: Append) -> Appended:
            if append.key == poison:
                raise StoreUnavailable("not that one")
            return super()._append(append)

    going.away = ""
    going._primary.__class__ = Picky
    for _ in range(8):
        await side.store.look()

    assert side.store.mode is Mode.HERE
    assert fold(await log_of(going)).cost_micro_usd == 10
    assert await side.store._spool().refused() == 1


async def test_a_log_that_was_cut_short_is_waited_for(
    side: Side, going: Going, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that came back without its last seconds says so for a minute: not for ever."""
    going.away = "before"
    await side.call("a", 10)
    going.away = ""
    read = going.read

    async def cut(key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        raise LogCutShort("the ledger went back in time")

    monkeypatch.setattr(going, "read", cut)
    for _ in range(20):
        await side.store.look()
    assert side.store.waiting == 2
    monkeypatch.setattr(going, "read", read)
    await side.back()

    assert await spent(going, clock) == Balance(10)
    assert await side.store._spool().refused() == 0


async def test_a_read_just_before_the_store_is_back_stops_no_call(
    side: Side, going: Going, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loaded its data a moment ago, and takes writes when it is asked why it did not answer."""
    failing = 2
    read, balances = going.read, going.balances

    def fail() -> None:
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise StoreUnavailable("it is still loading its data")

    async def loading(key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        fail()
        return await read(key, after_seq)

    async def loading_too(accounts: Iterable[str]) -> Mapping[str, Balance]:
        fail()
        return await balances(accounts)

    monkeypatch.setattr(going, "read", loading)
    monkeypatch.setattr(going, "balances", loading_too)
    await side.call("a", 10)
    failing = 2
    assert await side.store.balances([day(clock)]) == {day(clock): Balance(10)}

    assert side.store.mode is Mode.HERE
    assert await spent(going, clock) == Balance(10)


async def test_one_log_that_was_cut_short_does_not_open_all_budgets(
    side: Side, going: Going, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is there: it is the one session that has to wait."""

    async def cut(append: Append, away: str) -> Appended:
        raise LogCutShort("the ledger went back in time")

    monkeypatch.setattr(going, "_append", cut)

    assert isinstance(await outcome(side.store, opened()), LogCutShort)
    assert side.store.mode is Mode.HERE


async def test_nothing_ends_the_watch(
    side: Side, going: Going, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the budgets of this process would be open until somebody starts it anew."""
    going.away = "before"
    await side.call("a", 10)
    going.away = ""
    watching = asyncio.ensure_future(side.store.watch(clock))
    await turns()
    with monkeypatch.context() as patch:
        patch.setattr(going, "writable", lambda: 1 / 0)
        clock.advance(0.25)
        await turns()
    clock.advance(0.25)
    async with asyncio.timeout(5):
        while side.store.mode is not Mode.HERE:
            await turns()

    assert await spent(going, clock) == Balance(10)
    watching.cancel()


@pytest.mark.parametrize("damaged", ["c1", "81a36b657992a1ffa179"])
async def test_what_a_dead_process_wrote_and_nobody_can_read_holds_nothing_up(
    going: Going, tmp_path: Path, clock: FakeClock, damaged: str
) -> None:
    """It may have been of a newer version: the rest is booked, and it stays for a human."""
    dead = Side(going, tmp_path, "dead", clock)
    going.away = "before"
    await dead.call("a", 10)
    await dead.call("b", 20, SessionKey("team-a", "other"))
    await dead.store._spool().close()
    dead.kill()
    with sqlite3.connect(tmp_path / "dead.spool") as spool:
        spool.execute(f"UPDATE spool SET append = x'{damaged}' WHERE session = 'other'")
    spool.close()
    going.away = ""
    living = Side(going, tmp_path, "living", clock)
    await living.store.open()
    assert await spent(going, clock) == Balance(10)

    going.away = "before"
    await living.call("c", 30)
    await living.back()

    assert await spent(going, clock) == Balance(40)
    assert living.store.waiting == 0
    await living.tasks.close()
    await living.store.close()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".spool")] == ["dead.spool"]
    await going.open()


async def test_sqlite_whose_disk_is_full_for_a_while(tmp_path: Path, clock: FakeClock) -> None:
    """The default store, with the spool on another disk."""
    disk = Disk()
    primary = SqliteStore(tmp_path / "ledger.db", SECRET, connect=disk.connect)
    spools = Spools(tmp_path / "spools", "one")
    store = OpenOnFailure(primary, spools, lambda: True, lambda: 3600.0)
    await store.open()
    ledger = Ledger(store, clock, "one", Tasks())
    store.on_back = ledger.forget_spooled
    await ledger.reserve(wanted("a"))
    disk.protect()
    await ledger.settle(KEY, "a", used(10))
    for n in range(50):
        await ledger.reserve(wanted(f"c{n}"))
        await ledger.settle(KEY, f"c{n}", used(1))
    disk.repair()
    await store.look()

    assert store.mode is Mode.HERE
    assert (await ledger.state(KEY)).cost_micro_usd == 60
    assert fold(s.event for s in await primary.read(KEY)) == await ledger.state(KEY)
    await store.close()


def charged(account: str, micro_usd: int) -> Charge:
    return Charge(account, spent_micro_usd=micro_usd)


async def test_a_balance_is_not_compared_with_a_maximum_any_more(side: Side) -> None:
    """It happened: also what passed the budget is booked."""
    await side.store.append(replace(opened(), charges=(charged("a", 90),)))
    side.going.away = "before"
    more = replace(opened(at=NOW + 1), charges=(charged("a", 90),), expected_seq=0)
    assert await outcome(side.store, more) == SPOOLED
    await side.back()

    assert await side.store.balances(["a"]) == {"a": Balance(180)}


async def test_the_store_is_one(side: Side) -> None:
    """A wrapper answers what its store answers while that is there."""
    store: Store = side.store
    assert await store.append(opened()) == Appended(1, (await store.read(KEY))[0].chain)


async def test_what_went_well_between_two_outages_is_known_in_the_second(
    side: Side, clock: FakeClock
) -> None:
    """A call begun while the store is there, and ended while it is away, is booked: what was known
    of its log from an outage before is old."""
    side.going.away = "before"
    await side.call("a", 10)
    await side.back()
    await side.reserve("b")
    side.going.away = "before"
    await side.ledger.settle(KEY, "b", used(20))
    await side.back()

    assert await spent(side.going, clock) == Balance(30)
    assert list(await side.store.open_holds()) == []


async def test_it_is_closed_again_however_many_calls_come(side: Side, clock: FakeClock) -> None:
    """Each waits for the disk alone, so there is always more by the time that some is written."""
    ended = False
    counts = [0] * 12

    async def busy(worker: int) -> None:
        key = SessionKey("team-a", f"s{worker // 4}")  # four on each
        while not ended:
            counts[worker] += 1
            await side.call(f"{worker}-{counts[worker]}", 1, key)
            if side.store.mode is Mode.BACK:  # the disk's thread has its turn, too
                await asyncio.sleep(0.001)  # noqa: TID251 - real time

    side.going.away = "before"
    busies = [asyncio.ensure_future(busy(worker)) for worker in range(len(counts))]
    while sum(counts) < 200:
        await turns()
    side.going.away = ""
    async with asyncio.timeout(20):
        while side.store.mode is not Mode.HERE:
            await side.store.look()
    ended = True
    await asyncio.gather(*busies)

    states = [fold(await log_of(side.going, SessionKey("team-a", f"s{n}"))) for n in range(3)]
    assert [state.steps for state in states] == [sum(counts[n : n + 4]) for n in (0, 4, 8)]
    assert await spent(side.going, clock) == Balance(sum(counts))
    for state in states:
        assert state == await side.ledger.state(SessionKey("team-a", f"s{states.index(state)}"))


async def test_a_session_is_the_store_s_as_soon_as_nothing_of_it_is_spooled(
    side: Side, going: Going, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the others wait for: budgets hold for it across processes."""
    other = SessionKey("team-a", "other")
    going.away = "before"
    await side.call("a", 10)
    going.away = ""
    read, reached = going.read, asyncio.Event()
    goes_on = asyncio.Event()

    async def slow(key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        if key == KEY and not goes_on.is_set():
            reached.set()
            await goes_on.wait()
        return await read(key, after_seq)

    monkeypatch.setattr(going, "read", slow)
    looking = asyncio.ensure_future(side.store.look())
    await reached.wait()
    assert side.store.said() is not None
    await side.call("b", 20, other)
    assert fold(await log_of(going, other)).cost_micro_usd == 20
    late = asyncio.ensure_future(side.call("c", 30))
    full = Charge(day(clock), 31, maximum=Maximum(50))
    assert isinstance(
        await outcome(side.store, replace(settled("x", other), charges=(full,), closes=())),
        AccountExceeded,
    )
    with pytest.raises(StoreAway) as away:
        await side.store.balances([day(clock)])
    assert away.value.balances == {day(clock): Balance(20)}
    assert not late.done()
    goes_on.set()
    await looking
    await late

    assert side.store.mode is Mode.HERE
    assert await spent(going, clock) == Balance(60)


def day(clock: FakeClock) -> str:
    return f"tenant:{KEY.tenant}:1d:{int(clock.now() // 86_400)}"


def damage(spool: Path, how: str) -> None:
    """As a disk that lost some of its pages."""
    with sqlite3.connect(spool) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with spool.open("r+b") as file:
        file.seek(0 if how == "header" else 4096)
        file.write(b"\xff" * (100 if how == "header" else spool.stat().st_size - 4096))


@pytest.mark.parametrize("how", ["header", "pages"])
@pytest.mark.parametrize("when", ["start", "running"])
async def test_a_damaged_spool_of_a_dead_process_is_set_aside(
    going: Going, tmp_path: Path, clock: FakeClock, how: str, when: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It would hold up all that comes after it, for ever."""
    dead = Side(going, tmp_path, "dead", clock)
    going.away = "before"
    for n in range(40):
        await dead.call(f"a{n}", 10)
    await dead.store._spool().close()
    dead.kill()
    living = Side(going, tmp_path, "living", clock)
    if when == "running":
        await living.store.open()  # which has counted what is there
        await living.call("b", 5, SessionKey("team-a", "other"))
    damage(tmp_path / "dead.spool", how)
    going.away = ""
    if when == "start":
        await living.store.open()
    await living.store.look()

    assert living.store.mode is Mode.HERE
    assert living.store.waiting == 0
    await living.call("c", 30)
    assert (await spent(going, clock)).spent_micro_usd == (35 if when == "running" else 30)
    (left,) = (name for name in os.listdir(tmp_path) if name.startswith("dead"))
    assert left == "dead.damaged"
    assert "set aside" in caplog.text
    assert ".recover" in caplog.text
    await living.tasks.close()
    await living.store.close()
    await going.open()


async def test_a_process_whose_own_spool_is_damaged_goes_on_with_another(
    side: Side, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was in it is lost; what comes is not refused for ever."""
    side.going.away = "before"
    for n in range(40):
        await side.call(f"a{n}", 10)
    await side.store._spool().close()
    damage(tmp_path / "one.spool", "pages")
    told = [await outcome(side.store, opened(SessionKey("t", f"s{n}"))) for n in range(2)]
    assert SPOOLED not in told
    await side.store.look()
    assert await outcome(side.store, opened(SessionKey("t", "x"))) == SPOOLED
    await side.back()

    assert len(await log_of(side.going, SessionKey("t", "x"))) == 1
    assert side.store.waiting == 0
    assert "one.damaged" in os.listdir(tmp_path)
    assert (await side.ledger.state(KEY)).seq == 0
