"""An agent that died with a call in flight, and is there again before that has ended, joins it: the
provider is not asked twice."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.core.request import DialectName
from proxy.simulator import Script, Turn
from tests.integration.agent_kit import Agent
from tests.integration.kit import Answer, Sidecar, sidecar
from tests.integration.test_joining import GIVES_UP, until
from tests.integration.test_resume import (
    CALLS,
    RESUMED,
    SCRIPT,
    kinds,
    live,
    process,
    replayed,
    run,
    told,
)

SAYS_NOTHING = {"x-stainless-retry-count": "0"}
"""An SDK that does not say how long it waits: its call goes on for 3 seconds without it."""
STEPS = Script((Turn(text="{{step}}", text_tokens=9),))
SLOW = "slow_head=0.4"
OTHER: dict[str, Any] = {"messages": [{"role": "user", "content": "ho"}]}
ALL_AT_ONCE = "limits: {parallel: null}\nloops: off\n"


async def dies_in_flight(on: Sidecar, *asked: Mapping[str, Any], fault: str = SLOW) -> None:
    """A process with these calls in flight: the provider has them, its client is gone. Before them
    it made another one, to its end."""
    kept = len(on.app.joins)
    async with process(on) as by:
        if OTHER in asked:
            await by.call(resume=True, headers=SAYS_NOTHING, **OTHER)
        asked = tuple([one for one in asked if one != OTHER])
        before = len(on.sim.journal)
        on.sim.fail(fault, times=len(asked))
        calls = [asyncio.ensure_future(by.call(**one)) for one in asked]
        await on.sim.wait_for(lambda sim: len(sim.journal) == before + len(asked))
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    await until(on, kept + len(asked))


async def step_in_flight(on: Sidecar, agent: Agent) -> None:
    """The agent's next step, in which it dies."""
    before, kept = len(on.sim.journal), len(on.app.joins)
    step = asyncio.ensure_future(agent.step())
    await on.sim.wait_for(lambda sim: len(sim.journal) == before + 1)
    step.cancel()
    await asyncio.wait([step])
    await until(on, kept + 1)


@CALLS
@pytest.mark.parametrize("by", ["path", "header"])
@pytest.mark.parametrize("steps", [0, 2])
async def test_an_agent_that_is_there_again_joins_the_call_that_it_had_in_flight(
    tmp_path: Path, dialect: DialectName, stream: bool, by: str, steps: int
) -> None:
    """Its first one, or a later one. The next life is given the same from the record."""
    how: dict[str, Any] = {"resume": True} if by == "path" else {"headers": RESUMED}
    headers = {**SAYS_NOTHING, **how.pop("headers", {})}
    async with sidecar(tmp_path, script=SCRIPT) as on:
        async with process(on) as first:
            agent = Agent(
                first, dialect, stream, tools=("search",), headers=SAYS_NOTHING,
                resume=by == "path",
            )  # fmt: skip
            for _ in range(steps):
                await agent.step()
            on.sim.fail("slow_head=0.4")
            await step_in_flight(on, agent)
        more: dict[str, Any] = {"headers": headers, **how}
        _, again = await run(on, dialect, stream=stream, steps=4, **more)

        assert told(again) == [*replayed(*range(1, steps + 2)), *live(*range(steps + 2, 5))]
        assert len(on.sim.journal) == 4
        session = await on.admin("GET", "/sessions/s1")
        assert (session["steps"], session["held_usd"], session["refusals"]) == (4, 0, 0)

        _, third = await run(on, dialect, stream=stream, steps=4, **more)

        assert told(third) == replayed(1, 2, 3, 4)
        assert [one.body for one in third] == [one.body for one in again]
        assert len(on.sim.journal) == 4


@pytest.mark.parametrize("steps", [0, 1])
async def test_of_equal_calls_in_flight_each_is_joined_once(tmp_path: Path, steps: int) -> None:
    """Three branches with one prompt: whoever is there again is given an answer of its own, the
    fourth of them asks anew."""
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        in_flight = [{"resume": True, "headers": SAYS_NOTHING}] * 3
        await dies_in_flight(on, *[OTHER] * steps, *in_flight)
        async with process(on) as by:
            if steps:
                await by.call(resume=True, **OTHER, headers=SAYS_NOTHING)
            calls = [by.call(resume=True, headers=SAYS_NOTHING) for _ in range(4)]
            again = await asyncio.gather(*calls)

        assert len({answer.body for answer in again}) == 4
        assert len(on.sim.journal) == steps + 4
        said = sorted(answer.headers["x-holdfast-replay"] for answer in again)
        assert said == ["live", "replayed", "replayed", "replayed"]


