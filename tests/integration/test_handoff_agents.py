"""Agents that go round, or ask for what a human must approve, before their human: by the admin API
alone, in each dialect, streamed and not, and through a restart.

The simulated provider checks every history that it is sent.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.core.request import DialectName
from proxy.simulator import Script, ToolCall, Turn
from proxy.simulator.conversation import Conversation
from tests.integration.agent_kit import Agent, Cut
from tests.integration.kit import DIALECTS, Sidecar, sidecar
from tests.integration.test_webhooks import ENV, Receiver, receiving

FETCH = ToolCall("search", {"q": "/missing"})
MAIL = ToolCall("send_email", {"to": "a", "text": "hi"})
DONE = Turn(text="All done.")
HINT = "There is no such file; ask for the list."
HANDOFF = "limits: {on_limit: handoff}\n"
MESSAGE = HANDOFF + "handoff: {reply: message, message: Call Bob.}\n"
LADDER = "loops: {repeat: {warn: null, steer: null, final_answer: null, stop: 3}}\n"

each_dialect = pytest.mark.parametrize("dialect", DIALECTS)
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@dataclass
class Looper:
    """A model that fetches what is not there until somebody tells it better."""

    asked: int = 0

    def turn(self, conversation: Conversation) -> Turn:
        self.asked += 1
        return DONE if HINT in str(conversation) else Turn(tool_calls=(FETCH,))


async def cut(agent: Agent) -> Cut:
    """The agent goes on until it is refused."""
    for _ in range(20):
        try:
            await agent.step()
        except Cut as refused:
            return refused
    raise AssertionError("nobody stopped it")


async def waiting(car: Sidecar) -> dict[str, Any]:
    """The one thing that stands before a human."""
    found: Any = (await car.admin("GET", "/handoffs"))["handoffs"]
    (handoff,) = found
    assert isinstance(handoff, dict)
    return handoff


@each_dialect
@both
async def test_a_loop_is_put_before_a_human_whose_hint_ends_it(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Three times the same, then a person; the same session goes on from the same step."""
    async with sidecar(tmp_path, HANDOFF + LADDER, script=Looper()) as car:
        agent = Agent(car, dialect, stream)
        refused = await cut(agent)
        asked, handoff = len(car.sim.journal), await waiting(car)
        again = await cut(agent)
        state = await car.admin("POST", "/sessions/s1/guide", {"message": HINT})
        text = await agent.finish()

        assert refused.code == again.code == "awaiting_human"
        assert (handoff["code"], handoff["limit"]) == ("loop_detected", "loops.repeat")
        assert len(agent.ran) == asked == 3
        assert (state["state"], state["steps"]) == ("active", 3)
        assert text == "All done."
        assert agent.last is not None
        assert agent.last.headers["x-holdfast-step"] == "4"
        assert HINT not in str(agent.history)


