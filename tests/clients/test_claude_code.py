"""Claude Code, whole: its own tools, its side calls and its sub-agents."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.simulator import Match, Script, ToolCall, Turn
from tests.clients.agents import SAID, TITLE, run_claude, shown, three_calls_of
from tests.clients.checks import (
    billed_micro_usd,
    booked_micro_usd,
    check_forwarded,
    check_session,
)
from tests.clients.kit import Stage, stage

pytestmark = [pytest.mark.sdk, pytest.mark.agents, pytest.mark.timeout(120)]

ECHOES = three_calls_of(
    "Bash",
    {"command": "echo one", "description": "Say one"},
    {"command": "echo two", "description": "Say two"},
    {"command": "echo three", "description": "Say three"},
)
SLOW = Script((TITLE, Turn(text_tokens=20_000, chunk_gap_seconds=0.01)))


def _delegation() -> Script:
    """The model hands a task to a sub-agent, which runs one command."""
    task = {"description": "Count", "prompt": "Count-the-files.", "subagent_type": "claude"}
    echo = {"command": "echo two", "description": "Say two"}
    inside, outside = Match(user="Count-the-files"), Match(user="Delegate this")
    return Script(
        (
            TITLE,
            Turn(match=inside, tool_calls=(ToolCall("Bash", json.dumps(echo)),)),
            Turn(match=inside, text="Two files."),
            Turn(match=outside, tool_calls=(ToolCall("Agent", json.dumps(task)),)),
            Turn(match=outside, text="All delegated."),
        )
    )


async def run_loop(on: Stage) -> None:
    """Three commands are really run; beside the four steps of the loop it asks for a title."""
    ended = await run_claude(on)
    assert ended.code == 0, ended
    assert ended.out.strip() == SAID
    assert on.front.requests[0].method == "HEAD"
    assert len(on.front.calls("/messages")) == 5
    check_forwarded(on)
    assert '"content":"three"' in on.front.calls()[-1].body.decode()


async def test_a_loop_against_the_simulated_provider(tmp_path: Path) -> None:
    async with stage(tmp_path, script=ECHOES) as on:
        await run_loop(on)
        session = await on.only_session()
        billed = billed_micro_usd(on.sim.journal)
        check_session(session, steps=5, tool_calls=3, cost=billed)
        assert session["source"] == "client:claude-code"


async def test_a_loop_against_aimock(tmp_path: Path, aimock: str) -> None:
    async with stage(tmp_path, upstream=aimock) as on:
        await run_loop(on)
        check_session(await on.only_session(), steps=5, tool_calls=3, cost=600)


async def test_a_sub_agent_stays_in_its_session(tmp_path: Path) -> None:
    """Its history is its own; its calls are the session's."""
    async with stage(tmp_path, script=_delegation()) as on:
        ended = await run_claude(on, "Delegate this.")
        assert ended.out.strip() == "All delegated.", ended
        within = [call.header("x-claude-code-agent-id") for call in on.front.calls()]
        assert len({agent for agent in within if agent}) == 1
        assert [bool(agent) for agent in within].count(True) == 2
        session = await on.only_session()
        billed = billed_micro_usd(on.sim.journal)
        check_session(session, steps=len(within), tool_calls=2, cost=billed)
        assert session["per_tool"] == {"Agent": 1, "Bash": 1}
        check_forwarded(on)


async def test_a_refusal_is_one_request_and_shown(tmp_path: Path) -> None:
    """Two steps: the title and the first of the loop; the third call is refused."""
    async with stage(tmp_path, "limits: {steps: 2}", script=ECHOES) as on:
        ended = await run_claude(on)
        session = await on.only_session()
        assert ended.code != 0
        said = f"API Error: 422 Session {session['session']} has used 2 of 2 steps."
        assert said in shown(ended), ended
        assert "holdfast sessions extend" in shown(ended)
        assert (len(on.front.calls()), len(on.back.calls())) == (3, 2)
        assert (session["steps"], session["refusals"]) == (2, 1)


async def test_a_killed_stream_goes_no_further(tmp_path: Path) -> None:
    """It asks again without streaming, as after any broken stream; that is refused and shown."""
    async with stage(tmp_path, script=SLOW) as on:
        running = asyncio.ensure_future(run_claude(on))
        await on.sim.wait_for(lambda sim: any(e.events_sent > 19 for e in sim.journal), 60)
        session = (await on.only_session())["session"]
        await on.side.admin("POST", f"/sessions/{session}/kill")
        ended = await running
        assert ended.code != 0
        assert f"Session {session} was killed." in shown(ended), ended
        assert (len(on.front.calls()), len(on.back.calls())) == (3, 2)
        killed = await on.only_session()
        check_session(killed, steps=2, tool_calls=0, cost=booked_micro_usd(killed))
        assert killed["refusals"] == 1
