"""Guarded tools and claims with several workers on one ledger, and with workers that are killed."""

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from proxy.simulator import Script, Simulator, ToolCall, Turn
from tests.integration.agent_kit import Agent, Cut
from tests.integration.crew_kit import Client, crew, serving
from tests.integration.kit import body_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

GUARD = "tools: {side_effects: ['send_*']}\n"
MAIL = Turn(tool_calls=(ToolCall("send_email", {"to": "a"}),))
CLAIM: Any = {"session": "s1", "tool": "send_email", "arguments": {"to": "a"}}


async def claim(client: Client, method: str = "POST", **more: Any) -> Any:
    body = {**CLAIM, **more}
    return json.loads((await client.send("/v1/holdfast/claims", body, method=method)).body)


async def test_two_workers_grant_a_claim_once(tmp_path: Path) -> None:
    async with crew(tmp_path, 2) as (on, _):
        for session in range(5):
            asked = [claim(on, session=f"c{session}") for _ in range(100)]
            said = sorted([one["claim"] for one in await asyncio.gather(*asked)])

            assert said == ["granted"] + ["in_progress"] * 99


async def test_a_result_that_one_worker_was_told_is_known_to_the_other(tmp_path: Path) -> None:
    async with crew(tmp_path, 2) as (on, _):
        one, other = await on.pinned(2)
        first, second = await claim(one), await claim(other)
        await claim(other, "PUT", result="sent")
        done = await claim(one)

        assert (first["claim"], second["claim"]) == ("granted", "in_progress")
        assert done == {"claim": "done", "result": "sent"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_duplicate_on_another_worker_is_seen(tmp_path: Path, stream: bool) -> None:
    """Also by a worker that knew the session before the mail was sent."""
    script = Script((MAIL, MAIL, Turn(text="Done.")))
    async with crew(tmp_path, 2, GUARD, script) as (on, _):
        one, other = await on.pinned(2)
        await other.call(session="s1")
        agent = Agent(one, "chat", stream)
        await agent.step()
        agent.car = other
        text = await agent.finish()
        again = Agent(one, "messages", not stream)
        await again.finish()

        assert text == "Done."
        assert (len(agent.sent), len(again.sent)) == (1, 0)


async def test_after_kill_9_nothing_is_sent_or_granted_again(tmp_path: Path) -> None:
    """Agent and sidecar die together; both begin anew."""
    script = Script((MAIL, Turn(text="Done.")))
    async with Simulator(script=script, seed=1) as sim:
        async with serving(tmp_path, sim.url, 2, policy=GUARD) as on:
            agent = Agent(on, "responses", True)
            await agent.finish()
            await claim(on, tool="pay")
            for pid in on.pids():
                os.kill(pid, signal.SIGKILL)
            os.kill(on.process.pid, signal.SIGKILL)
            await on.process.wait()
        async with serving(tmp_path, sim.url, 1, policy=GUARD) as on:
            again = Agent(on, "responses", True)
            text = await again.finish()
            paid, mailed = await claim(on, tool="pay"), await claim(on)

            assert (len(agent.sent), len(again.sent), text) == (1, 0, "Done.")
            assert (paid["claim"], mailed["claim"]) == ("in_progress", "done")


async def test_a_call_that_was_handed_is_known_though_its_answer_never_ended(
    tmp_path: Path,
) -> None:
    """An agent may act on a streamed call at once: what it was given is written down before."""
    long = ToolCall("search", {"q": "a long question " * 50})
    slow = Turn(tool_calls=(*MAIL.tool_calls, long), chunk_gap_seconds=0.05)
    script = Script((slow, MAIL, Turn(text="Done.")))
    async with Simulator(script=script, seed=1) as sim:
        async with serving(tmp_path, sim.url, 1, policy=GUARD) as on:
            agent = Agent(on, "chat", True)
            body: Any = {
                **body_of("chat", stream=True, tools=agent.tools),
                "messages": agent.history,
            }
            body["max_completion_tokens"] = 5_000
            url = f"{on.url}/s/s1/v1/chat/completions"
            headers = {"authorization": "Bearer key-1"}
            async with on.http.post(url, json=body, headers=headers) as response:
                seen = b""
                while b'"search"' not in seen:
                    seen += await response.content.readany()
                os.kill(on.process.pid, signal.SIGKILL)
                await on.process.wait()
        call_id = re.findall(rb'"id":"(call_\w+)"', seen.replace(b": ", b":"))[0].decode()
        called = {"name": "send_email", "arguments": '{"to": "a"}'}
        call = {"id": call_id, "type": "function", "function": called}
        async with serving(tmp_path, sim.url, 1, policy=GUARD) as on:
            agent = Agent(on, "chat", True)
            agent.history += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call_id, "content": "sent"},
            ]
            text = await agent.finish()

            assert (text, agent.ran) == ("Done.", [])


