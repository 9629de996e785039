"""Claude Code and Codex at 2 a.m.: they read a file that does not exist, again and again."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.simulator import Script, ToolCall, Turn
from proxy.simulator.conversation import Conversation
from tests.clients.agents import (
    TITLE,
    continue_claude,
    resume_codex,
    run_claude,
    run_codex,
    shown,
)
from tests.clients.checks import added, withheld
from tests.clients.kit import Finished, Stage, stage
from tests.clients.models import CONCLUDED, Heeds, Looping
from tests.clients.test_loops import CLIMBED, HANDOFF, LADDER, MARKER, MESSAGE

pytestmark = [pytest.mark.sdk, pytest.mark.agents, pytest.mark.timeout(120)]

ASKED = "Read the report."


@dataclass(frozen=True, slots=True)
class Agent:
    """One of them.

    again: goes on with its last run. missing: a call for a file that is not in this folder. status:
    of its refusals. side_calls: how often it asks the model beside its loop.
    """

    run: Callable[[Stage, str], Awaitable[Finished]]
    again: Callable[[Stage, str], Awaitable[Finished]]
    path: str
    missing: Callable[[Path], ToolCall]
    other: ToolCall
    status: int
    side_calls: int = 0


CLAUDE = Agent(
    run_claude,
    continue_claude,
    "/messages",
    lambda home: ToolCall("Read", {"file_path": f"{home}/report.csv"}),
    ToolCall("Bash", {"command": "echo instead", "description": "Do something else"}),
    status=422,
    side_calls=1,
)
CODEX = Agent(
    run_codex,
    resume_codex,
    "/responses",
    lambda home: ToolCall("exec_command", {"cmd": f"cat {home}/report.csv"}),
    ToolCall("exec_command", {"cmd": "echo instead"}),
    status=400,
)

each = pytest.mark.parametrize(
    "agent", [pytest.param(CLAUDE, id="claude"), pytest.param(CODEX, id="codex")]
)


async def run(on: Stage, agent: Agent, *, calls: int) -> tuple[Finished, list[str | None]]:
    """Runs it to its end, with so many calls of its loop. What was decided on each."""
    ended = await agent.run(on, ASKED)
    assert len(on.back.calls(agent.path)) == calls + agent.side_calls, shown(ended)
    answers = [a for a in on.front.answers if a.to.method == "POST" and _in_loop(a.to.json)]
    return ended, [answer.header("x-holdfast-decision") for answer in answers]


def _in_loop(body: dict[str, Json]) -> bool:
    return bool(body.get("tools"))


def model(agent: Agent, heeds: Heeds, folder: Path) -> Looping:
    return Looping((agent.missing(folder / "home"),), heeds, agent.other, MARKER)


def notes(on: Stage, agent: Agent) -> list[list[str]]:
    """What the model was told beyond the client's words, a list for each call of the loop."""
    sent = [seen for seen in on.front.calls(agent.path) if _in_loop(seen.json)]
    went = [seen for seen in on.back.calls(agent.path) if _in_loop(seen.json)]
    return [added(*both) for both in zip(sent, went, strict=False)]


@each
async def test_a_model_that_heeds_nothing_is_stopped(tmp_path: Path, agent: Agent) -> None:
    """At the fifth identical call; the user reads why and what to do, in one request's time."""
    async with stage(tmp_path, LADDER, script=model(agent, "nothing", tmp_path)) as on:
        ended, decided = await run(on, agent, calls=5)
        session = await on.only_session()

        assert ended.code != 0
        assert decided == [*CLIMBED, None]
        assert on.front.answers[-1].status == agent.status
        assert f"Session {session['session']}" in shown(ended)
        assert f"`{agent.missing(on.home).name}` was called 5 times in a row" in shown(ended)
        assert session["refusals"] == 1


