"""What a guarded tool call did is not done again by an agent that started again."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.core.request import DialectName
from proxy.simulator import Script, ToolCall, Turn
from tests.integration.agent_kit import Agent, Called, Cut
from tests.integration.kit import Sidecar, sidecar
from tests.integration.test_resume import CALLS, kinds, process, told

POLICY = 'tools: {side_effects: ["send_*"]}\n'
MAIL = ToolCall("send_email", json.dumps({"to": "a@b.c"}))
OTHER = ToolCall("send_email", json.dumps({"to": "d@e.f"}))


def looks(n: int) -> ToolCall:
    return ToolCall("search", json.dumps({"q": str(n)}))


SCRIPT = Script(
    (
        Turn(tool_calls=(looks(0),)),
        Turn(tool_calls=(MAIL,)),
        Turn(tool_calls=(looks(1),)),
        Turn(tool_calls=(looks(2),)),
        Turn(text="The end."),
    )
)


async def run(
    on: Sidecar, dialect: DialectName, *, stream: bool, steps: int, resume: bool = True
) -> tuple[Agent, list[str]]:
    """A process that is killed after so many steps, or at its end. What it was told of each."""
    said = []
    async with process(on) as by:
        agent = Agent(by, dialect, stream, resume=resume)
        for _ in range(steps):
            end = await agent.step()
            assert agent.last is not None
            said.append(agent.last.headers["x-holdfast-replay"] if resume else "")
            if end is not None:
                break
    return agent, said


@CALLS
async def test_a_mail_that_was_sent_is_left_out_of_what_is_given_again(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Its turn is skipped: the answer to its result comes instead, and all that follows."""
    async with sidecar(tmp_path, POLICY, script=SCRIPT) as on:
        first, _ = await run(on, dialect, stream=stream, steps=5, resume=False)
        again, said = await run(on, dialect, stream=stream, steps=9)

        assert (len(first.sent), len(again.sent)) == (1, 0)
        assert said == ["replayed"] * 4
        assert [call.arguments["q"] for call in again.ran] == ["0", "1", "2"]
        assert len(on.sim.journal) == 5
        events = (await on.admin("GET", "/sessions/s1/events"))["events"]
        assert isinstance(events, list)
        given = [
            (e["step"], e.get("how", "exact"))
            for e in events
            if isinstance(e, dict) and e["type"] == "StepReplayed"
        ]
        assert given == [
            *((1, "exact"), (2, "skipped"), (3, "exact"), (4, "messages"), (5, "messages"))
        ]


