"""`handoff.reply: message`: a session that waits for its human ends its agent's loop in peace.

Every client takes the text for the model's last word; its run ends well and without an error.
"""

from pathlib import Path

import pytest

from tests.clients.agents import run_claude, run_codex, shown, three_calls_of
from tests.clients.kit import node, python, stage

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

MESSAGE = "I need manual help; a colleague has been told."
POLICY = f"""\
limits: {{steps: 2, on_limit: handoff}}
handoff: {{reply: message, message: "{MESSAGE}"}}
"""
RUNS = {
    python(
        "openai_loop"
    ): "chat chat-stream chat-helper responses responses-stream responses-stored responses-helper",
    node("openai_loop"): "chat chat-stream chat-helper responses responses-stream responses-helper",
    python("anthropic_loop"): "whole stream helper",
    node("anthropic_loop"): "whole stream helper",
    python("agents_loop"): "responses responses-stream chat chat-stream",
    python("langgraph_loop"): "chat chat-stream responses responses-stream",
    python("pydantic_loop"): "chat chat-stream responses responses-stream messages messages-stream",
}


@pytest.mark.parametrize(
    "command",
    [pytest.param((*p, *modes.split()), id=Path(p[1]).name) for p, modes in RUNS.items()],
)
async def test_a_run_ends_with_the_message(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Two steps, two tools run, and the third call is answered here."""
    modes = command[2:]
    async with stage(tmp_path, POLICY) as on:
        ended = await on.run(*command)

        assert ended.code == 0
        for report, session in zip(ended.reports, await on.sessions(), strict=True):
            assert report.get("text") == MESSAGE, report
            assert isinstance(report["looked_up"], list)
            assert len(report["looked_up"]) == 2
            assert (session["state"], session["steps"]) == ("awaiting_human", 2)
        assert len(on.front.requests) == 3 * len(modes)
        assert len(on.back.requests) == 2 * len(modes)
        assert all(answer.status == 200 for answer in on.front.answers)


@pytest.mark.parametrize("mode", ["structured-chat", "structured-messages"])
async def test_a_run_that_must_call_a_tool_is_told_by_an_error(tmp_path: Path, mode: str) -> None:
    """A text does not end it: the framework would ask again, and say in the end that it failed."""
    async with stage(tmp_path, POLICY) as on:
        report = (await on.run(*python("pydantic_loop"), mode)).report

        assert report.get("status_code") == 422, report
        assert "awaiting_human" in str(report["body"])
        assert (len(on.front.requests), len(on.back.requests)) == (3, 2)


@pytest.mark.agents
async def test_claude_code_ends_with_the_message(tmp_path: Path) -> None:
    """Its title call is a step as well."""
    script = three_calls_of("Bash", {"command": "echo one", "description": "Say one"})
    async with stage(tmp_path, POLICY, script=script) as on:
        ended = await run_claude(on)

        assert (ended.code, ended.out.strip()) == (0, MESSAGE), ended
        assert (len(on.front.calls()), len(on.back.calls())) == (3, 2)
        assert (await on.only_session())["state"] == "awaiting_human"


@pytest.mark.agents
async def test_codex_ends_with_the_message(tmp_path: Path) -> None:
    script = three_calls_of("exec_command", {"cmd": "echo one"}, {"cmd": "echo two"})
    async with stage(tmp_path, POLICY, script=script) as on:
        ended = await run_codex(on)

        assert (ended.code, ended.out.strip()) == (0, MESSAGE), shown(ended)
        assert (len(on.front.calls()), len(on.back.calls())) == (3, 2)
        assert (await on.only_session())["state"] == "awaiting_human"
