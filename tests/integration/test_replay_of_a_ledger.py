"""The dry run of a ledger that a sidecar writes: what it says would have happened does happen."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.cli.main import main
from proxy.simulator import Script, ToolCall, Turn
from tests.integration.kit import Sidecar, sidecar

CALLS = 8
LOOPING = Script((Turn(tool_calls=(ToolCall("fetch", '{"q": "x"}'),)),))


async def play(on: Sidecar) -> list[int]:
    """An agent whose model asks for one call over and over; the status of each request."""
    messages: list[Json] = [{"role": "user", "content": "Go."}]
    statuses: list[int] = []
    for _ in range(CALLS):
        answer = await on.call(tools=("fetch",), messages=messages)
        statuses.append(answer.status)
        if answer.status != 200:
            break
        choices = answer.json["choices"]
        assert isinstance(choices, list)
        assert isinstance(choices[0], dict)
        message = choices[0]["message"]
        assert isinstance(message, dict)
        assert isinstance(message["tool_calls"], list)
        messages.append(message)
        for call in message["tool_calls"]:
            assert isinstance(call, dict)
            said = {"role": "tool", "tool_call_id": call["id"], "content": "404: no such page"}
            messages.append(said)
    return statuses


async def test_a_policy_does_to_an_agent_what_its_dry_run_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First only observed; then tried on its ledger, while the sidecar runs; then in force."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    policy = tmp_path / "strict.yaml"
    policy.write_text("loops: {repeat: {warn: 2, steer: null, final_answer: null, stop: 4}}\n")

    async with sidecar(tmp_path, "loops: observe", script=LOOPING, store=url) as on:
        assert await play(on) == [200] * CALLS
        words = ["replay", str(policy), "--from", url, "--json", "--list"]
        code = await asyncio.to_thread(main, words)

    assert code == 0
    (touched,) = json.loads(capsys.readouterr().out)["touched"]
    repeat = next(rule for rule in touched["rules"] if rule["rule"] == "loops.repeat")
    assert (touched["session"], touched["steps"]) == ("s1", CALLS)
    assert (repeat["rung"], repeat["step"], repeat["count"]) == ("stop", 5, 4)
    assert (repeat["steps_saved"], repeat["tools"]) == (CALLS - 4, ["fetch"])
    assert repeat["cost_saved_usd"] > 0

    async with sidecar(tmp_path, policy.read_text(), script=LOOPING) as on:
        assert await play(on) == [200] * 4 + [422]
