"""Real clients of the Responses API whose model speaks chat, or messages, alone."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.request import DialectName
from proxy.core.translation.registry import path_of
from proxy.simulator import Script, Simulator, ToolCall, Turn
from tests.clients.agents import SAID, run_codex
from tests.clients.bridge import bridged
from tests.clients.checks import billed_micro_usd, check_session
from tests.clients.kit import Stage, node, python, stage
from tests.clients.test_codex import ECHOES
from tests.clients.test_tool_loops import SIMULATED, check_reports

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

LOOPS = {
    python("openai_loop"): "responses responses-stream responses-helper",
    node("openai_loop"): "responses responses-stream responses-helper",
    python("agents_loop"): "responses responses-stream",
    python("langgraph_loop"): "responses responses-stream",
    python("pydantic_loop"): "responses responses-stream",
}
SPOKEN: tuple[DialectName, ...] = ("chat", "messages")


@asynccontextmanager
async def translated(
    folder: Path, spoken: DialectName, script: Script | None = None
) -> AsyncIterator[tuple[Stage, Simulator]]:
    """A client that asks for responses, and a model that knows none."""
    async with (
        Simulator(script, seed=1) as model,
        bridged(model.url, "responses", spoken) as url,
        stage(folder, upstream=url) as on,
    ):
        yield on, model


@pytest.mark.parametrize("spoken", SPOKEN)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*program, *modes.split()), id=Path(program[1]).name)
        for program, modes in LOOPS.items()
    ],
)
async def test_loops_run_and_are_booked(
    tmp_path: Path, command: tuple[str, ...], spoken: DialectName
) -> None:
    """Three calls and an answer in each mode, four requests, and the bill that the model has."""
    async with translated(tmp_path, spoken) as (on, model):
        ended = await on.run(*command)
        check_reports(ended.reports, command[2:], SIMULATED)
        assert len(on.front.requests) == 4 * len(command[2:])
        assert {entry.path for entry in model.journal} == {path_of(spoken)}
        sessions = await on.sessions()
        assert len(sessions) == len(command[2:])
        for i, session in enumerate(sessions):
            billed = billed_micro_usd(model.journal[4 * i : 4 * i + 4])
            check_session(session, steps=4, tool_calls=3, cost=billed)


@pytest.mark.agents
@pytest.mark.parametrize("spoken", SPOKEN)
async def test_codex_runs_its_commands(tmp_path: Path, spoken: DialectName) -> None:
    """Its functions, with a search of the web that is not offered on."""
    async with translated(tmp_path, spoken, ECHOES) as (on, model):
        ended = await run_codex(on)
        assert ended.code == 0, ended.err
        assert ended.out.strip() == SAID
        assert len(on.front.calls("/responses")) == 4
        check_session(
            await on.only_session(), steps=4, tool_calls=3, cost=billed_micro_usd(model.journal)
        )


@pytest.mark.agents
async def test_codex_runs_a_script_and_asks_a_team(tmp_path: Path) -> None:
    """To its newest models it offers one custom tool, and others in namespaces: a chat model calls
    them as functions, and Codex is told of the calls that it knows."""
    script = 'const r = await tools.exec_command({cmd: "echo one"}); text(r.output);'
    calls = (ToolCall("exec", json.dumps({"input": script})), ToolCall("list_agents", "{}"))
    turns = [Turn(tool_calls=(call,)) for call in calls]
    async with translated(tmp_path, "chat", Script((*turns, Turn(text=SAID)))) as (on, model):
        ended = await run_codex(on, model="gpt-6-sol")
        assert (ended.code, ended.out.strip()) == (0, SAID), ended.err
        *_, last = on.front.calls("/responses")
        told = json.dumps(last.json["input"])
        assert '"type": "custom_tool_call"' in told
        assert '"one\\n"' in told
        assert '"namespace": "collaboration"' in told
        assert "/root" in told.rpartition("function_call_output")[2]
        check_session(
            await on.only_session(), steps=3, tool_calls=2, cost=billed_micro_usd(model.journal)
        )
