"""Real agents, killed with SIGKILL at each of their steps in turn and started again.

Each step is met three times: while its call is in flight, just after its answer, and while its tool
runs. What was asked upstream is read from the simulated provider's own journal, what it cost from
the ledger, and what the agents were answered from the wire.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.clock import SystemClock
from proxy.simulator import Simulator, Turn
from proxy.simulator.builtin import DefaultScript
from proxy.simulator.conversation import Conversation
from tests.clients.checks import billed_micro_usd, booked_micro_usd
from tests.clients.kit import PRICES, Finished, Stage, python, stage
from tests.clients.tap import Answered, tapped
from tests.clients.test_tool_loops import SIMULATED
from tests.integration.crew_kit import Serving, serving

pytestmark = [pytest.mark.sdk, pytest.mark.process, pytest.mark.timeout(600)]

STEPS = 4
KILLS = [
    *(f"flight:{step}" for step in range(1, STEPS + 1)),
    *(f"answer:{step}" for step in range(1, STEPS + 1)),
    *(f"tool:{step}" for step in range(1, STEPS)),
]
FEW = ["flight:2", "answer:1", "answer:4", "tool:3"]
AGENTS = [
    ("openai_loop", "chat", "path", KILLS),
    ("openai_loop", "chat-stream", "headers", FEW),
    ("openai_loop", "responses-stream", "path", FEW),
    ("langgraph_loop", "chat", "headers", KILLS),
    ("langgraph_loop", "chat-stream", "path", FEW),
    ("agents_loop", "responses", "path", KILLS),
    ("agents_loop", "chat-stream", "headers", FEW),
    ("anthropic_loop", "whole", "headers", FEW),
    ("anthropic_loop", "stream", "path", FEW),
    ("pydantic_loop", "chat-stream", "headers", FEW),
    ("pydantic_loop", "messages", "path", FEW),
]
"""Program, mode, how it says which session it resumes, and where it is killed."""
Environment = dict[str, str]


class Stalling:
    """The usual model, that comes to no end in one of its steps: its head does not come, or of a
    stream what follows its first event."""

    def __init__(self) -> None:
        self.step = 0
        self._usual = DefaultScript()

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        turn = self._usual.turn(conversation)
        if conversation.step + 1 != self.step:
            return turn
        if conversation.stream:
            return replace(turn, chunk_gap_seconds=60.0)
        return replace(turn, latency_seconds=60.0)


def by_path(url: str, session: str, *, again: bool) -> Environment:
    """A base URL that never changes, as a Deployment has it."""
    base = f"{url}/r/{session}"
    return {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}


def by_headers(url: str, session: str, *, again: bool) -> Environment:
    """Default headers, which the SDKs take from the environment; the second run asks to resume."""
    said = f"x-holdfast-session: {session}" + ("\nx-holdfast-resume: true" if again else "")
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_CUSTOM_HEADERS": said,
        "ANTHROPIC_CUSTOM_HEADERS": said,
    }


WAYS = {"path": by_path, "headers": by_headers}


@dataclass(frozen=True, slots=True)
class Agent:
    """One that is killed and started again. way: how it says which session it resumes."""

    on: Stage
    model: Stalling
    command: tuple[str, ...]
    way: Callable[..., Environment]

    async def killed(self, session: str, kill: str) -> None:
        """Its first life."""
        where, _, step = kill.partition(":")
        env = self.way(self.on.front.url, session, again=False)
        if where != "flight":
            ended = await self.on.run(*self.command, env={**env, "CLIENT_DIES": kill})
            assert ended.code == -signal.SIGKILL, ended
            return
        self.model.step = int(step)
        before = len(self.on.sim.journal)
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            cwd=self.on.home,
            env=self.on.environment() | env,
        )
        try:
            await self.on.sim.wait_for(lambda sim: _stalls(sim, before + int(step)), 60)
        finally:
            process.kill()
            await process.wait()
            self.model.step = 0
        await self.given_up(session)

    async def given_up(self, session: str) -> None:
        """Its call has ended: where its SDK says no time-out, it is kept for a retry of its own for
        3 seconds, and a life that began meanwhile would have one step more."""
        async with asyncio.timeout(10):
            while len(await events(self.on, session, "StepSettled")) < len(
                await events(self.on, session, "StepReserved")
            ):
                await SystemClock().sleep(0.05)

    async def again(self, session: str) -> Finished:
        """Its second."""
        return await self.on.run(
            *self.command, env=self.way(self.on.front.url, session, again=True)
        )

    def answers(self, session: str) -> list[Answered]:
        """All that it was answered whole, in both."""
        return [
            answer
            for answer in self.on.front.answers
            if f"/r/{session}/" in answer.to.target
            or answer.to.header("x-holdfast-session") == session
        ]


def _stalls(sim: Simulator, calls: int) -> bool:
    entries = sim.journal
    return len(entries) == calls and (not entries[-1].status or entries[-1].events_sent > 0)


async def events(on: Stage, session: str, kind: str) -> list[dict[str, Json]]:
    found = (await on.side.admin("GET", f"/sessions/{session}/events?limit=1000"))["events"]
    assert isinstance(found, list)
    return [event for event in found if isinstance(event, dict) and event["type"] == kind]


async def check(agent: Agent, kill: str, cost: int) -> None:
    """One life ended so; the next ends as one that nothing had happened to."""
    on, session = agent.on, kill.replace(":", "-")
    before = len(on.sim.journal)
    await agent.killed(session, kill)
    first = agent.answers(session)
    ended = await agent.again(session)

    lost = 1 if kill.startswith("flight") else 0
    assert ended.report["text"] == SIMULATED, (kill, ended)
    assert len(on.sim.journal) - before == STEPS + lost, kill
    second = agent.answers(session)[len(first) :]
    assert [answer.body for answer in second][: len(first)] == [a.body for a in first], kill
    given = ["replayed"] * len(first) + ["live"] * (STEPS - len(first))
    assert [answer.header("x-holdfast-replay") for answer in second] == given, kill
    shown = await on.side.admin("GET", f"/sessions/{session}")
    settled = await events(on, session, "StepSettled")
    broken = sum(int(str(s.get("cost_micro_usd", 0))) for s in settled if "outcome" in s)
    assert len(settled) == STEPS + lost
    assert booked_micro_usd(shown) - broken == cost, kill
    assert (shown["steps"], shown["held_usd"]) == (STEPS, 0.0), kill


@pytest.mark.parametrize(
    ("program", "mode", "way", "kills"),
    [pytest.param(*agent, id="-".join(agent[:3])) for agent in AGENTS],
)
async def test_an_agent_that_is_killed_pays_for_nothing_twice(
    tmp_path: Path, program: str, mode: str, way: str, kills: list[str]
) -> None:
    """Killed at each step in turn: in all the calls of one run that was not, and at most the one in
    flight; the same answers, byte for byte; the same cost."""
    model, store = Stalling(), f"sqlite:///{tmp_path}/ledger.db"
    async with stage(tmp_path, script=model, store=store) as on:
        agent = Agent(on, model, (*python(program), mode), WAYS[way])
        ended = await on.run(*agent.command, env=by_path(on.front.url, "whole", again=False))
        assert ended.report["text"] == SIMULATED
        cost = billed_micro_usd(on.sim.journal)
        assert booked_micro_usd(await on.side.admin("GET", "/sessions/whole")) == cost
        for kill in kills:
            await check(agent, kill, cost)


@pytest.mark.parametrize(
    ("program", "one", "other"),
    [
        ("openai_loop", "chat", "chat-stream"),
        ("openai_loop", "responses", "responses-stream"),
        ("anthropic_loop", "whole", "stream"),
        ("langgraph_loop", "chat", "chat-stream"),
    ],
)
async def test_a_life_may_stream_what_another_had_whole(
    tmp_path: Path, program: str, one: str, other: str
) -> None:
    """And the other way round: the SDK reads the recorded answers in the form that it asks for."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with stage(tmp_path, store=store) as on:
        for session, modes in (("s1", (one, other)), ("s2", (other, one))):
            before = len(on.sim.journal)
            env = by_path(on.front.url, session, again=True)
            ended = [await on.run(*python(program), mode, env=env) for mode in modes]

            assert [life.report["text"] for life in ended] == [SIMULATED] * 2, ended
            assert len(on.sim.journal) - before == STEPS


