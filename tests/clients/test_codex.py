"""Codex CLI, whole: its own tools, its own sandbox, its own retries."""

import asyncio
from pathlib import Path

import pytest

from proxy.simulator import Script, ToolCall, Turn
from tests.clients.agents import SAID, run_codex, shown, three_calls_of
from tests.clients.checks import (
    billed_micro_usd,
    booked_micro_usd,
    check_forwarded,
    check_session,
)
from tests.clients.kit import Stage, stage

pytestmark = [pytest.mark.sdk, pytest.mark.agents, pytest.mark.timeout(120)]

ECHOES = three_calls_of(
    "exec_command", {"cmd": "echo one"}, {"cmd": "echo two"}, {"cmd": "echo three"}
)
SLOW = Script((Turn(text_tokens=20_000, chunk_gap_seconds=0.01),))


async def run_loop(on: Stage) -> None:
    """Three commands are really run, in four requests after one try of a WebSocket."""
    ended = await run_codex(on)
    assert ended.code == 0, ended.err
    assert ended.out.strip() == SAID
    assert len(on.front.calls("/responses")) == 4
    assert [seen.method for seen in on.front.requests] == ["GET"] + 4 * ["POST"]
    check_forwarded(on)


async def test_a_loop_against_the_simulated_provider(tmp_path: Path) -> None:
    async with stage(tmp_path, script=ECHOES) as on:
        await run_loop(on)
        session = await on.only_session()
        billed = billed_micro_usd(on.sim.journal)
        check_session(session, steps=4, tool_calls=3, cost=billed)
        assert session["source"] == "client:codex"


async def test_a_loop_against_aimock(tmp_path: Path, aimock: str) -> None:
    async with stage(tmp_path, upstream=aimock) as on:
        await run_loop(on)
        check_session(await on.only_session(), steps=4, tool_calls=3, cost=480)


async def test_a_refusal_is_one_request_and_shown(tmp_path: Path) -> None:
    """422 would be sent six times: the policy's default for `codex*` is 400."""
    async with stage(tmp_path, "limits: {steps: 1}", script=ECHOES) as on:
        ended = await run_codex(on)
        session = await on.only_session()
        assert ended.code != 0
        assert f"Session {session['session']} has used 1 of 1 steps." in shown(ended), ended.err
        assert "holdfast sessions extend" in shown(ended)
        assert (len(on.front.calls()), len(on.back.calls())) == (2, 1)
        assert (session["steps"], session["refusals"]) == (1, 1)


async def test_the_tools_of_its_own_models_are_limited(tmp_path: Path) -> None:
    """These models are offered one custom tool, in an item of the input instead of `tools`."""
    asks = Script((Turn(tool_calls=(ToolCall("exec", "{}"),)),))
    async with stage(tmp_path, "limits: {tool_calls: 1}", script=asks) as on:
        ended = await run_codex(on, model="gpt-6-sol")
        session = await on.only_session()
        assert on.front.calls()[0].json.get("tools") is None
        assert ended.code != 0
        assert "has asked for 1 of 1 tool calls." in shown(ended)
        assert (session["steps"], session["tool_calls"], session["refusals"]) == (1, 1, 1)


async def test_a_killed_stream_is_one_request_and_shown(tmp_path: Path) -> None:
    """It goes on after every code in mid-stream but one, which the proxy gives it."""
    async with stage(tmp_path, script=SLOW) as on:
        running = asyncio.ensure_future(run_codex(on))
        await on.sim.wait_for(lambda sim: bool(sim.journal) and sim.journal[0].events_sent > 9, 60)
        session = (await on.only_session())["session"]
        await on.side.admin("POST", f"/sessions/{session}/kill")
        ended = await running
        assert ended.code != 0
        assert f"Session {session} was killed." in shown(ended), ended.err
        assert (len(on.front.calls()), len(on.back.calls())) == (1, 1)
        killed = await on.only_session()
        check_session(killed, steps=1, tool_calls=0, cost=booked_micro_usd(killed))
