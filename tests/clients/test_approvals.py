"""A tool call that a human has to approve: an agent stops before it, and is started again."""

from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.simulator import Turn
from tests.clients.kit import Finished, Stage, python, stage
from tests.clients.models import CONCLUDED, Scripted
from tests.clients.test_side_effects import ANN, TO_ANN

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

POLICY = 'tools: {require_approval: ["send_*"]}\n'
SESSION = "nightly-42"
MODEL = Scripted({0: Turn(tool_calls=(ANN,)), 1: Turn(text=CONCLUDED)})

runs = pytest.mark.parametrize(
    "command",
    [
        (*python("openai_loop"), "chat"),
        (*python("openai_loop"), "responses-stream"),
        (*python("anthropic_loop"), "stream"),
        (*python("langgraph_loop"), "chat-stream"),
    ],
    ids=["openai-chat", "openai-responses-stream", "anthropic-stream", "langgraph-chat-stream"],
)


async def start(on: Stage, command: tuple[str, ...]) -> Finished:
    """The agent, from its beginning, in the session that its base URL names."""
    base = f"{on.front.url}/s/{SESSION}"
    environment = {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}
    return await on.run(*command, env=environment | {"CLIENT_TOOL": "send_email"})


async def stop_at_the_email(on: Stage, command: tuple[str, ...]) -> str:
    """The first run ends with an error. The id of the call that is held."""
    report = (await start(on, command)).report
    assert "awaiting_human" in str(report.get("body")), report
    assert report["sent"] == []
    (waiting,) = await handoffs(on)
    held = waiting["tool_call"]
    assert isinstance(held, dict)
    assert held["tool"] == "send_email"
    return str(held["id"])


async def handoffs(on: Stage) -> list[dict[str, Json]]:
    rows = (await on.side.admin("GET", "/handoffs"))["handoffs"]
    assert isinstance(rows, list)
    return [row for row in rows if isinstance(row, dict)]


@runs
async def test_what_is_approved_is_done_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The agent that starts again is given the answer that was kept, and pays for it once."""
    async with stage(tmp_path, POLICY, script=MODEL) as on:
        call_id = await stop_at_the_email(on, command)
        await on.side.admin("POST", f"/sessions/{SESSION}/approve", {"tool_call_id": call_id})
        report = (await start(on, command)).report

        assert (report.get("text"), report["sent"]) == (CONCLUDED, [TO_ANN]), report
        assert len(on.back.requests) == 2
        assert (await on.only_session())["steps"] == 2
        assert await handoffs(on) == []


@runs
async def test_what_is_denied_is_not_done(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The model is told so, and concludes without."""
    async with stage(tmp_path, POLICY, script=MODEL) as on:
        call_id = await stop_at_the_email(on, command)
        why: dict[str, Json] = {"tool_call_id": call_id, "message": "Not before Monday."}
        await on.side.admin("POST", f"/sessions/{SESSION}/deny", why)
        report = (await start(on, command)).report

        assert str(report.get("text")).endswith(CONCLUDED), report
        assert report["sent"] == []
        assert b"Not before Monday." in on.back.requests[-1].body
        assert await handoffs(on) == []
