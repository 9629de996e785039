"""What the four vendors' SDKs make of a refusal and of a stream that is cut."""

import asyncio
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.simulator import Fault, FaultKind, Script, Turn
from tests.clients.checks import booked_micro_usd, check_session
from tests.clients.kit import Finished, Stage, node, python, stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

CALLS = {
    python("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    node("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    python("anthropic_loop"): ("whole", "stream"),
    node("anthropic_loop"): ("whole", "stream"),
}
STREAMS = {
    python("openai_loop"): ("chat-stream", "chat-helper", "responses-stream", "responses-helper"),
    node("openai_loop"): ("chat-stream", "chat-helper", "responses-stream", "responses-helper"),
    python("anthropic_loop"): ("stream", "helper"),
    node("anthropic_loop"): ("stream", "helper"),
}
FRAMEWORKS = {
    python("agents_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    python("langgraph_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    python("pydantic_loop"): ("chat", "chat-stream", "responses", "responses-stream", "messages"),
}
FRAMEWORK_STREAMS = (
    (*python("agents_loop"), "chat-stream"),
    (*python("agents_loop"), "responses-stream"),
    (*python("langgraph_loop"), "chat-stream"),
    (*python("pydantic_loop"), "messages-stream"),
)
SLOW = Script((Turn(text_tokens=20_000, chunk_gap_seconds=0.01),))
UNBOUNDED = Script((Turn(text_tokens=20_000, faults=(Fault(FaultKind.IGNORE_BOUND),)),))


def programs(modes: dict[tuple[str, str], tuple[str, ...]]) -> pytest.MarkDecorator:
    """A test of each program, in all of these modes."""
    every = [pytest.param((*p, *named), id=Path(p[1]).name) for p, named in modes.items()]
    return pytest.mark.parametrize("command", every)


def check_error(told: dict[str, Json], session: str, code: str) -> None:
    """An exception of the SDK's own, with the code and the whole message in it."""
    kinds, body = told.get("kinds"), told.get("body")
    assert isinstance(kinds, list), told
    assert "APIError" in kinds, told
    assert isinstance(body, dict), told
    inner = body.get("error", body)
    assert isinstance(inner, dict)
    assert inner["code"] == code
    assert isinstance(inner["message"], str)
    assert session in inner["message"]
    assert isinstance(told["message"], str)
    assert inner["message"] in told["message"]


@programs(CALLS)
async def test_a_session_that_waits_is_one_typed_exception(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """In one attempt; its one string says whom to ask and how to answer."""
    async with stage(tmp_path, "limits: {steps: 1, on_limit: handoff}") as on:
        ended = await on.run(*command)
        modes, sessions = command[2:], await on.sessions()
        for told, session in zip(ended.reports, sessions, strict=True):
            check_error(told, str(session["session"]), "awaiting_human")
            assert (told["error"], told["status_code"]) == ("UnprocessableEntityError", 422)
            assert told["type"] == "session_state"
            assert "holdfast sessions extend" in str(told["message"])
            assert (session["state"], session["steps"]) == ("awaiting_human", 1)
        assert len(on.front.requests) == 2 * len(modes)
        assert len(on.back.requests) == len(modes)


@programs(CALLS)
async def test_a_refusal_is_one_attempt_and_says_all(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    async with stage(tmp_path, "limits: {steps: 1}") as on:
        ended = await on.run(*command)
        modes, sessions = command[2:], await on.sessions()
        assert [told["mode"] for told in ended.reports] == list(modes)
        for told, session in zip(ended.reports, sessions, strict=True):
            check_error(told, str(session["session"]), "step_limit_exceeded")
            assert (told["error"], told["status_code"]) == ("UnprocessableEntityError", 422)
            assert told["type"] == "session_limit"
            assert "holdfast sessions extend" in str(told["message"])
            assert str(told["request_id"]).startswith("req_")
            assert (session["steps"], session["refusals"]) == (1, 1)
        assert len(on.front.requests) == 2 * len(modes)
        assert len(on.back.requests) == len(modes)


@programs(FRAMEWORKS)
async def test_a_framework_passes_a_refusal_on(tmp_path: Path, command: tuple[str, ...]) -> None:
    """None tries again, and the message reaches whoever started the run."""
    async with stage(tmp_path, "limits: {steps: 1}") as on:
        ended = await on.run(*command)
        modes, sessions = command[2:], await on.sessions()
        for told, session in zip(ended.reports, sessions, strict=True):
            assert told.get("status_code") == 422, told
            assert f"Session {session['session']} has used 1 of 1 steps." in str(told["message"])
        assert len(on.front.requests) == 2 * len(modes)
        assert len(on.back.requests) == len(modes)


async def run_until_killed(on: Stage, command: tuple[str, ...]) -> Finished:
    """Kills the only session once its stream flows."""
    running = asyncio.ensure_future(on.run(*command))
    await on.sim.wait_for(lambda sim: bool(sim.journal) and sim.journal[0].events_sent > 9, 60)
    session = await on.only_session()
    await on.side.admin("POST", f"/sessions/{session['session']}/kill")
    return await running


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*program, mode), id=f"{Path(program[1]).name}-{mode}")
        for program, modes in STREAMS.items()
        for mode in modes
    ],
)
async def test_a_stream_cut_by_kill_raises(tmp_path: Path, command: tuple[str, ...]) -> None:
    async with stage(tmp_path, script=SLOW) as on:
        ended = await run_until_killed(on, command)
        session = await on.only_session()
        check_error(ended.report, str(session["session"]), "session_killed")
        assert (len(on.front.requests), len(on.back.requests)) == (1, 1)
        assert session["state"] == "killed"
        check_session(session, steps=1, tool_calls=0, cost=booked_micro_usd(session))
        (entry,) = on.sim.journal
        assert booked_micro_usd(session) >= entry.input_tokens + 2 * 9
        assert entry.client_disconnected_at is not None


@pytest.mark.parametrize(
    "command",
    FRAMEWORK_STREAMS,
    ids=[f"{Path(program).name}-{mode}" for _, program, mode in FRAMEWORK_STREAMS],
)
async def test_a_framework_passes_a_cut_on(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Half an answer is never taken for a whole one."""
    async with stage(tmp_path, script=SLOW) as on:
        ended = await run_until_killed(on, command)
        session = await on.only_session()
        assert f"Session {session['session']} was killed." in str(ended.report.get("message"))
        assert len(on.front.requests) == 1


@programs(STREAMS)
async def test_a_stream_cut_at_the_cap_raises(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The provider ignores the bound that it was given: the budget still holds."""
    policy = "limits: {cost_usd: 0.002}\naccounting: {min_output_tokens: 100}"
    async with stage(tmp_path, policy, script=UNBOUNDED) as on:
        ended = await on.run(*command)
        modes, sessions = command[2:], await on.sessions()
        assert [told["mode"] for told in ended.reports] == list(modes)
        for told, session in zip(ended.reports, sessions, strict=True):
            check_error(told, str(session["session"]), "budget_exceeded")
            assert booked_micro_usd(session) < 1.3 * 2_000
        assert len(on.front.requests) == len(on.back.requests) == len(modes)
        assert all(entry.client_disconnected_at is not None for entry in on.sim.journal)
