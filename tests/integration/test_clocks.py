"""A wall clock that jumps while calls are in flight, in a real process on a real file."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from proxy.core import events as ev
from tests.crash.books import in_file, read_ledger, wrong
from tests.crash.load import Clients
from tests.crash.points import CLOCK
from tests.crash.rounds import Stage, stage
from tests.integration.crew_kit import Serving

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

DAY, YEAR = 86_400, 365 * 86_400
JUMPS = pytest.mark.parametrize("seconds", [-DAY, YEAR], ids=["back a day", "ahead a year"])
LIMITS = (
    "profiles: [{match: {model: '*'}, limits: {cost_usd_per_minute: 0.01, duration_seconds: 600}}]"
)


def set_clock(on: Stage, seconds: float) -> None:
    aside = on.folder / "clock.aside"
    aside.write_text(str(seconds))
    aside.rename(on.folder / CLOCK)


async def asked(on: Stage, calls: int) -> None:
    """The provider has been asked by so many, and is answering."""
    await on.sim.wait_for(lambda sim: len(sim.journal) >= calls, 30)


async def swept(car: Serving) -> None:
    """It has looked for what is due some times."""
    await asyncio.sleep(1.5)  # noqa: TID251 - another process in real time


async def outcomes_of(on: Stage, session: str) -> list[str]:
    ledger = await read_ledger(in_file(on.folder / "ledger.db"))
    events = [stored.event for stored in ledger.logs[session]]
    return [event.outcome for event in events if isinstance(event, ev.StepSettled)]


@JUMPS
async def test_calls_in_flight_outlast_a_clock_that_jumps(tmp_path: Path, seconds: float) -> None:
    """Their holds are past their deadline by that clock, or have a day more than they should; they
    are settled by their answers all the same, and nothing is deleted or lost."""
    async with stage(tmp_path) as on:
        on.more_policy = LIMITS
        async with on.serving() as car:
            clients = Clients(car, "x", random.Random(1))
            await clients.call(session="x-before", stream=False)
            flying = [
                asyncio.ensure_future(
                    clients.call(session=f"x-{n}", stream=n < 2, tokens=400, bound=900)
                )
                for n in range(4)
            ]
            await asked(on, 5)
            set_clock(on, seconds)
            await swept(car)
            during = await clients.call(session="x-during", stream=True)
            statuses = await asyncio.gather(*flying)
            set_clock(on, 0)
            await swept(car)
            after = [
                await clients.call(session=f"x-{name}", stream=False, tokens=20)
                for name in ("before", "0", "during", "new")
            ]
            ledger = await read_ledger(in_file(on.folder / "ledger.db"))
            outcomes = [await outcomes_of(on, f"x-{n}") for n in range(4)]
        # By the wrong clock some were idle, and began anew: a step of that number is the newest.
        newest = {(given.session, given.step): given for given in clients.given}
        clients.given = list(newest.values())

        assert statuses == [200] * 4
        assert (during, after) == (200, [200] * 4)
        assert [found[0] for found in outcomes] == ["answered"] * 4
        assert {"x-before", "x-0", "x-1", "x-2", "x-3", "x-during"} <= set(ledger.logs)
        assert wrong(ledger, clients, on.sim.journal) == []


@JUMPS
async def test_what_a_dead_process_held_is_booked_by_any_clock(
    tmp_path: Path, seconds: float
) -> None:
    """That it is dead is known by its lock, not by the time."""
    async with stage(tmp_path) as on:
        async with on.serving() as car:
            clients = Clients(car, "x", random.Random(1))
            flying = asyncio.ensure_future(clients.call(session="x-1", stream=True, tokens=300))
            await asked(on, 1)
            car.process.kill()
            await asyncio.wait([flying])
        assert flying.exception() is not None
        set_clock(on, seconds)
        async with on.serving() as car:
            await swept(car)
            outcomes = await outcomes_of(on, "x-1")
            ledger = await read_ledger(in_file(on.folder / "ledger.db"))
            status = await Clients(car, "y", random.Random(1)).call()

        assert outcomes == ["expired"]
        assert status == 200
        assert wrong(ledger, clients, on.sim.journal) == []


async def test_a_claim_that_was_granted_is_not_granted_again_by_a_wrong_clock(
    tmp_path: Path,
) -> None:
    """A mail that is being sent would be sent twice."""
    claim: Any = {"session": "s1", "tool": "send_email", "arguments": {"to": "a"}}
    async with stage(tmp_path) as on, on.serving() as car:
        first = await car.send("/v1/holdfast/claims", claim)
        set_clock(on, 60)
        second = await car.send("/v1/holdfast/claims", claim)

        assert (first.json["claim"], second.json["claim"]) == ("granted", "in_progress")