async def test_three_runs_at_once_in_one_session_are_resumed_together(tmp_path: Path) -> None:
    """LangGraph, three times with the same prompt: each goes on with answers of its own. One that
    begins after another was answered may be given that answer, for all three say the same: then
    two go on from it, and what only one of them was answered may be asked for once more."""
    model, store = Stalling(), f"sqlite:///{tmp_path}/ledger.db"
    policy = "limits: {parallel: null}\n"
    async with stage(tmp_path, policy, script=model, store=store) as on:
        agent = Agent(on, model, (*python("langgraph_loop"), "parallel"), by_path)
        for kill in ("answer:2", "tool:5", "tool:9"):
            before = len(on.sim.journal)
            session = kill.replace(":", "-")
            await agent.killed(session, kill)
            await agent.given_up(session)
            asked = len(on.sim.journal) - before
            answers = agent.answers(session)
            live = [one for one in answers if one.header("x-holdfast-replay") != "replayed"]
            ended = await agent.again(session)

            assert ended.report["text"] == [SIMULATED] * 3
            shared = len(answers) - len(live)
            assert len(on.sim.journal) - before <= 3 * STEPS + (asked - len(live)) + shared
            assert (await on.side.admin("GET", f"/sessions/{session}"))["held_usd"] == 0


async def test_a_restart_that_is_killed_as_well(tmp_path: Path) -> None:
    """Also while it is still given what it was answered before."""
    model, store = Stalling(), f"sqlite:///{tmp_path}/ledger.db"
    async with stage(tmp_path, script=model, store=store) as on:
        agent = Agent(on, model, (*python("openai_loop"), "chat-stream"), by_path)
        for kill in ("tool:3", "tool:1", "answer:2", "tool:2", "answer:4", "tool:1"):
            await agent.killed("s1", kill)
        ended = await agent.again("s1")

        assert ended.report["text"] == SIMULATED
        assert len(on.sim.journal) == STEPS
        shown = await on.side.admin("GET", "/sessions/s1")
        assert booked_micro_usd(shown) == billed_micro_usd(on.sim.journal)


