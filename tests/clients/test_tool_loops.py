"""Tool loops of real SDKs and frameworks, with nothing changed but the base URL.

A program runs its modes one after the other with the same first prompt, no header and one key:
each run has to be a session of its own.
"""

from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from tests.clients.checks import billed_micro_usd, booked_micro_usd, check_forwarded, check_session
from tests.clients.kit import Stage, node, python, stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

SIMULATED = "Done after 3 tool steps: Find three facts about rivers."
AIMOCK = "Three facts found."
AIMOCK_RUN_MICRO_USD = 4 * (100 + 2 * 10)
"""Every answer in fixtures/aimock.json claims 100 tokens of input and 10 of output."""

LOOPS = {
    python("openai_loop"): "chat chat-stream chat-helper responses responses-stream"
    " responses-helper",
    node("openai_loop"): "chat chat-stream chat-helper responses responses-stream responses-helper",
    python("anthropic_loop"): "whole stream helper",
    node("anthropic_loop"): "whole stream helper",
    python("agents_loop"): "responses responses-stream chat chat-stream",
    python("langgraph_loop"): "chat chat-stream responses responses-stream",
    python("pydantic_loop"): "chat chat-stream responses responses-stream messages messages-stream",
}

every_client = pytest.mark.parametrize(
    "command",
    [
        pytest.param((*program, *modes.split()), id=Path(program[1]).name)
        for program, modes in LOOPS.items()
    ],
)


def check_reports(reports: list[dict[str, Json]], modes: tuple[str, ...], text: str) -> None:
    """Each mode made three different tool calls and ended with `text`."""
    assert [(r["mode"], r.get("text")) for r in reports] == [(mode, text) for mode in modes]
    for report in reports:
        looked_up = report["looked_up"]
        assert isinstance(looked_up, list)
        assert len(set(map(str, looked_up))) == 3


async def run_loops(on: Stage, command: tuple[str, ...], text: str) -> list[dict[str, Json]]:
    """Runs all modes: four requests each and no retry. Returns a session for each."""
    ended = await on.run(*command)
    modes = command[2:]
    check_reports(ended.reports, modes, text)
    assert len(on.front.requests) == 4 * len(modes)
    check_forwarded(on)
    return await on.sessions()


@every_client
async def test_loops_against_the_simulated_provider(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    async with stage(tmp_path) as on:
        sessions = await run_loops(on, command, SIMULATED)
        journal = on.sim.journal
        assert len(sessions) == len(command[2:])
        for i, session in enumerate(sessions):
            billed = billed_micro_usd(journal[4 * i : 4 * i + 4])
            check_session(session, steps=4, tool_calls=3, cost=billed)


@every_client
async def test_loops_against_aimock(tmp_path: Path, command: tuple[str, ...], aimock: str) -> None:
    async with stage(tmp_path, upstream=aimock) as on:
        sessions = await run_loops(on, command, AIMOCK)
        assert len(sessions) == len(command[2:])
        for session in sessions:
            check_session(session, steps=4, tool_calls=3, cost=AIMOCK_RUN_MICRO_USD)


async def test_a_loop_whose_history_the_provider_keeps(tmp_path: Path) -> None:
    """With previous_response_id a request names nothing else that its session could be told by."""
    async with stage(tmp_path) as on:
        (session,) = await run_loops(on, (*python("openai_loop"), "responses-stored"), SIMULATED)
        billed = billed_micro_usd(on.sim.journal)
        check_session(session, steps=4, tool_calls=3, cost=billed)


async def test_runs_named_by_environment_alone(tmp_path: Path) -> None:
    """Default headers that the SDKs take from the environment name session and agent."""
    ours = "x-holdfast-session: my-run\nx-holdfast-agent: reader"
    environment = {"OPENAI_CUSTOM_HEADERS": ours, "ANTHROPIC_CUSTOM_HEADERS": ours}
    async with stage(tmp_path) as on:
        for command in (
            (*python("openai_loop"), "chat"),
            (*node("openai_loop"), "responses-stream"),
            (*python("anthropic_loop"), "stream"),
            (*node("anthropic_loop"), "whole"),
        ):
            assert (await on.run(*command, env=environment)).report["text"] == SIMULATED
        session = await on.only_session()
        assert (session["session"], session["agent"], session["source"]) == (
            "my-run",
            "reader",
            "header",
        )
        assert session["steps"] == 16
        assert all(seen.header("x-holdfast-session") for seen in on.front.requests)
        assert not [n for seen in on.back.requests for n, _ in seen.headers if "holdfast" in n]


@pytest.mark.parametrize(
    "command",
    [(*python("openai_loop"), "chat-stream"), (*node("anthropic_loop"), "stream")],
    ids=["openai", "anthropic"],
)
async def test_a_run_named_by_its_base_url(tmp_path: Path, command: tuple[str, ...]) -> None:
    async with stage(tmp_path) as on:
        base = f"{on.front.url}/a/reader/s/my-run"
        environment = {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}
        assert (await on.run(*command, env=environment)).report["text"] == SIMULATED
        session = await on.only_session()
        assert (session["session"], session["agent"], session["steps"]) == ("my-run", "reader", 4)
        assert all(seen.path.startswith("/v1/") for seen in on.back.requests)


async def run_in_parallel(on: Stage, text: str) -> list[dict[str, Json]]:
    """Three LangGraph runs at once: one base URL, one prompt, no header."""
    ended = await on.run(*python("langgraph_loop"), "parallel")
    assert ended.report["text"] == [text] * 3
    assert len(on.front.requests) == 12
    check_forwarded(on)
    return await on.sessions()


async def test_three_parallel_runs_with_one_prompt_are_three_sessions(tmp_path: Path) -> None:
    """Only the ids that the provider drew for their tool calls tell them apart."""
    async with stage(tmp_path) as on:
        sessions = await run_in_parallel(on, SIMULATED)
        assert [(s["steps"], s["tool_calls"]) for s in sessions] == [(4, 3)] * 3
        assert sum(map(booked_micro_usd, sessions)) == billed_micro_usd(on.sim.journal)


async def test_parallel_runs_are_told_apart_by_short_ids_too(tmp_path: Path, aimock: str) -> None:
    """aimock's ids are 16 characters of base64url: `call_spqd-UV_qAeE1Nyp`. One in a hundred looks
    counted, and then a run may be taken for two, never two for one."""
    async with stage(tmp_path, upstream=aimock) as on:
        sessions = await run_in_parallel(on, AIMOCK)
        steps = [int(str(s["steps"])) for s in sessions]
        assert 3 <= len(steps) <= 4
        assert max(steps) <= 4
        assert sum(steps) == 12
