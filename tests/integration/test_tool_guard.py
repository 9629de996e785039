"""Tools whose calls are guarded, through a whole sidecar: each dialect, streamed and not.

The simulated provider checks every history it is sent as the real ones do: a call without its
result, a result without its call, or either out of order, is a 400.
"""

import asyncio
import json
import random
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from proxy.core.events import HandoffAnswered
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.simulator import Script, ToolCall, Turn
from proxy.simulator.script import Match
from tests.integration.agent_kit import Agent, Called, Cut
from tests.integration.kit import DIALECTS, Answer, Sidecar, frames, sidecar

MAIL = ToolCall("send_email", {"to": "a", "text": "hi"})
OTHER = ToolCall("send_email", {"to": "b", "text": "hi"})
SEARCH = ToolCall("search", {"q": "x"})
GUARD = "tools: {side_effects: ['send_*']}\n"
REJECT = "tools: {side_effects: ['send_*'], on_duplicate: reject}\n"
DONE = Turn(text="All done.")

every = [
    pytest.mark.parametrize("dialect", DIALECTS),
    pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"]),
]


def each(test: Any) -> Any:
    for mark in every:
        test = mark(test)
    return test


def script(*turns: Turn) -> Script:
    return Script(turns)


def asks(*calls: ToolCall, text: str = "") -> Turn:
    return Turn(tool_calls=calls, text=text)


def bodies(car: Sidecar) -> list[dict[str, Any]]:
    return [json.loads(entry.body) for entry in car.sim.journal]


def results(body: dict[str, Any]) -> list[tuple[str, str]]:
    """The results in a request's history, by call id, in order."""
    found = []
    for item in body.get("messages") or body["input"]:
        if item.get("role") == "tool":
            found.append((item["tool_call_id"], item["content"]))
        elif item.get("type") == "function_call_output":
            found.append((item["call_id"], item["output"]))
        elif isinstance(item.get("content"), list):
            for block in item["content"]:
                if block["type"] == "tool_result":
                    found.append((block["tool_use_id"], block["content"]))
    return found


async def state_of(car: Sidecar, session: str = "s1") -> dict[str, Any]:
    return await car.admin("GET", f"/sessions/{session}")