@each_dialect
@both
async def test_a_loop_ends_with_the_message(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The agent takes it for its last answer; started again, it is told the same, unpaid."""
    async with sidecar(tmp_path, MESSAGE + LADDER, script=Looper()) as car:
        agent = Agent(car, dialect, stream)
        text = await agent.finish()
        asked = len(car.sim.journal)

        assert (text, asked) == ("Call Bob.", 3)
        agent.history.append({"role": "user", "content": "And now?"})
        assert await agent.finish() == "Call Bob."
        assert len(car.sim.journal) == asked
        await car.admin("POST", "/sessions/s1/guide", {"message": HINT})
        assert await agent.finish() == "All done."


async def test_more_room_lets_a_loop_go_on_for_as_long_again(tmp_path: Path) -> None:
    """Whoever extends has looked: it is counted anew, from the result that it comes back with."""
    async with sidecar(tmp_path, HANDOFF + LADDER, script=Looper()) as car:
        agent = Agent(car, "chat", False)
        await cut(agent)
        await car.admin("POST", "/sessions/s1/extend", {"steps": 1})
        await cut(agent)

        assert len(agent.ran) == 3 + 2
        assert (await waiting(car))["limit"] == "loops.repeat"


APPROVE = "tools: {require_approval: ['send_*']}\n"


@each_dialect
@both
async def test_a_human_approves_what_the_webhook_told_of(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """From the message on a phone to the mail that is sent, once."""
    script = Script((Turn(tool_calls=(MAIL,)), DONE))
    async with receiving(Receiver()) as receiver:
        hook = f"handoff: {{webhook: {{url: '{receiver.url}', secret_env: HOOK_SECRET}}}}\n"
        async with sidecar(tmp_path, APPROVE + hook, script=script, env=ENV) as car:
            agent = Agent(car, dialect, stream)
            refused = await cut(agent)
            (post,) = await receiver.got(1)
            told: Any = post.json["data"]
            call = told["tool_call"]
            shown = await waiting(car)
            body = {"tool_call_id": call["id"]}
            await car.admin("POST", f"/sessions/{told['session']}/approve", body)
            text = await agent.finish()

            assert refused.code == "awaiting_human"
            assert f"holdfast sessions approve s1 {call['id']}" in str(refused)
            assert (call["tool"], told["code"]) == ("send_email", shown["code"])
            assert '"to"' in call["arguments"]
            assert shown["tool_call"] == call
            assert (text, len(agent.sent)) == ("All done.", 1)
            assert (await car.admin("GET", "/handoffs"))["handoffs"] == []


@each_dialect
@both
async def test_what_a_human_denies_by_the_api_the_model_is_told(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    script = Script((Turn(tool_calls=(MAIL,)), DONE))
    async with sidecar(tmp_path, APPROVE, script=script) as car:
        agent = Agent(car, dialect, stream)
        await cut(agent)
        call = (await waiting(car))["tool_call"]
        denial = {"tool_call_id": call["id"], "message": "Not to him."}
        await car.admin("POST", "/sessions/s1/deny", denial)
        text = await agent.finish()

        assert (text, agent.sent) == ("All done.", [])
        assert b"Not to him." in car.sim.journal[-1].body


@asynccontextmanager
async def twice(folder: Path, policy: str, script: Any) -> AsyncIterator[tuple[Sidecar, Sidecar]]:
    """A sidecar, and after it another on the same ledger, before one provider."""
    store = f"sqlite:///{folder}/ledger.db"
    async with (
        sidecar(folder, policy, script=script, store=store) as first,
        sidecar(folder, policy, upstream=first.sim.url, store=store) as second,
    ):
        yield first, second


@pytest.mark.parametrize("approve", [True, False])
async def test_another_process_on_the_ledger_hears_the_answer(
    tmp_path: Path, approve: bool
) -> None:
    """One handed it over, the human asks the other, and the agent goes on at the first."""
    script = Script((Turn(tool_calls=(MAIL,)), DONE))
    async with twice(tmp_path, APPROVE, script) as (first, second):
        agent = Agent(first, "chat", False)
        await cut(agent)
        call = (await waiting(second))["tool_call"]
        action = "approve" if approve else "deny"
        await second.admin("POST", f"/sessions/s1/{action}", {"tool_call_id": call["id"]})

        assert await agent.finish() == "All done."
        assert len(agent.sent) == approve


async def test_an_approval_outlives_a_restart(tmp_path: Path) -> None:
    """Asked, killed, approved elsewhere, and the mail is sent once."""
    script, store = Script((Turn(tool_calls=(MAIL,)), DONE)), f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, APPROVE, script=script, store=store) as car:
        agent = Agent(car, "messages", True)
        await cut(agent)
        call = (await waiting(car))["tool_call"]
    async with sidecar(tmp_path, APPROVE, script=Script((DONE,)), store=store) as car:
        agent.car = car
        assert (await cut(agent)).code == "awaiting_human"
        await car.admin("POST", "/sessions/s1/approve", {"tool_call_id": call["id"]})
        await agent.finish()

        assert len(agent.sent) == 1
