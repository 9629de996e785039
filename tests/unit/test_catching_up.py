"""A process that could not hear others for a while: what they did meanwhile counts here too."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from proxy.calls import Calls
from proxy.control import Control
from proxy.core import events as ev
from proxy.core.decision import Refusal
from proxy.core.policy import Policy
from proxy.ledger import Ledger
from proxy.reservation import Admitted
from proxy.stores.memory import MemoryStore
from proxy.tasks import Tasks
from proxy.workers.owners import FolderOwners
from proxy.workers.peers import FolderPeers
from tests.fakes import FakeClock, turns
from tests.fakes_stores import KEY, NOW, SECRET, Going
from tests.unit.test_ledger import wants


@dataclass(frozen=True)
class Rules:
    """What a process is told by its policy."""

    current: Policy = field(default_factory=lambda: Policy({}, ()))


@dataclass
class Process:
    """One of two on a store."""

    store: Going
    clock: FakeClock

    def __post_init__(self) -> None:
        self.tasks, self.calls = Tasks(), Calls()
        self.ledger = Ledger(self.store, self.clock, "one", self.tasks)
        self.control = Control(
            self.ledger,
            self.store,
            self.calls,
            self.clock,
            Rules(),
            FolderPeers(FolderOwners(None, "one"), "one"),
            self.ledger.refresh,
        )


@pytest.fixture
async def both() -> AsyncIterator[tuple[Process, Process]]:
    memory, clock = MemoryStore(SECRET), FakeClock(NOW)
    await memory.open()
    both = Process(Going(memory), clock), Process(Going(memory), clock)
    yield both
    for process in both:
        await process.tasks.close()
    await memory.close()


async def test_a_session_that_goes_on_is_not_refused(both: tuple[Process, Process]) -> None:
    here, there = both
    assert isinstance(await here.ledger.reserve(wants("a", key=KEY)), Admitted)
    await here.ledger.release(KEY, "a", "unsent")
    await here.ledger.record(KEY, ev.SessionPaused(NOW))
    assert isinstance(await here.ledger.reserve(wants("b", key=KEY)), Refusal)
    await there.control.resume(KEY)

    await here.control.catch_up()

    assert isinstance(await here.ledger.reserve(wants("c", key=KEY)), Admitted)


async def test_a_kill_is_found_though_the_store_is_not_there_at_once(
    both: tuple[Process, Process],
) -> None:
    """It was away as well, and is loading still."""
    here, there = both
    await here.ledger.reserve(wants("a", key=KEY))
    cut = asyncio.ensure_future(_until_cut(here.calls))
    await turns()
    await there.control.kill(KEY.session, None)
    here.store.away = "before"
    catching_up = asyncio.ensure_future(here.control.catch_up())
    await turns()
    assert not cut.done()
    here.store.away = ""
    here.clock.advance(1.0)

    await catching_up
    assert (await cut).code == "session_killed"


async def _until_cut(calls: Calls) -> Refusal:
    live = calls.open(KEY, 600.0, lambda: pytest.fail("it is late"))
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        assert live.was_cut()
    finally:
        calls.close(live)
    assert live.refusal is not None
    return live.refusal