async def _dies(on: Serving) -> None:
    """The sidecar, with all its workers."""
    for pid in [*on.pids(), on.process.pid]:
        os.kill(pid, signal.SIGKILL)
    await on.process.wait()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("program", "mode"),
    [("openai_loop", "chat"), ("langgraph_loop", "chat-stream"), ("agents_loop", "responses")],
)
async def test_the_sidecar_may_be_killed_as_well(
    tmp_path: Path, program: str, mode: str, workers: int
) -> None:
    """A whole pod: the agent dies, and the sidecar with it. Whichever worker a
    call of the next life reaches, it knows what was answered."""
    (tmp_path / "home").mkdir()
    async with Simulator(seed=1) as sim:
        for kill in ("answer:1", "tool:2", "answer:4"):
            session, before = kill.replace(":", "-"), len(sim.journal)
            for dies in (kill, ""):
                async with (
                    serving(tmp_path, sim.url, workers, policy=PRICES) as on,
                    tapped(on.url) as front,
                    tapped(sim.url) as back,
                ):
                    by = Stage(on, front, back, tmp_path / "home")
                    env = {**by_path(front.url, session, again=True), "CLIENT_DIES": dies}
                    ended = await by.run(*python(program), mode, env=env)
                    if dies:
                        assert ended.code == -signal.SIGKILL, ended
                        await _dies(on)
                        continue
                    assert ended.report["text"] == SIMULATED
                    entries = sim.journal[before:]
                    assert len(entries) == STEPS, kill
                    shown = await on.admin("GET", f"/sessions/{session}")
                    assert booked_micro_usd(shown) == billed_micro_usd(entries), kill
