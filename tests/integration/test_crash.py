"""A few of the crash's rounds; `python -m tests.crash` plays all of them."""

import random
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.simulator import Simulator
from proxy.stores import Stored
from tests.crash.books import read_ledger, wrong
from tests.crash.load import Clients, Given
from tests.crash.points import innermost
from tests.crash.redis import in_redis
from tests.crash.rounds import (
    Found,
    Point,
    Stage,
    Targets,
    count_loads,
    discover,
    play,
    stage,
)
from tests.crash.steps import DEEDS, Deed, killed_at
from tests.crash.tails import played
from tests.fakes_redis import needs_server

pytestmark = pytest.mark.process

_TRIES = 3
_SAMPLES = ("submitted.py", "stores/sqlite_journal.py", "wire/answer.py", "stores/sqlite_rows.py")

_REDIS_SAMPLES = (("stores/redis_lanes.py:_run_script", "within"), ("submitted.py", "goes on"))


@pytest.mark.timeout(300)
async def test_a_sidecar_that_is_killed_anywhere_loses_nothing(tmp_path: Path) -> None:
    """While a call waits for its ledger, its store commits, an answer is on its way; and while the
    journal goes into the tables in a start after a crash."""
    async with stage(tmp_path) as on:
        found = await discover(on, 1, seed=1)
        for number, name in enumerate(_SAMPLES):
            is_start = number == len(_SAMPLES) - 1
            counts = found.start if is_start else found.load
            targets = Targets(_of(counts, name), 1_000 if is_start else 1, number)
            await _dies(on, targets, number, is_start=is_start)
    _finds_the_path(found)


@pytest.mark.timeout(300)
async def test_nor_does_one_whose_ledger_is_in_redis(tmp_path: Path) -> None:
    """While the server may run its script or not, or has run it and is not heard yet: its holds are
    booked when its lease has ended. Each write waits for a replica."""
    needs_server("redis")
    with in_redis(tmp_path) as place:
        async with stage(tmp_path, place=place) as on:
            counts = await count_loads(on, 1, seed=1)
            for number, (name, side) in enumerate(_REDIS_SAMPLES):
                targets = Targets(_of(counts, name, side), 1, number)
                await _dies(on, targets, number, is_start=False)


def _of(counts: Counter[Point], name: str, side: str = "") -> Counter[Point]:
    fitting = [at for at in counts if at[0].startswith(name) and side in ("", at[1])]
    return Counter({at: counts[at] for at in fitting})


async def _dies(on: Stage, targets: Targets, number: int, *, is_start: bool) -> None:
    """At one of them, soon: how far a load or a start comes differs. However it ended, nothing is
    lost."""
    for again in range(_TRIES):
        aim = targets.next()
        assert aim is not None
        aim = replace(aim, nth=min(aim.nth, 5))
        done = await play(on, 10 * number + again, aim, 1, start=is_start)
        targets.played(aim, done.died_at)

        assert done.faults == []
        if done.died_at is not None:
            assert done.died_at == aim
            return
    raise AssertionError("it came to none of them")


def _finds_the_path(found: Found) -> None:
    """All of a governed call, also what other tasks do for it."""
    waits = {innermost(point).rsplit(":", 1)[0] for point, side in found.load if side == "waits"}
    ways = " ".join(point for point, _ in found.load)

    assert waits >= {
        "submitted.py:answered",
        "wire/answer.py:_wait",
        "lines.py:turn",
        "stores/sqlite.py:_read",
    }
    for through in ("_reserve", "settle_stream", "settle_answer", "hedging", "guard/", "extend"):
        assert through in ways


@pytest.mark.timeout(60)
async def test_what_is_lost_is_found(tmp_path: Path) -> None:
    """Or all rounds would be good ones: an answer that nobody booked or kept, and a bill that is
    not booked whole."""
    async with stage(tmp_path) as on, on.serving() as car:
        clients = Clients(car, "x", random.Random(1))
        await clients.call(stream=False, dialect="chat")
        await clients.call(stream=True, dialect="messages")
        ledger = await read_ledger(on.place)
        sim: Simulator = on.sim
        good = wrong(ledger, clients, sim.journal)
        clients.given.append(Given("x-1", "/", 2, None, b"an answer"))
        (settled,) = [s for s in ledger.logs["x-2"] if isinstance(s.event, ev.StepSettled)]
        cheap = replace(settled.event, cost_micro_usd=1)
        ledger.logs["x-2"] = [
            Stored(s.seq, cheap, s.chain) if s is settled else s for s in ledger.logs["x-2"]
        ]

        assert good == []
        faults = wrong(ledger, clients, sim.journal)
        assert {fault.split(":")[0] for fault in faults} == {"tenant", "x-1", "x-2"}
        assert [word for word in FOUND if any(word in fault for fault in faults)] == FOUND


FOUND = ["is not in the ledger", "another answer is kept", "billed", "the logs say"]


def _name(deed: Deed) -> str:
    return deed.name


@pytest.mark.timeout(60)
@pytest.mark.parametrize("deed", DEEDS, ids=_name)
def test_a_store_that_is_killed_in_any_step_is_whole(deed: Deed, tmp_path: Path) -> None:
    """Steps are statements and changes of files. `python -m tests.crash --steps` takes each."""
    told = list(killed_at(deed, tmp_path, most=5))

    assert len(told) == 5
    assert [faults for _, faults in told] == [[]] * 5


@pytest.mark.timeout(60)
def test_a_torn_tail_takes_its_own_event_and_no_other(tmp_path: Path) -> None:
    """As a crash of the machine leaves it. `python -m tests.crash --tails` cuts at each byte."""
    told = list(played(tmp_path, most=20))

    assert len(told) > 30
    assert [fault for _, faults in told for fault in faults] == []
