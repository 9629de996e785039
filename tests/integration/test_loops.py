"""Agents that go round in a loop, through a whole sidecar: each dialect, streamed and not.

The simulated provider checks every history that it is sent, and counts what it was asked.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.core.request import DialectName
from proxy.simulator import Simulator, ToolCall, Turn
from proxy.simulator.conversation import Conversation
from proxy.simulator.faults import parse_faults
from tests.integration.agent_kit import Agent, Called, Cut
from tests.integration.kit import DIALECTS, ONCE, Sidecar, sidecar

FETCH = ToolCall("fetch", {"path": "/missing"})
RING = (FETCH, ToolCall("search", {"q": "a"}), ToolCall("parse", {"doc": "a"}))
TOOLS = ("fetch", "search", "parse")
NOT_FOUND = "404: no such file"

each = pytest.mark.parametrize("dialect", DIALECTS)
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@dataclass
class Looper:
    """A model that always asks for the next of its calls. obeys: it calls nothing where it may not.
    turns: by how many requests it was asked."""

    calls: tuple[tuple[ToolCall, ...], ...] = ((FETCH,),)
    obeys: bool = True
    asked: int = 0
    says: Callable[[int], Turn | None] = lambda asked: None

    def turn(self, conversation: Conversation) -> Turn:
        said = self.says(self.asked)
        if said is not None:
            self.asked += 1
            return said
        if conversation.tool_choice == "none" and self.obeys:
            return Turn(text="I could not find it.")
        calls = self.calls[self.asked % len(self.calls)]
        self.asked += 1
        return Turn(tool_calls=calls)


def not_found(call: Called) -> str:
    return NOT_FOUND


def agent_of(
    car: Sidecar,
    dialect: DialectName = "chat",
    *,
    stream: bool = False,
    result: Callable[[Called], str] = not_found,
) -> Agent:
    return Agent(car, dialect, stream, "s1", TOOLS, result)


def decision(agent: Agent) -> str:
    assert agent.last is not None
    return agent.last.headers["x-holdfast-decision"]


def warning(agent: Agent) -> str | None:
    assert agent.last is not None
    return agent.last.headers.get("x-holdfast-warning")


def forwarded(car: Sidecar) -> list[str]:
    return [entry.body.decode() for entry in car.sim.journal]


async def steps(agent: Agent, most: int, then: str = "") -> Cut | None:
    """So many steps, or until the agent is refused. then: what the user says after each."""
    for _ in range(most):
        try:
            await agent.step()
        except Cut as cut:
            return cut
        if then:
            agent.history.append({"role": "user", "content": then})
    return None


async def stopped(agent: Agent, then: str = "") -> Cut:
    """Steps until the agent is refused."""
    cut = await steps(agent, 60, then)
    assert cut is not None
    return cut


@each
@both
async def test_a_model_that_repeats_itself_is_told_and_made_to_conclude(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Every rung but the last: the run ends by itself, with an answer."""
    async with sidecar(tmp_path, script=Looper()) as car:
        agent = agent_of(car, dialect, stream=stream)
        seen = []
        text = None
        while text is None:
            text = await agent.step()
            seen.append((decision(agent), warning(agent)))
        bodies = forwarded(car)
        shown = await car.admin("GET", "/sessions/s1")

    assert text == "I could not find it."
    assert seen == [
        *(("allow", None), ("allow", None), ("warn", "loops.repeat")),
        *(("steer", "loops.repeat"), ("final_answer", "loops.repeat")),
    ]
    told = ["was called 3 times in a row", "was called 4 times in a row"]
    assert ["gateway" in body for body in bodies] == [False, False, False, True, True]
    assert [text in body for text, body in zip(told, bodies[3:], strict=True)] == [True, True]
    assert NOT_FOUND not in bodies[3].split("gateway")[1]
    assert "gateway" not in json.dumps(agent.history)
    assert [json.loads(body)["tools"] for body in bodies] == [json.loads(bodies[0])["tools"]] * 5
    choices = [json.loads(body).get("tool_choice") for body in bodies]
    assert choices[:4] == [None] * 4
    assert choices[4] in ("none", {"type": "none"})
    assert (shown["steps"], shown["cycles"], shown["rung"]) == (5, 4, "final_answer")


