"""Guarded calls that break off on their way: told honestly, settled once, nothing left held."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.core.request import DialectName
from proxy.guard import shown
from proxy.guard.verdicts import Verdicts
from proxy.progress import Progress
from proxy.settling import Settler
from proxy.simulator import Script, ToolCall, Turn
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.script import Match
from tests.integration.agent_kit import Agent, Cut
from tests.integration.kit import DIALECTS, Sidecar, sidecar
from tests.integration.test_joining import AGAIN, GIVES_UP, given_up, until

MAIL = ToolCall("send_email", {"to": "a"})
GUARD = "tools: {side_effects: ['send_*']}\n"
FIRST = Turn(tool_calls=(MAIL,))
AGAIN_WITH_TEXT = Turn(text="I send it.", tool_calls=(MAIL,))
DONE = Turn(text="All done, and this is a longer text.")
NEVER = Fault(FaultKind.SLOW_HEAD, seconds=30)


def each(test: Any) -> Any:
    test = pytest.mark.parametrize("dialect", DIALECTS)(test)
    return pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])(test)


def then(*faults: Fault, text: str = DONE.text) -> Script:
    """The first mail, the same again, and a follow-up that goes wrong."""
    return Script((FIRST, AGAIN_WITH_TEXT, Turn(text=text, faults=faults)))


async def books_are_closed(car: Sidecar, steps: int) -> None:
    state = await car.admin("GET", "/sessions/s1")
    assert (state["steps"], state["held_usd"]) == (steps, 0)
    log = (await car.admin("GET", "/sessions/s1/events")).get("events")
    if isinstance(log, list):
        kinds = [event["type"] for event in log if isinstance(event, dict)]
        assert kinds.count("StepSettled") == kinds.count("StepReserved")


async def asks_again(car: Sidecar, dialect: DialectName, stream: bool) -> Cut:
    agent = Agent(car, dialect, stream)
    await agent.step()
    with pytest.raises(Cut) as cut:
        await agent.step()
    assert len(agent.sent) == 1
    return cut.value


@each
async def test_a_kill_reaches_a_call_that_waits_for_its_follow_up(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, GUARD, script=then(NEVER)) as car:
        asking = asyncio.ensure_future(asks_again(car, dialect, stream))
        await car.sim.wait_for(lambda sim: len(sim.journal) == 3)
        await car.admin("POST", "/sessions/s1/kill")
        cut = await asking

        assert cut.code == "session_killed"
        await books_are_closed(car, 2)


@each
async def test_the_deadline_is_one_for_all_attempts(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    policy = GUARD + "deadline_seconds: 1\n"
    async with sidecar(tmp_path, policy, script=then(NEVER)) as car:
        cut = await asks_again(car, dialect, stream)

        assert cut.code == "deadline_exceeded"
        await books_are_closed(car, 2)


@each
async def test_a_provider_that_fails_in_the_follow_up_ends_no_answer_cleanly(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Not begun, its own error is passed on; else an error frame follows the text."""
    async with sidecar(tmp_path, GUARD, script=then(Fault(FaultKind.STATUS, 500))) as car:
        cut = await asks_again(car, dialect, stream)
        billed = car.sim.totals
        state = await car.admin("GET", "/sessions/s1")

        assert cut.answer.status == (200 if stream else 500)
        assert b" send" in cut.answer.body or not stream
        cost = billed.input_tokens + 2 * billed.output_tokens
        assert round(float(str(state["cost_usd"])) * 1e6) == cost
        await books_are_closed(car, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("how", ["eof", "close", "reset"])
async def test_a_follow_up_that_breaks_off_ends_with_an_error_frame(
    tmp_path: Path, dialect: DialectName, how: Any
) -> None:
    cut_off = Fault(FaultKind.CUT_EVENTS, 4, how=how)
    async with sidecar(tmp_path, GUARD, script=then(cut_off)) as car:
        cut = await asks_again(car, dialect, True)

        assert cut.code == "upstream_truncated"
        assert cut.answer.status == 200
        await books_are_closed(car, 2)


@pytest.mark.parametrize("kind", [FaultKind.MALFORMED_JSON, FaultKind.EMPTY, FaultKind.RESET])
async def test_a_follow_up_that_is_no_answer_is_a_502(tmp_path: Path, kind: FaultKind) -> None:
    async with sidecar(tmp_path, GUARD, script=then(Fault(kind))) as car:
        cut = await asks_again(car, "chat", False)

        assert cut.answer.status in (502, 503)
        await books_are_closed(car, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("at", range(1, 12))
async def test_a_guarded_stream_cut_at_any_event_hands_out_no_half_a_call(
    tmp_path: Path, dialect: DialectName, at: int
) -> None:
    """No arguments that are cut, and no clean end."""
    long = ToolCall("send_email", {"to": "a", "text": "a long text of a mail"})
    turn = Turn(text="Now.", tool_calls=(long,), faults=(Fault(FaultKind.CUT_EVENTS, at),))
    async with sidecar(tmp_path, GUARD, script=Script((turn,))) as car:
        agent = Agent(car, dialect, True)
        code = None
        try:
            await agent.step()
        except Cut as cut:
            code = cut.code

        whole = [{"to": "a", "text": "a long text of a mail"}]
        assert code in (None, "upstream_truncated", "upstream_malformed")
        assert agent.sent == ([] if code else whole)
        await books_are_closed(car, 1)


@each
async def test_a_client_that_leaves_ends_the_follow_up(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, GUARD, script=then(NEVER)) as car:
        agent = Agent(car, dialect, stream)
        await agent.step()
        asking = asyncio.ensure_future(agent.step())
        await car.sim.wait_for(lambda sim: len(sim.journal) == 3)
        asking.cancel()
        await car.sim.wait_for(lambda sim: sim.totals.disconnected == 1)
        while len(car.app.calls):
            await car.app.clock.sleep(0.01)

        await books_are_closed(car, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_comments_keep_a_stream_alive_that_waits(
    tmp_path: Path, dialect: DialectName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shown, "HEARTBEAT_SECONDS", 0.05)
    script = Script((FIRST, FIRST, Turn(text="Done.", latency_seconds=0.4)))
    async with sidecar(tmp_path, GUARD, script=script) as car:
        agent = Agent(car, dialect, True)
        text = await agent.finish()
        assert agent.last is not None

        assert text == "Done."
        assert 3 <= agent.last.body.count(b": held\n\n") <= 8
        assert agent.last.headers["x-accel-buffering"] == "no"


@each
async def test_an_sdks_retry_gets_the_guarded_answer(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Of the call that it gave up: not the raw one, and not another one."""
    both = Turn(tool_calls=(MAIL, MAIL, ToolCall("search", {"q": 1})), latency_seconds=0.3)
    async with sidecar(tmp_path, GUARD, script=Script((both, DONE))) as car:
        listed = "input" if dialect == "responses" else "messages"
        body: Any = {listed: [{"role": "user", "content": "hi"}]}
        before = len(car.sim.journal)
        call = asyncio.ensure_future(
            car.call(dialect, stream=stream, tools=("send_email", "search"), headers=GIVES_UP,
                     bound=1_000, **body)
        )  # fmt: skip
        await car.sim.wait_for(lambda sim: len(sim.journal) == before + 1)
        call.cancel()
        await asyncio.wait([call])
        await until(car, 1)
        agent = Agent(car, dialect, stream, headers=AGAIN)
        await agent.step()

        assert [one.name for one in agent.ran] == ["send_email", "search"]
        assert len(car.sim.journal) == 1
        assert json.loads(car.sim.journal[0].body)[listed] == agent.history[:1]


async def test_retries_of_other_calls_are_none_of_the_guards_business(tmp_path: Path) -> None:
    async with sidecar(tmp_path, GUARD) as car:
        car.sim.fail("slow_head=0.2")
        await given_up(car, "chat", stream=False, headers=GIVES_UP)
        await until(car, 1)
        again = await car.call(headers=AGAIN)

        assert again.headers["x-holdfast-decision"] == "replay"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_long_call_that_is_held_back_is_held_for(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Its stream holds what such streams usually come to, and more as it comes, shown or not."""
    long = ToolCall("send_email", {"text": "a long mail " * 900})
    script = Script(
        (
            Turn(text="ok", match=Match(user="^short$")),
            Turn(
                tool_calls=(long,),
                match=Match(user="^long$"),
                chunk_tokens=200,
                chunk_gap_seconds=0.03,
            ),
        )
    )
    policy = GUARD + "accounting: {min_output_tokens: 1}\n"
    async with sidecar(tmp_path, policy, script=script) as car:
        for number in range(10):
            short = Agent(car, dialect, True, session=f"short-{number}", bound=8_000)
            short.history = [{"role": "user", "content": "short"}]
            await short.step()
        agent = Agent(car, dialect, True, bound=8_000)
        agent.history = [{"role": "user", "content": "long"}]
        await agent.step()
        log: Any = (await car.admin("GET", "/sessions/s1/events"))["events"]
        kinds = [event["type"] for event in log]

        assert len(agent.sent[0]["text"]) > 10_000
        assert kinds.count("HoldExtended") >= 2
        await books_are_closed(car, 1)


async def test_no_heartbeat_begins_an_answer_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The follow-up failed, and that takes a while to be read and booked."""
    settle_error = Settler.settle_error
    monkeypatch.setattr(shown, "HEARTBEAT_SECONDS", 0.05)
    script = Script((FIRST, FIRST, Turn(text="", faults=(Fault(FaultKind.STATUS, 429),))))
    async with sidecar(tmp_path, GUARD, script=script) as car:

        async def slowly(settler: Settler, progress: Progress, status: int) -> None:
            await car.app.clock.sleep(0.2)
            await settle_error(settler, progress, status)

        monkeypatch.setattr(Settler, "settle_error", slowly)
        cut = await asks_again(car, "chat", True)

        assert cut.answer.status == 429
        await books_are_closed(car, 2)


@pytest.mark.parametrize("begun", [False, True], ids=["nothing shown", "text shown"])
@pytest.mark.parametrize("kind", [FaultKind.MALFORMED_JSON, FaultKind.WRONG_TYPES, FaultKind.EMPTY])
async def test_a_stream_that_goes_on_as_none_is_no_answer(
    tmp_path: Path, kind: FaultKind, begun: bool
) -> None:
    """A 200 all the same: it is not passed on unjudged, and it may have been billed."""
    turns = (FIRST, AGAIN_WITH_TEXT if begun else FIRST, Turn(text="", faults=(Fault(kind),)))
    async with sidecar(tmp_path, GUARD, script=Script(turns)) as car:
        cut = await asks_again(car, "chat", True)
        shown = await car.admin("GET", "/sessions/s1")

        assert cut.code == "upstream_malformed"
        assert cut.answer.status == (200 if begun else 502)
        assert float(str(shown["cost_usd"])) > 0.001
        await books_are_closed(car, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answer_that_is_cut_while_it_is_judged_costs_what_it_cost(
    tmp_path: Path, dialect: DialectName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all that was held for it: the provider has said what it used."""
    judging = asyncio.Event()

    async def never(*_: object) -> None:
        judging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Verdicts, "judge", never)
    async with sidecar(tmp_path, GUARD, script=Script((FIRST,))) as car:
        asking = asyncio.ensure_future(Agent(car, dialect, False).step())
        await judging.wait()
        await car.admin("POST", "/sessions/s1/kill")
        with pytest.raises(Cut) as cut:
            await asking
        totals, state = car.sim.totals, await car.admin("GET", "/sessions/s1")

        assert cut.value.code == "session_killed"
        billed = totals.input_tokens + 2 * totals.output_tokens
        assert round(float(str(state["cost_usd"])) * 1e6) == billed
        await books_are_closed(car, 1)