@each
async def test_a_model_without_its_tools_concludes(tmp_path: Path, agent: Agent) -> None:
    """The user reads its conclusion, and the run ends well."""
    async with stage(tmp_path, LADDER, script=model(agent, "withheld", tmp_path)) as on:
        ended, decided = await run(on, agent, calls=5)

        assert (ended.code, ended.out.strip()) == (0, CONCLUDED), ended
        assert decided == CLIMBED
        told = notes(on, agent)
        assert [len(of_a_call) for of_a_call in told] == [0, 0, 0, 1, 1]
        assert all("report.csv" not in note for of_a_call in told for note in of_a_call)
        assert withheld([s for s in on.back.calls(agent.path) if _in_loop(s.json)][-1])


@each
async def test_a_model_that_heeds_the_note_goes_on(tmp_path: Path, agent: Agent) -> None:
    """It does something else, keeps its tools, and is told no more."""
    async with stage(tmp_path, LADDER, script=model(agent, "note", tmp_path)) as on:
        ended, decided = await run(on, agent, calls=5)

        assert (ended.code, ended.out.strip()) == (0, CONCLUDED), ended
        assert decided == ["allow", "allow", "warn", "steer", "allow"]
        assert "instead" in on.front.calls(agent.path)[-1].body.decode()


@each
async def test_a_stop_that_a_human_is_told_of_ends_the_run_in_peace(
    tmp_path: Path, agent: Agent
) -> None:
    """The user reads that a human is needed, and the exit code is that of success."""
    policy = LADDER + HANDOFF
    async with stage(tmp_path, policy, script=model(agent, "nothing", tmp_path)) as on:
        ended, decided = await run(on, agent, calls=5)

        assert (ended.code, ended.out.strip()) == (0, MESSAGE), ended
        assert decided[:5] == CLIMBED
        assert (await on.only_session())["state"] == "awaiting_human"


@each
async def test_what_the_user_says_next_begins_anew(tmp_path: Path, agent: Agent) -> None:
    """The stop was of that loop alone; the model may go round once more, and is stopped again."""
    async with stage(tmp_path, LADDER, script=model(agent, "nothing", tmp_path)) as on:
        _, first = await run(on, agent, calls=5)
        before = len(on.front.answers)
        ended = await agent.again(on, "Look elsewhere.")

        again = [a.header("x-holdfast-decision") for a in on.front.answers[before:]]
        assert [*first[:5], None] == [*CLIMBED, None]
        assert [said for said in again if said] == CLIMBED, shown(ended)
        assert len(await on.sessions()) == 1


class Delegating:
    """Hands a task to a sub-agent, whose model goes round in circles, and concludes."""

    def __init__(self, home: Path) -> None:
        task = {"description": "Read", "prompt": "Read-it-for-me.", "subagent_type": "claude"}
        delegate = Turn(tool_calls=(ToolCall("Agent", json.dumps(task)),))
        self._outside = Script((TITLE, delegate, Turn(text=CONCLUDED)))
        self._inside = Looping((CLAUDE.missing(home),), "nothing")

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        within = "Read-it-for-me." in conversation.user or MARKER in conversation.user
        return (self._inside if within else self._outside).turn(conversation)


async def test_a_sub_agent_in_a_loop_leaves_its_parent_alone(tmp_path: Path) -> None:
    """Claude Code gives the error to the agent above as the task's result, and that one goes on."""
    async with stage(tmp_path, LADDER, script=Delegating(tmp_path / "home")) as on:
        ended = await run_claude(on, "Delegate this.")

        assert (ended.code, ended.out.strip()) == (0, CONCLUDED), ended
        inside = [a for a in on.front.answers if a.to.header("x-claude-code-agent-id")]
        assert [a.header("x-holdfast-decision") for a in inside] == [*CLIMBED, None]
        assert "goes round in a loop" in on.front.calls()[-1].body.decode()
        session = await on.only_session()
        assert (session["state"], session["refusals"]) == ("active", 1)