async def test_a_call_whose_client_is_still_there_is_never_joined(tmp_path: Path) -> None:
    """Two agents with one prompt, under one name: each pays for its own."""
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        on.sim.fail("slow_head=0.2", times=2)
        async with process(on) as one, process(on) as other:
            answers = await asyncio.gather(
                one.call(resume=True, headers=SAYS_NOTHING),
                other.call(resume=True, headers=SAYS_NOTHING),
            )

        assert [said(answer) for answer in answers] == ["live", "live"]
        assert answers[0].body != answers[1].body
        assert len(on.sim.journal) == 2


def said(answer: Answer) -> str:
    return answer.headers["x-holdfast-replay"]


async def test_another_branch_of_a_run_does_not_join_what_one_has_given_up(tmp_path: Path) -> None:
    """The run is alive, by the connection of the other: the branch may ask again itself."""
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        async with process(on) as other:
            await other.call(resume=True, **OTHER, headers=SAYS_NOTHING)
            await dies_in_flight(on, {"resume": True, "headers": SAYS_NOTHING})
            async with process(on) as third:
                answers = [
                    await by.call(resume=True, headers=SAYS_NOTHING) for by in (third, other)
                ]

        assert [said(answer) for answer in answers] == ["live", "live"]
        assert len(on.sim.journal) == 4


async def test_what_an_sdk_will_ask_for_again_is_not_given_away(tmp_path: Path) -> None:
    """It gave up after its own time-out, and is sure to retry; unless it is of an earlier life."""
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        await dies_in_flight(on, {"resume": True, "headers": GIVES_UP})
        async with process(on) as by:
            another = await by.call(resume=True, headers=SAYS_NOTHING)

        assert said(another) == "live"
        assert len(on.sim.journal) == 2


async def test_an_earlier_lifes_call_is_joined_whatever_its_sdk_says(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        await dies_in_flight(on, OTHER, {"resume": True, "headers": GIVES_UP})
        async with process(on) as by:
            await by.call(resume=True, **OTHER)
            joined = await by.call(resume=True)

        assert said(joined) == "replayed"
        assert len(on.sim.journal) == 2


async def test_without_a_resume_nothing_is_joined(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        await dies_in_flight(on, {"headers": SAYS_NOTHING})
        async with process(on) as by:
            again = await by.call(headers=SAYS_NOTHING)

        assert again.headers["x-holdfast-decision"] == "allow"
        assert len(on.sim.journal) == 2


async def test_another_body_or_session_is_not_joined(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        await dies_in_flight(on, {"resume": True, "headers": SAYS_NOTHING})
        async with process(on) as by:
            more: list[dict[str, Any]] = [{"session": "s2"}, {"bound": 90}, {"stream": True}]
            for one in more:
                answer = await by.call(resume=True, headers=SAYS_NOTHING, **one)
                assert said(answer) != "replayed"

        assert len(on.sim.journal) == 4


async def test_a_call_that_comes_to_nothing_is_asked_anew(tmp_path: Path) -> None:
    """And the answer of that is what the next life is given."""
    async with sidecar(tmp_path, "retries: {max: 0}\n" + ALL_AT_ONCE, script=STEPS) as on:
        one = {"resume": True, "stream": True, "headers": SAYS_NOTHING}
        await dies_in_flight(on, one, fault="slow_head=0.3,cut_events=0;how=reset")
        async with process(on) as by:
            answers = [await by.call(resume=True, stream=True, headers=SAYS_NOTHING)]
        async with process(on) as by:
            answers += [await by.call(resume=True, stream=True, headers=SAYS_NOTHING)]
        async with process(on) as by:
            answers += [await by.call(resume=True, stream=True, headers=SAYS_NOTHING)]

        assert answers[-1].body == answers[-2].body
        assert answers[-1].status == 200
        assert len(on.sim.journal) == 2


async def test_a_joined_call_that_its_agent_left_again_is_joined_again(tmp_path: Path) -> None:
    """Killed three times, before the provider has answered once."""
    async with sidecar(tmp_path, ALL_AT_ONCE, script=STEPS) as on:
        await dies_in_flight(on, {"resume": True, "headers": SAYS_NOTHING}, fault="slow_head=1.0")
        for _ in range(2):
            async with process(on) as by:
                call = asyncio.ensure_future(by.call(resume=True, headers=SAYS_NOTHING))
                given = len(await kinds(on, "StepReplayed"))
                while len(await kinds(on, "StepReplayed")) == given:
                    await on.app.clock.sleep(0.01)
                call.cancel()
                await asyncio.wait([call])
        async with process(on) as by:
            answer = await by.call(resume=True, headers=SAYS_NOTHING)

        assert said(answer) == "replayed"
        assert len(on.sim.journal) == 1
