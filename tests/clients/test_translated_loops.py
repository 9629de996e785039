"""Real clients of chat and of messages, whose model speaks the other one alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.request import DialectName
from proxy.core.translation.registry import path_of
from proxy.simulator import Script, Simulator
from tests.clients.agents import SAID, run_claude
from tests.clients.bridge import bridged
from tests.clients.checks import billed_micro_usd, check_session
from tests.clients.kit import Stage, node, python, stage
from tests.clients.test_claude_code import ECHOES
from tests.clients.test_tool_loops import SIMULATED, check_reports

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

LOOPS: dict[DialectName, dict[tuple[str, str], str]] = {
    "chat": {
        python("openai_loop"): "chat chat-stream chat-helper",
        node("openai_loop"): "chat chat-stream chat-helper",
        python("agents_loop"): "chat chat-stream",
        python("langgraph_loop"): "chat chat-stream",
        python("pydantic_loop"): "chat chat-stream",
    },
    "messages": {
        python("anthropic_loop"): "whole stream helper",
        node("anthropic_loop"): "whole stream helper",
        python("pydantic_loop"): "messages messages-stream",
    },
}
SPOKEN: dict[DialectName, DialectName] = {"chat": "messages", "messages": "chat"}


@asynccontextmanager
async def translated(
    folder: Path, client: DialectName, script: Script | None = None
) -> AsyncIterator[tuple[Stage, Simulator]]:
    """A client of one of both, and a model that knows the other."""
    async with (
        Simulator(script, seed=1) as model,
        bridged(model.url, client, SPOKEN[client]) as url,
        stage(folder, upstream=url) as on,
    ):
        yield on, model


@pytest.mark.parametrize(
    ("client", "command"),
    [
        pytest.param(client, (*program, *modes.split()), id=f"{client}-{Path(program[1]).name}")
        for client, programs in LOOPS.items()
        for program, modes in programs.items()
    ],
)
async def test_loops_run_and_are_booked(
    tmp_path: Path, client: DialectName, command: tuple[str, ...]
) -> None:
    """Three calls and an answer in each mode, four requests, and the bill that the model has."""
    async with translated(tmp_path, client) as (on, model):
        ended = await on.run(*command)
        check_reports(ended.reports, command[2:], SIMULATED)
        assert len(on.front.requests) == 4 * len(command[2:])
        assert {entry.path for entry in model.journal} == {path_of(SPOKEN[client])}
        sessions = await on.sessions()
        assert len(sessions) == len(command[2:])
        for i, session in enumerate(sessions):
            billed = billed_micro_usd(model.journal[4 * i : 4 * i + 4])
            check_session(session, steps=4, tool_calls=3, cost=billed)


@pytest.mark.agents
async def test_claude_code_runs_its_commands(tmp_path: Path) -> None:
    """Its system prompt in blocks, its cache markers, its results: a chat model reads them all."""
    async with translated(tmp_path, "messages", ECHOES) as (on, model):
        ended = await run_claude(on)
        assert (ended.code, ended.out.strip()) == (0, SAID), ended
        assert len(on.front.calls("/messages")) == 5
        assert '"content":"three"' in on.front.calls()[-1].body.decode()
        check_session(
            await on.only_session(), steps=5, tool_calls=3, cost=billed_micro_usd(model.journal)
        )
