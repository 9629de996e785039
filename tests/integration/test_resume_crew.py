"""Resumed calls with several workers on one ledger: whichever is asked knows what was given."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.simulator import Script, ToolCall, Turn
from tests.integration.agent_kit import Agent
from tests.integration.crew_kit import crew

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

SAMPLES = Script((Turn(text="{{step}}", text_tokens=9),))
SCRIPT = Script(
    (
        *(Turn(tool_calls=(ToolCall("search", json.dumps({"q": str(n)})),)) for n in range(3)),
        Turn(text="The end."),
    )
)


async def test_equal_calls_at_once_are_each_given_another_answer(tmp_path: Path) -> None:
    """Every call by a connection of its own, to any worker."""
    async with crew(tmp_path, 2, "limits: {parallel: null}", SAMPLES) as (on, sim):
        first = await asyncio.gather(*(on.call() for _ in range(12)))
        begun = await on.call(resume=True, headers={"x-holdfast-resume": "restart"})
        rest = await asyncio.gather(*(on.call(resume=True) for _ in range(11)))

        assert sorted(a.body for a in [begun, *rest]) == sorted(a.body for a in first)
        assert sim.totals.requests == 12
        assert len({line["worker"] for line in await on.lines_of("s1", 24)}) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_each_call_of_a_run_may_reach_another_worker(tmp_path: Path, stream: bool) -> None:
    async with crew(tmp_path, 2, "", SCRIPT) as (on, sim):
        clients = await on.pinned(2)
        before = sim.totals.requests
        first = Agent(clients[0], "chat", stream, tools=("search",))
        for _ in range(3):
            await first.step()
        again = Agent(clients[1], "chat", stream, tools=("search",), resume=True)
        said = []
        for n in range(4):
            again.car = clients[n % 2]
            await again.step()
            assert again.last is not None
            said.append(again.last.headers["x-holdfast-replay"])

        assert said == ["replayed"] * 3 + ["live"]
        assert again.ran == first.ran
        assert sim.totals.requests - before == 4


async def test_a_call_in_flight_is_joined_at_another_worker(tmp_path: Path) -> None:
    """Its agent died, and the next life of it reaches that one."""
    async with crew(tmp_path, 2, "", SAMPLES) as (on, sim):
        clients = await on.pinned(2)
        before = sim.totals.requests
        sim.fail("slow_head=1.0")
        headers = {"x-stainless-retry-count": "0"}
        call = asyncio.ensure_future(clients[0].call(resume=True, headers=headers))
        await sim.wait_for(lambda sim: sim.totals.requests == before + 1)
        call.cancel()
        await asyncio.wait([call])

        again = await clients[1].call(resume=True, headers=headers)

        assert again.headers["x-holdfast-replay"] == "replayed"
        assert again.headers["x-holdfast-step"] == "1"
        assert sim.totals.requests == before + 1
