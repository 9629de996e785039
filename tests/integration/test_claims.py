"""Claims: "may I carry this call out?" is answered with yes exactly once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.simulator import Script, ToolCall, Turn
from tests.integration.agent_kit import Agent, Cut
from tests.integration.kit import Sidecar, sidecar
from tests.integration.test_tool_guard import human

CLAIMS = "/v1/holdfast/claims"
MAIL: dict[str, Any] = {"session": "s1", "tool": "send_email", "arguments": {"to": "a"}}


async def claim(car: Sidecar, **more: Any) -> Any:
    """What was answered, whatever its status."""
    return json.loads((await car.send(CLAIMS, {**MAIL, **more})).body)


async def tell(car: Sidecar, result: Any, **more: Any) -> Any:
    told: Any = {**MAIL, "result": result, **more}
    return json.loads((await car.send(CLAIMS, told, method="PUT")).body)


async def test_of_a_hundred_that_ask_at_once_one_is_granted(tmp_path: Path) -> None:
    async with sidecar(tmp_path, store=f"sqlite:///{tmp_path / 'h.db'}") as car:
        said = await asyncio.gather(*[claim(car) for _ in range(100)])

        assert sorted(one["claim"] for one in said) == ["granted"] + ["in_progress"] * 99


async def test_what_came_of_it_is_told_to_all_who_ask_later(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as car:
        granted = await claim(car)
        stored = await tell(car, {"id": 7})
        later = await claim(car, arguments='{ "to" : "a" }')
        again = await tell(car, "something else")

        assert granted["claim"] == "granted"
        assert granted["expires_at"] > 0
        for one in (stored, later, again):
            assert one == {"claim": "done", "result": {"id": 7}}


async def test_a_claim_is_one_sessions_and_one_tenants_and_one_calls(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as car:
        await claim(car)
        others: list[dict[str, Any]] = [
            {"session": "s2"}, {"arguments": {"to": "b"}}, {"tool": "pay"},
        ]  # fmt: skip
        said = [await claim(car, **other) for other in others]
        answer = await car.send(CLAIMS, MAIL, {"authorization": "Bearer key-2"})
        theirs = json.loads(answer.body)

        assert [one["claim"] for one in (*said, theirs)] == ["granted"] * 4


async def test_a_claim_outlives_the_sidecar(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'h.db'}"
    async with sidecar(tmp_path, store=store) as car:
        await claim(car)
        await claim(car, tool="pay")
        await tell(car, "sent")
    async with sidecar(tmp_path, store=store) as car:
        done, waiting = await claim(car), await claim(car, tool="pay")

        assert done == {"claim": "done", "result": "sent"}
        assert waiting["claim"] == "in_progress"


async def test_a_claim_nobody_answers_for_is_free_again_after_its_time(tmp_path: Path) -> None:
    """An executor that died would else have the call for ever."""
    async with sidecar(tmp_path, "deadline_seconds: 0.2\n") as car:
        first = await claim(car)
        async with asyncio.timeout(5):
            while (second := await claim(car))["claim"] == "in_progress":
                pass

        assert second["claim"] == "granted"
        assert second["expires_at"] > first["expires_at"]


async def test_the_model_is_given_what_an_executor_told(tmp_path: Path) -> None:
    """Though its agent died before it could bring the result."""
    mail = Turn(tool_calls=(ToolCall("send_email", {"to": "a"}),))
    script = Script((mail, Turn(text="Sent.")))
    policy = "tools: {side_effects: ['send_*']}\n"
    async with sidecar(tmp_path, policy, script=script) as car:
        agent = Agent(car, "chat", False)
        _, (call,), _ = await agent.ask()
        by_id: dict[str, Any] = {"session": "s1", "tool_call_id": call.call_id}
        granted = json.loads((await car.send(CLAIMS, by_id)).body)
        await car.send(CLAIMS, {**by_id, "result": {"ok": True}}, method="PUT")
        text = await Agent(car, "chat", False).finish()

        assert granted["claim"] == "granted"
        assert (text, (await claim(car))["claim"]) == ("Sent.", "done")
        told = json.loads(car.sim.journal[-1].body)["messages"][-1]
        assert json.loads(told["content"]) == {"ok": True}


async def test_what_an_agent_brought_is_done(tmp_path: Path) -> None:
    script = Script((Turn(tool_calls=(ToolCall("send_email", {"to": "a"}),)), Turn(text="Sent.")))
    policy = "tools: {side_effects: ['send_*']}\n"
    async with sidecar(tmp_path, policy, script=script) as car:
        await Agent(car, "messages", True).finish()
        done = await claim(car)

        assert done == {"claim": "done", "result": "result of send_email"}


async def test_in_a_tree_a_claim_is_of_all_its_sessions(tmp_path: Path) -> None:
    policy = "tools: {side_effects: ['send_*'], scope: tree}\n"
    async with sidecar(tmp_path, policy, script=Script((Turn(text="hi"),))) as car:
        await car.call(session="root/one")
        await car.call(session="root/two")
        said = [await claim(car, session=name) for name in ("one", "two", "root", "other")]

        assert [one["claim"] for one in said] == [
            "granted", "in_progress", "in_progress", "granted",
        ]  # fmt: skip


async def test_a_killed_session_is_granted_nothing_but_may_tell(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as car:
        await claim(car)
        await car.admin("POST", "/sessions/s1/kill")
        refused, told = await claim(car), await tell(car, "sent")

        assert refused["error"]["code"] == "session_killed"
        assert told["claim"] == "done"


async def test_a_denied_tool_is_granted_to_nobody(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "tools: {deny: ['send_*']}\n") as car:
        refused = await claim(car)

        assert refused["error"]["code"] == "denied_tool"


@pytest.mark.parametrize(
    ("method", "body", "status", "param"),
    [
        ("POST", {"tool": "t", "arguments": {}}, 400, "session"),
        ("POST", {"session": "a b", "tool": "t"}, 400, "session"),
        ("POST", {"session": "s1"}, 400, "tool"),
        ("POST", {"session": "s1", "tool_call_id": "nobody's"}, 404, "tool_call_id"),
        ("POST", {"session": "s1", "tool": "t", "arguments": [1]}, 400, "arguments"),
        ("PUT", {"session": "s1", "tool": "t"}, 400, "result"),
        ("PUT", {"session": "s1", "tool": "t", "result": "x" * 70_000}, 413, "result"),
        ("POST", {"session": "s1", "tool": 7}, 400, None),
        ("POST", b"{", 400, None),
        ("POST", b"[" * 5_000, 400, None),
        ("POST", b"\xff\xfe", 400, None),
        ("POST", b'{"session":"s1","tool":"t","arguments":{"a":"\xff"}}', 400, None),
        ("PUT", b'{"session":"s1","tool":"t","result":["\xff"]}', 400, None),
        ("POST", {"session": "s1", "tool": "t" * 513}, 400, "tool"),
        ("POST", {"session": "s1", "tool": "t", "tool_call_id": "c" * 513}, 400, "tool_call_id"),
        ("DELETE", {}, 405, None),
        ("GET", b"", 405, None),
    ],
)
async def test_what_is_no_claim_is_told_why(
    tmp_path: Path, method: str, body: Any, status: int, param: str | None
) -> None:
    async with sidecar(tmp_path) as car:
        refused = await car.send(CLAIMS, body, method=method)

        assert (refused.status, refused.error["param"]) == (status, param)
        assert car.sim.journal == ()


async def test_nothing_under_holdfast_goes_to_a_provider(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as car:
        refused = await car.send("/v1/holdfast/other", {}, method="GET")

        assert (refused.status, car.sim.journal) == (404, ())


async def test_a_session_that_was_claimed_in_first_begins_with_its_first_call(
    tmp_path: Path,
) -> None:
    """What was claimed holds; whose the session is, and below which, says its first call."""
    async with sidecar(tmp_path) as car:
        await claim(car, session="kid")
        await car.call(session="root/kid", headers={"x-holdfast-agent": "triage"})
        again = await claim(car, session="kid")
        shown = await car.admin("GET", "/sessions/kid")

        assert (shown["parent"], shown["agent"], shown["steps"]) == ("root", "triage", 1)
        assert again["claim"] == "in_progress"


@pytest.mark.parametrize("scope", ["session", "tree"])
async def test_a_call_that_a_human_denied_is_granted_to_nobody(tmp_path: Path, scope: str) -> None:
    """Until the same call is approved."""
    policy = f"tools: {{require_approval: ['send_*'], scope: {scope}}}\n"
    mail = Turn(tool_calls=(ToolCall("send_email", {"to": "a"}),))
    async with sidecar(tmp_path, policy, script=Script((mail,))) as car:
        with pytest.raises(Cut):
            await Agent(car, "chat", False, session="root/s1").step()
        await human(car, "deny", "Not now.")
        denied, other = await claim(car), await claim(car, arguments={"to": "b"})

        assert (denied["claim"], denied["is_error"]) == ("done", True)
        assert "Not now." in denied["result"]
        assert other["claim"] == "granted"