async def test_a_result_that_came_elsewhere_meanwhile_counts(tmp_path: Path) -> None:
    """Two workers carry calls of one session out; one is told of the mail while the other waits
    for its model."""
    async with crew(tmp_path, 2, GUARD, Script((MAIL, Turn(text="Done.")))) as (on, sim):
        one, other = await on.pinned(2)
        before = len(sim.journal)
        slow = Agent(other, "chat", False, headers={"x-sim-fault": "slow_head=1.5"})
        waiting = asyncio.ensure_future(slow.step())
        await sim.wait_for(lambda sim: len(sim.journal) == before + 1)
        quick = Agent(one, "chat", False)
        await quick.finish()
        text = await waiting

        assert (text, len(quick.sent), slow.sent) == ("Done.", 1, [])


async def test_a_call_that_one_worker_handed_is_claimed_at_another(tmp_path: Path) -> None:
    async with crew(tmp_path, 2, GUARD, Script((MAIL, Turn(text="Done.")))) as (on, _):
        one, other = await on.pinned(2)
        await other.call(session="s1")
        _, (call,), _ = await Agent(one, "chat", False).ask()
        body: Any = {"session": "s1", "tool_call_id": call.call_id}
        said = [
            json.loads((await worker.send("/v1/holdfast/claims", body)).body)["claim"]
            for worker in (other, one)
        ]

        assert said == ["granted", "in_progress"]


async def test_a_session_that_began_at_one_worker_is_of_its_tree_at_another(
    tmp_path: Path,
) -> None:
    policy = "tools: {side_effects: ['send_*'], scope: tree}\n"
    async with crew(tmp_path, 2, policy) as (on, _):
        one, other = await on.pinned(2)
        await claim(other, session="kid", tool="other")
        await one.call(session="root/kid")
        said = [(await claim(other, session=name))["claim"] for name in ("kid", "root")]

        assert said == ["granted", "in_progress"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_of_two_workers_one_hands_out_what_a_human_approved(
    tmp_path: Path, stream: bool
) -> None:
    """Two calls of a session come to it at the same time, at different workers."""
    policy = "tools: {require_approval: ['send_*']}\n"
    async with crew(tmp_path, 2, policy, Script((MAIL, Turn(text="Done.")))) as (on, _):
        workers = await on.pinned(2)
        for number in range(8):
            session = f"s{number}"
            with pytest.raises(Cut):
                await Agent(workers[0], "chat", stream, session=session).step()
            listed: Any = (await on.admin("GET", "/handoffs"))["handoffs"]
            (held,) = [one["tool_call"]["id"] for one in listed if one["session"] == session]
            await on.admin("POST", f"/sessions/{session}/approve", {"tool_call_id": held})
            agents = [
                Agent(worker, "chat", stream, session, headers={"x-sim-fault": "slow_head=0.1"})
                for worker in workers
            ]
            for place, agent in enumerate(agents):
                agent.history = [{"role": "user", "content": f"hi {place}"}]
            await asyncio.gather(*[agent.step() for agent in agents], return_exceptions=True)

            assert [len(agent.sent) for agent in agents] in ([0, 1], [1, 0])
