"""Claude Code and Codex, whole, killed with SIGKILL in each of their steps and started again.

Their bodies hold what changes with every run: they are known by their conversation.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.simulator import Turn
from proxy.simulator.conversation import Conversation
from proxy.simulator.script import Actor
from tests.clients.agents import SAID, run_claude, run_codex, shown
from tests.clients.checks import billed_micro_usd, booked_micro_usd
from tests.clients.kit import Finished, Stage, stage
from tests.clients.tap import Tap
from tests.clients.test_claude_code import ECHOES as CLAUDES
from tests.clients.test_codex import ECHOES as CODEXES
from tests.clients.test_resume import events

pytestmark = [pytest.mark.sdk, pytest.mark.agents, pytest.mark.timeout(300)]


class Stalling:
    """A model that comes to no end in one of the steps that have tools to call."""

    def __init__(self, usual: Actor) -> None:
        self.step = 0
        self.stalled = asyncio.Event()
        self._usual = usual

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        turn = self._usual.turn(conversation)
        if not conversation.tools or conversation.step + 1 != self.step:
            return turn
        self.stalled.set()
        return replace(turn, chunk_gap_seconds=60.0)


class Prefixed:
    """The tap in front, by the base URL that resumes a session."""

    def __init__(self, front: Tap, session: str) -> None:
        self.url = f"{front.url}/r/{session}"


class Killing(Stage):
    """A stage whose clients are killed with all that they have started: Codex is started by Node,
    and lives on without it."""

    async def run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> Finished:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.home,
            env=self.environment() | dict(env or {}),
            start_new_session=True,
        )
        try:
            return Finished(await process.wait(), "", "")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@dataclass(frozen=True, slots=True)
class Agent:
    """One of them. calls: of a whole run; beside its four steps Claude Code asks for a title."""

    run: Callable[[Stage], Awaitable[Finished]]
    says: Actor
    calls: int


async def killed(on: Stage, agent: Agent, model: Stalling, step: int) -> None:
    """Its first life, ended while the call of this step is in flight."""
    model.step = step
    model.stalled.clear()
    life = asyncio.ensure_future(agent.run(on))
    await asyncio.wait_for(model.stalled.wait(), 60)
    life.cancel()
    await asyncio.wait([life])
    model.step = 0
    for left in on.home.iterdir():  # as in a new container
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(Agent(run_claude, CLAUDES, 5), id="claude"),
        pytest.param(Agent(run_codex, CODEXES, 4), id="codex"),
    ],
)
async def test_a_coding_agent_that_is_killed_pays_for_nothing_twice(
    tmp_path: Path, agent: Agent, step: int
) -> None:
    """In all the calls of one run that was not, and at most the ones in flight."""
    model, store = Stalling(agent.says), f"sqlite:///{tmp_path}/ledger.db"
    async with stage(tmp_path, script=model, store=store) as on:
        front: Any = Prefixed(on.front, "s1")
        by = Stage(on.side, front, on.back, on.home)
        await killed(Killing(on.side, front, on.back, on.home), agent, model, step)
        first = [a for a in on.front.answers if a.to.method == "POST"]
        ended = await agent.run(by)

        assert (ended.code, ended.out.strip()) == (0, SAID), shown(ended)
        second = [a for a in on.front.answers if a.to.method == "POST"][len(first) :]
        said = [a.header("x-holdfast-replay") for a in second]
        settled = await events(on, "s1", "StepSettled")
        lost = [one for one in settled if "outcome" in one]
        assert said.count("replayed") == len(first)
        assert set(said) <= {"replayed", "live"}
        assert len(on.sim.journal) == agent.calls + len(lost)
        assert 1 <= len(lost) <= agent.calls - 3
        given = [a.body for a in second if a.header("x-holdfast-replay") == "replayed"]
        assert sorted(given) == sorted(a.body for a in first)
        session = await on.side.admin("GET", "/sessions/s1")
        broken = sum(int(str(one.get("cost_micro_usd", 0))) for one in lost)
        whole = [entry for entry in on.sim.journal if entry.client_disconnected_at is None]
        assert booked_micro_usd(session) - broken == billed_micro_usd(tuple(whole))