@each
async def test_a_mail_asked_for_again_is_sent_once_and_the_model_is_told(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The promise: the agent is handed it once, the model gets the recorded result."""
    turns = script(asks(MAIL), asks(MAIL), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        agent = Agent(car, dialect, stream)
        text = await agent.finish()
        shown = await state_of(car)

        assert (text, len(agent.sent)) == ("All done.", 1)
        assert len(car.sim.journal) == 3
        assert [entry.status for entry in car.sim.journal] == [200] * 3
        assert shown["steps"] == 2
        assert [said for _, said in results(bodies(car)[2])] == ["result of send_email"] * 2
        assert shown["held_usd"] == 0


@each
async def test_what_is_replayed_is_paid_for_in_the_step_that_asked(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The provider billed three answers; the client saw two."""
    turns = script(asks(MAIL), asks(MAIL), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        await Agent(car, dialect, stream).finish()
        shown = await state_of(car)
        totals = car.sim.totals

        billed = totals.input_tokens + 2 * totals.output_tokens
        assert round(float(shown["cost_usd"]) * 1e6) == billed
        assert "holdfast_overspend_usd_total{" not in car.app.metrics.render().decode()


@each
async def test_of_two_equal_mails_in_one_turn_one_is_sent(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    turns = script(asks(MAIL, SEARCH, MAIL, text="Two mails."), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        agent = Agent(car, dialect, stream)
        text = await agent.finish()
        (_, second) = bodies(car)

        assert (text, [call.name for call in agent.ran]) == (
            "All done.",
            ["send_email", "search"],
        )
        told = results(second)
        assert len(told) == len({call_id for call_id, _ in told}) == 3
        assert sorted(said for _, said in told) == [
            "result of search", "result of send_email", "result of send_email",
        ]  # fmt: skip


@each
async def test_a_duplicate_beside_a_fresh_call_is_put_back_with_its_result(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    turns = script(asks(MAIL), asks(MAIL, SEARCH), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        agent = Agent(car, dialect, stream)
        text = await agent.finish()
        third = bodies(car)[2]

        assert (text, len(agent.sent), len(agent.ran)) == ("All done.", 1, 2)
        assert len(car.sim.journal) == 3
        assert len(results(third)) == 3
        assert [said for _, said in results(third)].count("result of send_email") == 2


@each
async def test_other_arguments_are_another_mail(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, GUARD, script=script(asks(MAIL), asks(OTHER), DONE)) as car:
        agent = Agent(car, dialect, stream)
        await agent.finish()

        assert [sent["to"] for sent in agent.sent] == ["a", "b"]


@each
async def test_after_a_restart_of_agent_and_sidecar_nothing_is_sent_again(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    turns = script(asks(MAIL, OTHER), asks(MAIL), DONE)
    store = f"sqlite:///{tmp_path / 'h.db'}"
    async with sidecar(tmp_path, GUARD, script=turns, store=store) as car:
        agent = Agent(car, dialect, stream)
        await agent.step()
        await agent.step()
    async with sidecar(tmp_path, GUARD, script=turns, store=store) as car:
        again = Agent(car, dialect, stream)
        text = await again.finish()

        assert (len(agent.sent), len(again.sent), text) == (2, 0, "All done.")
        assert [entry.status for entry in car.sim.journal] == [200] * 3


@each
async def test_a_duplicate_is_rejected_where_the_policy_says_so(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, REJECT, script=script(asks(MAIL), asks(MAIL), DONE)) as car:
        agent = Agent(car, dialect, stream)
        await agent.step()
        with pytest.raises(Cut) as cut:
            await agent.step()
        shown = await state_of(car)

        assert (cut.value.code, cut.value.answer.status) == ("duplicate_side_effect", 422)
        assert cut.value.answer.headers["x-should-retry"] == "false"
        assert len(agent.sent) == 1
        assert shown["held_usd"] == 0


@each
async def test_a_model_that_does_not_listen_is_refused_in_the_end(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    policy = "tools: {side_effects: ['send_*'], max_replays: 2}\n"
    async with sidecar(tmp_path, policy, script=script(asks(MAIL))) as car:
        agent = Agent(car, dialect, stream)
        await agent.step()
        with pytest.raises(Cut) as cut:
            await agent.step()

        assert cut.value.code == "duplicate_side_effect"
        assert (len(agent.sent), len(car.sim.journal)) == (1, 4)


@each
async def test_a_denied_tool_is_neither_offered_nor_handed(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    policy = "tools: {deny: ['send_*']}\n"
    async with sidecar(tmp_path, policy, script=script(asks(MAIL), DONE)) as car:
        agent = Agent(car, dialect, stream)
        with pytest.raises(Cut) as cut:
            await agent.step()
        (sent,) = bodies(car)

        assert (cut.value.code, cut.value.answer.status) == ("denied_tool", 403)
        assert agent.ran == []
        names = [tool.get("name") or tool["function"]["name"] for tool in sent["tools"]]
        assert names == ["search"]


@each
async def test_other_tools_pass_byte_for_byte(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """A guarded agent's healthy traffic is what it would be without the guard."""
    turns = script(asks(SEARCH, text="Let me see."), asks(SEARCH, SEARCH), DONE)
    seen: list[Any] = []
    for policy in ("", GUARD):
        async with sidecar(tmp_path, policy, script=turns) as car:
            agent = Agent(car, dialect, stream)
            bodies_seen: list[bytes] = []
            for _ in range(3):
                await agent.step()
                assert agent.last is not None
                bodies_seen.append(agent.last.body)
            seen.append((bodies_seen, [entry.body for entry in car.sim.journal]))

    assert _undated(seen[0]) == _undated(seen[1])


def _undated(seen: object) -> bytes:
    return re.sub(rb'"(created|created_at|completed_at)": ?[0-9.]+', b"", repr(seen).encode())


async def test_the_result_is_told_as_the_agent_told_it(tmp_path: Path) -> None:
    def tool(call: Called) -> str:
        return json.dumps({"sent": call.arguments})

    async with sidecar(tmp_path, GUARD, script=script(asks(MAIL), asks(MAIL), DONE)) as car:
        agent = Agent(car, "chat", False, tool=tool)
        await agent.finish()

        assert results(bodies(car)[2])[1][1] == tool(agent.ran[0])


@pytest.mark.parametrize("scope", ["session", "tree"])
async def test_a_tree_sends_a_mail_once_if_the_policy_says_so(tmp_path: Path, scope: str) -> None:
    policy = f"tools: {{side_effects: ['send_*'], scope: {scope}}}\n"
    async with sidecar(tmp_path, policy, script=script(asks(MAIL), DONE)) as car:
        one = Agent(car, "chat", False, session="root/one")
        other = Agent(car, "messages", True, session="root/other")
        await one.finish()
        text = await other.finish()

        assert text == "All done."
        assert len(one.sent + other.sent) == (2 if scope == "session" else 1)


async def test_a_call_that_forces_a_denied_tool_is_refused_unsent(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "tools: {deny: [send_email]}\n", script=script(DONE)) as car:
        choice: Any = {"type": "function", "function": {"name": "send_email"}}
        refused = await car.call(tools=("send_email", "search"), tool_choice=choice)
        allowed = await car.call(tools=("send_email", "search"), tool_choice="required")
        nothing = await car.call(tools=("send_email",), tool_choice="required")

        assert (refused.status, refused.error["code"]) == (403, "denied_tool")
        assert (allowed.status, nothing.status) == (200, 403)
        assert len(car.sim.journal) == 1


async def test_several_choices_of_a_guarded_tool_are_refused(tmp_path: Path) -> None:
    async with sidecar(tmp_path, GUARD, script=script(DONE)) as car:
        refused = await car.call(tools=("send_email",), n=2)

        assert (refused.status, refused.error["param"]) == (400, "n")


async def test_without_room_for_another_attempt_the_client_is_told(tmp_path: Path) -> None:
    """Honestly: the answer was paid for, but it cannot go on."""
    policy = GUARD + "limits: {cost_usd: 0.004}\naccounting: {min_output_tokens: 1000}\n"
    async with sidecar(tmp_path, policy, script=script(asks(MAIL), asks(MAIL), DONE)) as car:
        agent = Agent(car, "chat", False)
        await agent.step()
        with pytest.raises(Cut) as cut:
            await agent.step()
        shown = await state_of(car)

        assert cut.value.code == "budget_exceeded"
        assert "send_email" in str(cut.value)
        assert len(car.sim.journal) == 2
        assert shown["held_usd"] == 0


APPROVE = "tools: {require_approval: ['send_*']}\n"


@each
async def test_a_call_waits_for_its_human_and_is_handed_once_approved(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The kept answer is given to who sends the same again, unpaid, as the same step."""
    async with sidecar(tmp_path, APPROVE, script=script(asks(SEARCH, MAIL), DONE)) as car:
        agent = Agent(car, dialect, stream)
        with pytest.raises(Cut) as cut:
            await agent.step()
        with pytest.raises(Cut) as again:
            await agent.step()
        held = await state_of(car)
        spent = held["cost_usd"]
        await human(car, "approve")
        await agent.step()
        shown = await state_of(car)

        assert cut.value.code == again.value.code == "awaiting_human"
        assert held["state"] == "awaiting_human"
        assert [call.name for call in agent.ran] == ["search", "send_email"]
        assert (shown["cost_usd"], shown["steps"], len(car.sim.journal)) == (spent, 1, 1)
        assert await agent.finish() == "All done."


@each
async def test_what_a_human_denies_is_told_to_the_model(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, APPROVE, script=script(asks(MAIL), DONE)) as car:
        agent = Agent(car, dialect, stream)
        with pytest.raises(Cut):
            await agent.step()
        await human(car, "deny", "Not now.")
        text = await agent.finish()
        told = results(bodies(car)[1])

        assert (text, agent.ran) == ("All done.", [])
        assert "Not now." in told[0][1]


@each
async def test_a_duplicate_may_be_asked_a_human_for(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    policy = "tools: {side_effects: ['send_*'], on_duplicate: ask}\n"
    turns = script(asks(MAIL), asks(MAIL), DONE)
    async with sidecar(tmp_path, policy, script=turns) as car:
        agent = Agent(car, dialect, stream)
        await agent.step()
        with pytest.raises(Cut) as cut:
            await agent.step()
        await human(car, "approve")
        await agent.finish()

        assert cut.value.code == "awaiting_human"
        assert len(agent.sent) == 2


async def human(car: Sidecar, action: Literal["approve", "deny"], message: str = "") -> None:
    """What the admin API writes down when a human has answered."""
    tenant = str((await state_of(car))["tenant"])
    key = SessionKey(tenant, "s1")
    (handoff,) = (await car.app.ledger.state(key)).handoffs
    assert handoff.held is not None
    assert handoff.held.tool == "send_email"
    answered = HandoffAnswered(
        at=1.0, handoff=handoff.handoff, action=action, message=message, held=handoff.held
    )
    await car.app.ledger.record(key, answered)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("beside", [(), (SEARCH,)], ids=["alone", "beside a search"])
async def test_a_history_that_the_provider_keeps_stays_valid(
    tmp_path: Path, stream: bool, beside: tuple[ToolCall, ...]
) -> None:
    """With previous_response_id a client sends results alone, for the response that it saw: also
    where what it saw is not the last that the provider answered."""
    turns = script(asks(MAIL), asks(MAIL, *beside), asks(SEARCH), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        agent = Agent(car, "responses", stream)
        text = None
        while text is None:
            _, calls, said = await agent.ask()
            text = None if calls else said
            assert agent.last is not None
            agent.extra = {"previous_response_id": _response_id(agent.last, stream)}
            agent.history = [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": agent.run(call),
                }
                for call in calls
            ]

        assert (text, len(agent.sent)) == ("All done.", 1)
        assert {entry.status for entry in car.sim.journal} == {200}


def _response_id(answer: Answer, stream: bool) -> str:
    """The first that the client hears of."""
    body = json.loads(frames(answer.body)[0][1])["response"] if stream else answer.json
    return str(body["id"])


async def test_what_the_guard_did_is_counted(tmp_path: Path) -> None:
    for turns in (script(asks(MAIL), asks(MAIL), DONE), script(asks(MAIL, MAIL), DONE)):
        async with sidecar(tmp_path, GUARD, script=turns) as car:
            agent = Agent(car, "chat", False)
            await agent.finish()
            text = car.app.metrics.render().decode()
            name = "dedupe" if len(turns.turns) == 2 else "replay"

            assert f'holdfast_decisions_total{{decision="{name}",reason=""}} 1.0' in text
            assert ('holdfast_replays_total{kind="result"} 1.0' in text) == (name == "replay")


@each
async def test_an_agent_may_be_told_in_words_that_a_human_is_asked(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """`reply: message`: a normal end, for an answer of which nothing has been shown."""
    policy = APPROVE + "handoff: {reply: message, message: I ask a colleague.}\n"
    async with sidecar(tmp_path, policy, script=script(asks(MAIL), DONE)) as car:
        agent = Agent(car, dialect, stream)
        text = await agent.finish()
        shown = await state_of(car)

        assert (text, agent.ran) == ("I ask a colleague.", [])
        assert (shown["state"], shown["held_usd"]) == ("awaiting_human", 0)


@pytest.mark.parametrize("seed", range(16))
async def test_whatever_is_asked_no_mail_is_sent_twice(tmp_path: Path, seed: int) -> None:
    """Turns of mails and searches in any mixture, streamed or not, over restarts of agent and
    sidecar: each mail is sent at most once, and every history is one that the provider takes."""
    chance = random.Random(seed)
    turns = [
        asks(
            *chance.choices((MAIL, OTHER, SEARCH), k=chance.randint(1, 4)),
            text=chance.choice(("", "I do it.")),
        )
        for _ in range(chance.randint(1, 5))
    ]
    dialect = chance.choice(DIALECTS)
    policy = "tools: {side_effects: ['send_*'], max_replays: 10}\nloops: off\n"
    sent: list[str] = []
    for _ in range(chance.randint(1, 3)):
        store = f"sqlite:///{tmp_path / 'h.db'}"
        async with sidecar(tmp_path, policy, script=script(*turns, DONE), store=store) as car:
            for _ in range(2):
                agent = Agent(car, dialect, stream=chance.random() < 0.5)
                for _ in range(chance.randint(1, 6)):
                    if await agent.step() is not None:
                        break
                await agent.ask()  # its last results have to reach us
                sent += [mail["to"] for mail in agent.sent]
            assert {entry.status for entry in car.sim.journal} == {200}

    assert len(sent) == len(set(sent))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_result_that_comes_while_the_turn_streams_counts(
    tmp_path: Path, dialect: DialectName
) -> None:
    """A turn may take minutes; its later calls are judged on what is known when they come."""
    long = ToolCall("search", {"q": "a long question " * 20})
    slow = Turn(tool_calls=(OTHER, long, MAIL), chunk_gap_seconds=0.02, match=Match(user="^slow$"))
    turns = script(slow, asks(MAIL), DONE)
    async with sidecar(tmp_path, GUARD, script=turns) as car:
        agent = Agent(car, dialect, True)
        agent.history = [{"role": "user", "content": "slow"}]
        streaming = asyncio.ensure_future(agent.step())
        key = SessionKey(str((await _handed(car, 1))["tenant"]), "s1")
        await Agent(car, dialect, False).finish()
        await streaming
        known = (await car.app.ledger.state(key)).tools

        assert [mail["to"] for mail in agent.sent] == ["b"]
        assert len(known.withheld) == 1


async def _handed(car: Sidecar, calls: int) -> dict[str, Any]:
    """The session, once the agent was handed so many guarded calls."""
    while True:
        await car.app.clock.sleep(0.01)
        if not car.sim.journal:
            continue
        shown = await state_of(car)
        key = SessionKey(str(shown["tenant"]), "s1")
        if len((await car.app.ledger.state(key)).tools.handed) >= calls:
            return shown