@CALLS
async def test_a_call_whose_result_the_model_has_not_answered_goes_on_under_the_guard(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """It was killed while the next call was in flight: there is no answer to give instead."""
    async with sidecar(tmp_path, POLICY, script=SCRIPT) as on:
        async with process(on) as by:
            agent = Agent(by, dialect, stream)
            await agent.step()
            await agent.step()
            on.sim.fail("slow_head=30")
            last = asyncio.ensure_future(agent.step())
            await on.sim.wait_for(lambda sim: len(sim.journal) == 3)
            last.cancel()
            await asyncio.wait([last])
        assert len(agent.sent) == 1
        on.sim.heal()

        again, said = await run(on, dialect, stream=stream, steps=9)

        assert len(again.sent) == 0
        why = "step 2 asks for a tool call that was carried out"
        assert said[:2] == ["replayed", f"live; why={why}"]


async def test_who_claims_its_calls_is_given_them_again(tmp_path: Path) -> None:
    """The executor asks before it acts, and is told what came of it."""
    async with sidecar(tmp_path, POLICY, script=SCRIPT) as on:

        async def claimed(call_id: str) -> str:
            body: Any = {"session": "s1", "tool_call_id": call_id}
            return str((await on.send("/v1/holdfast/claims", body)).json["claim"])

        async with process(on) as by:
            agent = Agent(by, "chat", False)
            await agent.step()
            _, (call,), _ = await agent.ask()
            assert await claimed(call.call_id) == "granted"
            body: Any = {"session": "s1", "tool_call_id": call.call_id, "result": "sent"}
            await on.send("/v1/holdfast/claims", body, method="PUT")
        async with process(on) as by:
            agent = Agent(by, "chat", False, resume=True)
            await agent.step()
            _, (again,), _ = await agent.ask()
            last = agent.last

        assert last is not None
        assert told([last]) == [("replay", "replayed", "2")]
        assert again == call
        assert await claimed(again.call_id) == "done"


async def test_a_call_without_a_result_is_given_again(tmp_path: Path) -> None:
    """Killed while the tool ran: nobody knows whether it was carried out."""
    async with sidecar(tmp_path, POLICY, script=SCRIPT) as on:
        first, _ = await run(on, "chat", stream=False, steps=2, resume=False)
        again, said = await run(on, "chat", stream=False, steps=2)

        assert said == ["replayed"] * 2
        assert (len(first.sent), len(again.sent)) == (1, 1)


async def test_a_turn_with_other_calls_beside_it_is_left_out_whole(tmp_path: Path) -> None:
    script = Script(
        (Turn(tool_calls=(looks(0), MAIL)), Turn(tool_calls=(looks(1),)), Turn(text="The end."))
    )
    async with sidecar(tmp_path, POLICY, script=script) as on:
        await run(on, "chat", stream=False, steps=3, resume=False)
        again, said = await run(on, "chat", stream=False, steps=9)

        assert said == ["replayed"] * 2
        assert [call.arguments for call in again.ran] == [{"q": "1"}]
        assert len(on.sim.journal) == 3


async def test_several_in_a_row_are_left_out(tmp_path: Path) -> None:
    script = Script(
        (
            *(Turn(tool_calls=(MAIL,)), Turn(tool_calls=(OTHER,)), Turn(tool_calls=(looks(1),))),
            Turn(text="The end."),
        )
    )
    async with sidecar(tmp_path, POLICY, script=script) as on:
        first, _ = await run(on, "chat", stream=False, steps=4, resume=False)
        again, said = await run(on, "chat", stream=False, steps=9)

        assert (len(first.sent), len(again.sent)) == (2, 0)
        assert said == ["replayed"] * 2
        assert len(on.sim.journal) == 4


async def test_a_run_that_was_not_given_a_mail_may_be_killed_as_well(tmp_path: Path) -> None:
    """After every of its steps in turn; what it then does live is recorded without the mail."""
    async with sidecar(tmp_path, POLICY, script=SCRIPT) as on:
        first, _ = await run(on, "chat", stream=False, steps=4, resume=False)
        sent = len(first.sent)
        for steps in (1, 2, 3, 4, 5):
            again, said = await run(on, "chat", stream=False, steps=steps)
            sent += len(again.sent)
            assert said[:3] == ["replayed"] * min(steps, 3)

        assert sent == 1


async def test_a_tree_knows_what_its_sessions_have_done(tmp_path: Path) -> None:
    """With `scope: tree` a child does not do again what another has done since."""
    policy = 'tools: {side_effects: ["send_*"], scope: tree}\n'
    script = Script((Turn(tool_calls=(MAIL,)), Turn(tool_calls=(looks(1),)), Turn(text="Done.")))
    headers = {"x-holdfast-parent": "root"}
    async with sidecar(tmp_path, policy, script=script) as on:
        async with process(on) as by:
            agent = Agent(by, "chat", False, session="kid", headers=headers)
            await agent.finish()
        async with process(on) as by:
            again = Agent(by, "chat", False, session="kid", headers=headers, resume=True)
            await again.finish()

        assert (len(agent.sent), len(again.sent)) == (1, 0)
        assert len(on.sim.journal) == 3
        assert await kinds(on, "StepReplayed", "kid") == ["StepReplayed"] * 3


@pytest.mark.parametrize("guard", ["", POLICY])
async def test_tools_that_are_not_guarded_are_handed_again(tmp_path: Path, guard: str) -> None:
    """Their agent knows what it does: its tool-call ids are the ones it had."""
    script = Script((Turn(tool_calls=(looks(0),)), Turn(text="The end.")))
    ran: list[Called] = []
    async with sidecar(tmp_path, guard, script=script) as on:
        for resume in (False, True):
            agent, _ = await run(on, "chat", stream=False, steps=2, resume=resume)
            ran += agent.ran

    assert ran[0] == ran[1]


@CALLS
async def test_an_answer_that_its_agent_was_refused_is_not_given_again(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Of a stream the beginning had been given, then an error: kept and replayed, it would be a
    stream that ends without its end, and looks finished to some."""
    policy = 'tools: {side_effects: ["send_*"], max_replays: 1}\n'
    script = Script((Turn(tool_calls=(MAIL,)), Turn(text="I will.", tool_calls=(MAIL,))))
    async with sidecar(tmp_path, policy, script=script) as on:
        agent = Agent(on, dialect, stream)
        await agent.step()
        with pytest.raises(Cut) as first:
            await agent.step()
        async with process(on) as by:
            again = Agent(by, dialect, stream, resume=True)
            again.history = [*agent.history]
            with pytest.raises(Cut) as second:
                await again.step()

        assert first.value.code == second.value.code == "duplicate_side_effect"
        assert len(agent.sent) == 1


@CALLS
@pytest.mark.parametrize("rule", ["deny", "require_approval"])
async def test_what_the_policy_has_come_to_forbid_is_not_handed_again(
    tmp_path: Path, dialect: DialectName, stream: bool, rule: str
) -> None:
    """The record is from before: the call goes on live, under the guard."""
    script = Script((Turn(tool_calls=(MAIL,)), Turn(text="The end.")))
    async with sidecar(tmp_path, script=script) as on:
        await run(on, dialect, stream=stream, steps=1, resume=False)
        file = tmp_path / "policy.yaml"
        file.write_text(file.read_text() + f'tools: {{{rule}: ["send_*"]}}\n')
        await on.admin("POST", "/policy/reload")
        async with process(on) as by:
            again = Agent(by, dialect, stream, resume=True)
            with suppress(Cut):
                await again.step()

        assert again.last is not None
        why = "step 1 asks for send_email, which was handed out more freely"
        assert again.last.headers["x-holdfast-replay"] == f"live; why={why}"
        assert again.sent == []


async def test_what_a_human_has_approved_is_handed_again(tmp_path: Path) -> None:
    script = Script((Turn(tool_calls=(MAIL,)), Turn(text="The end.")))
    async with sidecar(tmp_path, 'tools: {require_approval: ["send_*"]}\n', script=script) as on:
        agent = Agent(on, "chat", False)
        with pytest.raises(Cut):
            await agent.step()
        handoffs: Any = (await on.admin("GET", "/handoffs"))["handoffs"]
        call_id = handoffs[0]["tool_call"]["id"]
        await on.admin("POST", "/sessions/s1/approve", {"tool_call_id": call_id})
        await agent.step()
        assert len(agent.sent) == 1
        again, said = await run(on, "chat", stream=False, steps=1)

        assert said == ["replayed"]
        assert len(again.sent) == 1


@pytest.mark.parametrize("verb", ["pause", "kill"])
async def test_a_child_of_a_session_that_was_stopped_is_given_nothing(
    tmp_path: Path, verb: str
) -> None:
    script = Script((Turn(tool_calls=(looks(0),)), Turn(text="The end.")))
    headers = {"x-holdfast-parent": "root"}
    async with sidecar(tmp_path, script=script) as on:
        async with process(on) as by:
            await Agent(by, "chat", False, session="kid", headers=headers).step()
        await on.admin("POST", f"/sessions/root/{verb}")
        async with process(on) as by:
            again = Agent(by, "chat", False, session="kid", headers=headers, resume=True)
            with pytest.raises(Cut) as cut:
                await again.step()

        assert cut.value.code == f"session_{'paused' if verb == 'pause' else 'killed'}"
        assert await kinds(on, "StepReplayed", "kid") == []