@each
@both
async def test_a_model_that_does_not_listen_is_stopped(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Providers that do not know `none` exist: the ladder has an end."""
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        agent = agent_of(car, dialect, stream=stream)
        cut = await stopped(agent)
        again = await stopped(agent)
        calls = len(car.sim.journal)

    assert cut.code == again.code == "loop_detected"
    assert (cut.answer.status, calls, len(agent.ran)) == (422, 5, 5)
    facts = cut.answer.facts
    assert (facts["limit"], facts["max"], facts["used"]) == ("loops.repeat", 5, 5)
    assert "`fetch` was called 5 times in a row" in str(cut.answer.error["message"])
    assert cut.answer.headers["x-should-retry"] == "false"


@each
async def test_a_new_word_of_the_user_opens_a_stopped_session(
    tmp_path: Path, dialect: DialectName
) -> None:
    """A history that loops must not lock its user out for ever."""
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        agent = agent_of(car, dialect)
        await stopped(agent)
        agent.history.append({"role": "user", "content": "Look in /other instead."})

        await agent.step()

        assert decision(agent) == "allow"


@each
@both
async def test_a_way_round_of_three_calls_is_found(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """search, parse, call, error, search: no single call is repeated."""
    policy = "loops: {cycle: {final_answer: null}}"
    async with sidecar(tmp_path, policy, script=Looper(tuple((one,) for one in RING))) as car:
        agent = agent_of(car, dialect, stream=stream, result=lambda call: f"as ever: {call.name}")
        cut = await stopped(agent)
        calls = len(car.sim.journal)
        told = [body for body in forwarded(car) if "gateway" in body]

    assert (cut.code, cut.answer.facts["limit"], calls) == ("loop_detected", "loops.cycle", 15)
    assert len(told) == 1
    assert "`fetch` → `search` → `parse`" in json.loads(f'"{told[0].split("steps (")[1][:40]}'
        .replace("\\u2192", "→").split(")")[0] + '"')  # fmt: skip


@each
async def test_calls_side_by_side_and_noise_in_results_hide_nothing(
    tmp_path: Path, dialect: DialectName
) -> None:
    numbers = iter(range(10**6, 10**7))

    def noisy(call: Called) -> str:
        n = next(numbers)
        at = f"2026-11-30T10:46:{n % 60:02d}.{n}Z"
        said = {"error": f"{call.name} failed", "request_id": f"req-{n:x}", "at": at}
        return json.dumps({**said, "took": n / 1000})

    turns = ((RING[0], RING[1]), (RING[1], RING[0]))
    async with sidecar(tmp_path, script=Looper(turns, obeys=False)) as car:
        agent = agent_of(car, dialect, result=noisy)
        cut = await stopped(agent)

    assert (cut.answer.facts["limit"], len(agent.ran)) == ("loops.repeat", 10)


@each
@both
async def test_text_without_a_call_is_a_loop_too(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """An agent that says `continue` to a model that only announces what it will do."""
    says = Looper(says=lambda asked: Turn(text="I will now fetch the file."))
    async with sidecar(tmp_path, script=says) as car:
        agent = agent_of(car, dialect, stream=stream)
        cut = await stopped(agent, then="continue")

    assert cut.answer.facts["limit"] == "loops.text"


@each
@both
async def test_a_healthy_run_is_what_it_would_be_without_detectors(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Fifty turns: edit and test, the test failing alike. Nothing is injected, nothing held."""
    edit = [ToolCall("fetch", {"line": at}) for at in range(25)]
    turns = tuple(call for one in edit for call in ((one,), (ToolCall("parse", {"doc": "a"}),)))
    sent: list[list[bytes]] = []
    for policy in ("", "loops: off"):
        done = Looper(turns, says=lambda asked: Turn(text="Done.") if asked == 50 else None)
        async with sidecar(tmp_path, policy, script=done) as car:
            agent = agent_of(
                car, dialect, stream=stream, result=lambda call: f"{call.name}: 1 failed"
            )
            assert await agent.finish(60) == "Done."
            assert decision(agent) == "allow"
            sent.append([entry.body for entry in car.sim.journal])

    assert len(sent[0]) == 51
    assert sent[0] == sent[1]


async def test_an_sdks_retry_counts_nothing_and_is_steered_alike(tmp_path: Path) -> None:
    """The provider fails on the steered call: what is sent again is what was sent."""

    def fails(asked: int) -> Turn | None:
        return Turn(faults=parse_faults("status=500")) if asked in (3, 4) else None

    async with sidecar(tmp_path, ONCE, script=Looper(says=fails)) as car:
        agent = agent_of(car)
        await steps(agent, 3)
        failed = [await steps(agent, 1) for _ in range(2)]
        await agent.step()
        seen = decision(agent)
        bodies = forwarded(car)
        await agent.step()

        assert None not in failed
        assert seen == "steer"
        assert bodies[3] == bodies[4] == bodies[5]
        assert decision(agent) == "final_answer"


async def test_the_provider_may_keep_the_history(tmp_path: Path) -> None:
    """With previous_response_id only the results are sent."""
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        said: Any = [{"role": "user", "content": "hi"}]
        previous: dict[str, Any] = {}
        codes = []
        for _ in range(7):
            answer = await car.call("responses", tools=TOOLS, bound=1_000, input=said, **previous)
            if answer.status != 200:
                codes.append(answer.error["code"])
                continue
            codes.append(answer.headers["x-holdfast-decision"])
            previous = {"previous_response_id": answer.json["id"]}
            output: Any = answer.json["output"]
            asked = [item for item in output if item["type"] == "function_call"]
            came = {"type": "function_call_output", "output": NOT_FOUND}
            said = [{**came, "call_id": item["call_id"]} for item in asked]

    assert codes == [*("allow", "allow", "warn", "steer", "final_answer"), *["loop_detected"] * 2]


@asynccontextmanager
async def provider(looper: Looper) -> AsyncIterator[Simulator]:
    """One that outlives its sidecars."""
    async with Simulator(script=looper, seed=1) as sim:
        yield sim


async def test_a_loop_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    """What is counted is in the log."""
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    history: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
    seen, cut = [], None
    async with provider(Looper(obeys=False)) as sim:
        while cut is None:
            async with sidecar(tmp_path, upstream=sim.url, store=store) as car:
                agent = agent_of(car)
                agent.history = history
                cut = await steps(agent, 1)
                seen.append(decision(agent) if cut is None else cut.code)
        calls = len(sim.journal)

    assert seen == [*("allow", "allow", "warn", "steer", "final_answer"), "loop_detected"]
    assert calls == 5


async def test_sub_agents_under_one_session_are_counted_apart(tmp_path: Path) -> None:
    """Four of them do the same at the same time: none does it twice."""
    async with sidecar(tmp_path, script=Looper()) as car:
        agents = [agent_of(car) for _ in range(4)]
        for _ in range(2):
            for agent in agents:
                await agent.step()

        assert {decision(agent) for agent in agents} == {"allow"}


async def test_a_side_call_in_the_session_hides_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        agent = agent_of(car)
        cut = None
        while cut is None:
            cut = await steps(agent, 1)
            title: Any = [{"role": "user", "content": f"A title for {len(agent.ran)}"}]
            assert (await car.call(messages=title)).status == 200

        assert len(agent.ran) == 5


@pytest.mark.parametrize(("word", "ran"), [("off", 12), ("observe", 12), ("{repeat: off}", 5)])
async def test_a_policy_switches_it_off(tmp_path: Path, word: str, ran: int) -> None:
    """`observe` tells of it; without `repeat`, what repeats any result is left."""
    async with sidecar(tmp_path, f"loops: {word}", script=Looper(obeys=False)) as car:
        agent = agent_of(car)
        await steps(agent, 12)
        async with car.http.get(car.admin_url + "/metrics") as response:
            metrics = await response.text()
        shown = await car.admin("GET", "/sessions/s1")

    assert len(agent.ran) == ran
    assert ('holdfast_tool_repeats_total{kind="repeat"} 10.0' in metrics) == (word == "observe")
    assert (shown["rung"] == "observe") == (word == "observe")


async def test_loops_are_counted_by_detector_and_by_rung(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        await stopped(agent_of(car))
        async with car.http.get(car.admin_url + "/metrics") as response:
            metrics = await response.text()
        events = await car.admin("GET", "/sessions/s1/events")

    assert 'holdfast_tool_repeats_total{kind="repeat"} 3.0' in metrics
    for name in ("warn", "steer", "final_answer"):
        line = f'holdfast_decisions_total{{decision="{name}",reason="loops.repeat"}} 1.0'
        assert line in metrics
    assert 'holdfast_decisions_total{decision="reject",reason="loop_detected"} 1.0' in metrics
    assert "holdfast_tool_call_cycles_per_request_sum 10.0" in metrics
    assert "holdfast_tool_call_cycles_per_request_count 5.0" in metrics
    listed: Any = events["events"]
    noticed = [e["rung"] for e in listed if e["type"] == "LoopNoticed"]
    assert noticed == ["warn", "steer", "final_answer"]


async def test_a_human_lets_a_stopped_loop_go_on(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=Looper(obeys=False)) as car:
        agent = agent_of(car)
        await stopped(agent)
        await car.admin("POST", "/sessions/s1/extend", {"steps": 10})

        await agent.step()

        assert decision(agent) == "allow"


async def test_two_sidecars_on_one_store_count_one_loop(tmp_path: Path) -> None:
    """What one of them has seen the other goes on from."""
    store, seen = f"sqlite:///{tmp_path / 'ledger.db'}", []
    async with (
        provider(Looper(obeys=False)) as sim,
        sidecar(tmp_path, upstream=sim.url, store=store) as one,
        sidecar(tmp_path, upstream=sim.url, store=store) as other,
    ):
        agent = agent_of(one)
        for at in range(5):
            agent.car = (one, other)[at % 2]
            await agent.step()
            seen.append(decision(agent))
        agent.car = other
        cut = await stopped(agent)

    assert seen == ["allow", "allow", "warn", "steer", "final_answer"]
    assert cut.code == "loop_detected"


async def test_the_same_words_to_a_response_that_the_provider_keeps_are_answered(
    tmp_path: Path,
) -> None:
    """No text of the model is sent again, and the user says `yes` once more: a call like any."""
    async with sidecar(tmp_path) as car:
        before: dict[str, Any] = {}
        seen = []
        for _ in range(4):
            answer = await car.call("responses", input="yes", **before)
            seen.append((answer.status, answer.headers.get("x-holdfast-decision")))
            before = {"previous_response_id": answer.json.get("id")}

    assert seen == [*[(200, "allow")] * 2, (200, "warn"), (200, "steer")]
