"""An agent that started again is given the recorded answers, and pays for nothing twice."""

import asyncio
import base64
import hashlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.core.events import ReplayAllowed
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.replaying import judging, reading
from proxy.simulator import Script, ToolCall, Turn
from proxy.stores import StoreAway, Stored
from tests.integration.agent_kit import Agent, Called, Cut
from tests.integration.kit import (
    DIALECTS,
    MODEL,
    PATHS,
    Answer,
    Sidecar,
    body_of,
    frames,
    sidecar,
)

CALLS = pytest.mark.parametrize(
    ("dialect", "stream"), [(dialect, stream) for dialect in DIALECTS for stream in (False, True)]
)
RESUMED = {"x-holdfast-resume": "true"}
SCRIPT = Script(
    (
        *(Turn(tool_calls=(ToolCall("search", json.dumps({"q": str(n)})),)) for n in range(3)),
        Turn(text="The end."),
    )
)
OURS = {
    *("x-holdfast-decision", "x-holdfast-replay", "x-holdfast-spent-usd"),
    *("x-holdfast-remaining-usd", "x-request-id", "request-id", "date", "content-length"),
}


@asynccontextmanager
async def process(on: Sidecar) -> AsyncIterator[Sidecar]:
    """A client process of its own: its connections end with it."""
    async with aiohttp.ClientSession() as http:
        yield Sidecar(on.app, http, on.sim)


async def run(
    on: Sidecar, dialect: DialectName, *, stream: bool, steps: int, **more: Any
) -> tuple[Agent, list[Answer]]:
    """A process that is killed after so many steps; what it was answered."""
    answers = []
    async with process(on) as by:
        agent = Agent(by, dialect, stream, **{"tools": ("search",), **more})
        for _ in range(steps):
            await agent.step()
            assert agent.last is not None
            answers.append(agent.last)
    return agent, answers


def told(answers: list[Answer]) -> list[tuple[str | None, str | None, str | None]]:
    """Of each: what was decided, what of the record, and as which step."""
    names = ("x-holdfast-decision", "x-holdfast-replay", "x-holdfast-step")
    return [tuple(answer.headers.get(name) for name in names) for answer in answers]  # type: ignore[misc]  # three of them


def replayed(*steps: int) -> list[tuple[str | None, str | None, str | None]]:
    return [("replay", "replayed", str(step)) for step in steps]


def live(*steps: int) -> list[tuple[str | None, str | None, str | None]]:
    return [("allow", "live", str(step)) for step in steps]


@CALLS
@pytest.mark.parametrize("by", ["path", "header"])
async def test_an_agent_that_starts_again_pays_for_nothing_twice(
    tmp_path: Path, dialect: DialectName, stream: bool, by: str
) -> None:
    """Killed after each of its steps in turn: what it is given is what it was given, byte for byte,
    and then it goes on live."""
    how: dict[str, Any] = {"resume": True} if by == "path" else {"headers": RESUMED}
    async with sidecar(tmp_path, script=SCRIPT) as on:
        for steps in range(1, 5):
            session = f"s{steps}"
            _, before = await run(on, dialect, stream=stream, steps=steps, session=session)
            asked = len(on.sim.journal)
            paid = await on.admin("GET", f"/sessions/{session}")

            _, again = await run(on, dialect, stream=stream, steps=4, session=session, **how)

            assert told(again) == [
                *replayed(*range(1, steps + 1)),
                *live(*range(steps + 1, 5)),
            ]
            assert [answer.body for answer in again[:steps]] == [answer.body for answer in before]
            assert len(on.sim.journal) == asked + 4 - steps
            after = await on.admin("GET", f"/sessions/{session}")
            assert (after["steps"], after["held_usd"], after["refusals"]) == (4, 0, 0)
            assert steps < 4 or after["cost_usd"] == paid["cost_usd"]


@CALLS
async def test_a_replay_has_the_headers_of_the_answer(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """But for what is said of the session now, and of the provider's then."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        _, (before,) = await run(on, dialect, stream=stream, steps=1)
        _, (again,) = await run(on, dialect, stream=stream, steps=1, resume=True)

        one, other = ({k.lower(): v for k, v in a.headers.items()} for a in (before, again))
        assert set(other) <= set(one) | OURS
        assert {k: v for k, v in other.items() if k not in OURS} == {
            k: v for k, v in one.items() if k in set(other) - OURS
        }
        assert other["content-type"] == one["content-type"]
        assert again.headers["x-request-id"] == again.headers["request-id"]


async def test_a_resumed_run_may_be_killed_and_resumed_as_well(tmp_path: Path) -> None:
    """In the middle of the replay, after it, and after its end."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        given = []
        for steps in (1, 2, 3, 1, 4, 4):
            _, answers = await run(on, "chat", stream=False, steps=steps, resume=True)
            given.append([one[1] for one in told(answers)])

        again = "replayed"
        assert given == [
            [again],
            [again] * 2,
            [again] * 2 + ["live"],
            [again],
            [again] * 3 + ["live"],
            [again] * 4,
        ]
        assert len(on.sim.journal) == 4


@CALLS
async def test_another_tool_result_is_said_and_what_follows_is_live(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """By header and in the log. A third run that does the same as the second is given its answers:
    they are recorded as well."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, dialect, stream=stream, steps=4)
        other: dict[str, Any] = {"tool": lambda call: "another", "resume": True}
        _, second = await run(on, dialect, stream=stream, steps=4, **other)

        why = "message 3 (tool result) is another"
        said = [answer.headers["x-holdfast-replay"] for answer in second]
        follows = "live; why=its history has diverged"
        assert said == ["replayed", f"diverged; step=2; why={why}", follows, follows]
        assert await kinds(on, "Replay") == [
            *("ReplayBegan", "StepReplayed", "ReplayDiverged"),
        ]
        assert len(on.sim.journal) == 4 + 3

        _, third = await run(on, dialect, stream=stream, steps=4, **other)

        assert [one[:2] for one in told(third)] == [("replay", "replayed")] * 4
        assert [answer.body for answer in third] == [answer.body for answer in second]
        assert len(on.sim.journal) == 4 + 3


async def kinds(on: Sidecar, part: str, session: str = "s1") -> list[str]:
    """The types of the events in its log that have this in their name."""
    events = (await on.admin("GET", f"/sessions/{session}/events"))["events"]
    assert isinstance(events, list)
    return [str(e["type"]) for e in events if isinstance(e, dict) and part in str(e["type"])]


async def test_another_first_request_is_said(tmp_path: Path) -> None:
    """A prompt that holds the time of day, or an agent that was changed: nothing of the record is
    of use to it."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        others: list[tuple[dict[str, Any], str]] = [
            ({"history": [{"role": "user", "content": "ho"}]}, "message 1 (user) is another"),
            ({"extra": {"temperature": 0.5}}, "another temperature"),
            ({"tools": ("search", "read")}, "another tools"),
        ]
        for n, (more, why) in enumerate(others):
            _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=True, **more)
            expected = f"diverged; step=1; why={why}"
            assert answer.headers["x-holdfast-replay"] == expected
            assert len(on.sim.journal) == 3 + n


async def test_a_run_that_began_elsewhere_may_come_back_to_the_record(tmp_path: Path) -> None:
    """Its first call is another one, and so it has been given nothing yet."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        first, _ = await run(on, "chat", stream=False, steps=2)
        async with process(on) as by:
            history = [{"role": "user", "content": "ho"}]
            other = Agent(by, "chat", False, tools=("search",), resume=True, history=history)
            await other.step()
            back = Agent(by, "chat", False, tools=("search",), resume=True)
            back.history = first.history[:3]
            await back.step()

        assert other.last is not None
        assert back.last is not None
        assert other.last.headers["x-holdfast-replay"].startswith("diverged; step=1")
        assert told([back.last]) == replayed(2)


async def test_one_prompt_that_is_sent_many_times_has_its_answers_in_their_order(
    tmp_path: Path,
) -> None:
    """A stateless agent, which samples; the run after it is given the same samples, then new ones,
    and so is one whose base URL always resumes."""
    for resume in (False, True):
        session = f"s{resume}"
        async with sidecar(tmp_path, script=Script((Turn(text="{{step}}", text_tokens=9),))) as on:
            async with process(on) as by:
                first = [await by.call(session=session, resume=resume) for _ in range(3)]
            assert len({answer.body for answer in first}) == 3
            for n in (5, 7):
                async with process(on) as by:
                    again = [await by.call(session=session, resume=True) for _ in range(n)]
                assert [a.body for a in again[:3]] == [a.body for a in first]
                assert len({answer.body for answer in again}) == n
                assert len(on.sim.journal) == n


async def test_equal_calls_at_once_are_each_given_another_answer(tmp_path: Path) -> None:
    """Three agents with one prompt, side by side, killed and started again."""
    script = Script((Turn(text="{{step}}", text_tokens=9),))
    async with sidecar(tmp_path, "limits: {parallel: null}", script=script) as on:
        async with process(on) as by:
            first = await asyncio.gather(*(by.call(resume=True) for _ in range(8)))
        for _ in range(2):
            async with process(on) as by:
                again = await asyncio.gather(*(by.call(resume=True) for _ in range(8)))
            assert sorted(a.body for a in again) == sorted(a.body for a in first)
            assert len(on.sim.journal) == 8


async def test_any_number_of_calls_may_be_resumed_at_once(tmp_path: Path) -> None:
    """A graph that fans out: each is decided on what the ones before it were given."""
    script = Script((Turn(text="{{step}}", text_tokens=9),))
    policy = "limits: {parallel: null}\nloops: off"
    async with sidecar(tmp_path, policy, script=script) as on:
        async with process(on) as by:
            first = await asyncio.gather(*(by.call(user=str(n)) for n in range(80)))
        async with process(on) as by:
            again = await asyncio.gather(*(by.call(resume=True, user=str(n)) for n in range(80)))

        assert [a.body for a in again] == [a.body for a in first]
        assert len(on.sim.journal) == 80


async def test_histories_of_one_session_are_replayed_whatever_their_order(tmp_path: Path) -> None:
    """Sub-agents: one of them ended, one did not begin, one is new."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        for name in "ab":
            history = [{"role": "user", "content": name}]
            await run(on, "chat", stream=False, steps=2, history=history)

        async with process(on) as by:
            agents = {
                name: Agent(
                    by, "chat", False, tools=("search",), resume=True,
                    history=[{"role": "user", "content": name}],
                )
                for name in "bca"
            }  # fmt: skip
            said = []
            for name in "bcabcbaa":
                await agents[name].step()
                last = agents[name].last
                assert last is not None
                said.append(name + last.headers["x-holdfast-replay"][0])

        assert " ".join(said) == "br cl ar br cl bl ar al"


@CALLS
async def test_bodies_that_hold_what_changes_with_every_run_are_the_same(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """As those of Claude Code and Codex."""

    def of_run(n: int) -> dict[str, Any]:
        return {"extra": {"metadata": {"user_id": f"run-{n}"}}}

    async with sidecar(tmp_path, script=SCRIPT) as on:
        _, first = await run(on, dialect, stream=stream, steps=3, **of_run(1))
        _, again = await run(on, dialect, stream=stream, steps=4, resume=True, **of_run(2))

        assert told(again) == [*replayed(1, 2, 3), *live(4)]
        assert [a.body for a in again[:3]] == [a.body for a in first]
        events = (await on.admin("GET", "/sessions/s1/events"))["events"]
        assert isinstance(events, list)
        how = [e.get("how") for e in events if isinstance(e, dict) and e["type"] == "StepReplayed"]
        assert how == ["messages"] * 3


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_model_that_speaks_first_is_given_again_on_another_day(
    tmp_path: Path, dialect: DialectName
) -> None:
    """What it is told is the system's alone, which is no part of a history. Two agents of one
    session are told apart by the rest of it."""

    def told_on(day: str, who: str) -> dict[str, Any]:
        return {"history": [{"role": "system", "content": f"Today is {day}. You are {who}."}]}

    async with sidecar(tmp_path, script=SCRIPT) as on:
        said: list[tuple[Agent, list[Answer]]] = []
        for day, steps in (("2026-11-30", 2), ("2026-12-01", 3)):
            for who in ("a nurse", "a clerk"):
                more = told_on(day, who) | {"resume": len(said) > 1}
                said.append(await run(on, dialect, stream=False, steps=steps, **more))

        (_, nurse), (_, clerk), (_, nurse_again), (_, clerk_again) = said
        assert told(nurse_again) == [*replayed(1, 2), *live(5)]
        assert told(clerk_again) == [*replayed(3, 4), *live(6)]
        bodies = [answer.body for answer in (*nurse_again[:2], *clerk_again[:2])]
        assert bodies == [answer.body for answer in (*nurse, *clerk)]
        assert "ReplayDiverged" not in await kinds(on, "Replay")


@CALLS
async def test_tool_results_may_differ_in_what_changes_by_itself(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Codex says how long each command took. The third run is given what the second did live."""
    ran = count()

    def took(call: Called) -> str:
        return f"Wall time: 0.{next(ran):04} seconds\nOutput: {call.arguments['q']}"

    async with sidecar(tmp_path, script=SCRIPT) as on:
        for steps, expected in ((2, []), (3, [1, 2]), (4, [1, 2, 3])):
            resume = bool(expected)
            _, said = await run(on, dialect, stream=stream, steps=steps, resume=resume, tool=took)
            if resume:
                assert told(said) == [*replayed(*expected), *live(steps)]
        assert len(on.sim.journal) == 4
        assert "ReplayDiverged" not in await kinds(on, "Replay")


async def test_an_agent_over_its_limits_is_still_given_what_it_has_paid_for(
    tmp_path: Path,
) -> None:
    """What comes after that is refused, and says why."""
    async with sidecar(tmp_path, "limits: {steps: 2}", script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        async with process(on) as by:
            agent = Agent(by, "chat", False, tools=("search",), resume=True)
            for _ in range(2):
                await agent.step()
            with pytest.raises(Cut) as refused:
                await agent.step()

        assert refused.value.code == "step_limit_exceeded"
        assert refused.value.answer.headers["x-holdfast-replay"] == "live"
        assert len(on.sim.journal) == 2


@pytest.mark.parametrize(
    ("command", "code"), [("kill", "session_killed"), ("pause", "session_paused")]
)
async def test_a_session_that_is_closed_is_given_nothing(
    tmp_path: Path, command: str, code: str
) -> None:
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        await on.admin("POST", f"/sessions/s1/{command}")

        with pytest.raises(Cut) as refused:
            await run(on, "chat", stream=False, steps=1, resume=True)

        assert refused.value.code == code
        assert await kinds(on, "Replay") == []


@pytest.mark.parametrize("swept", [True, False])
async def test_a_finished_session_goes_on_where_it_was(tmp_path: Path, swept: bool) -> None:
    """Hours later: the same generation, and what is left of the same budget; also where its first
    call is another one."""
    policy = "sessions: {idle_seconds: 1}\nlimits: {steps: 3}\n"
    async with sidecar(tmp_path, policy, script=SCRIPT, store=f"sqlite:///{tmp_path}/l.db") as on:
        await run(on, "chat", stream=False, steps=2)
        await on.app.clock.sleep(1.1)
        if swept:
            (tenant,) = await on.app.store.find_tenants("s1")
            assert await on.app.ledger.finish(SessionKey(tenant, "s1"), 1)
            assert (await on.admin("GET", "/sessions/s1"))["state"] == "finished"

        _, again = await run(on, "chat", stream=False, steps=2, resume=True)

        assert told(again) == replayed(1, 2)
        assert await kinds(on, "SessionOpened") == ["SessionOpened"]
        assert (await on.admin("GET", "/sessions/s1"))["state"] != "finished"
        await on.app.clock.sleep(1.1)
        history = [{"role": "user", "content": "ho"}]
        _, (other,) = await run(on, "chat", stream=False, steps=1, resume=True, history=history)
        assert other.headers["x-holdfast-replay"].startswith("diverged; step=1")
        assert other.headers["x-holdfast-step"] == "3"
        with pytest.raises(Cut):
            await run(on, "chat", stream=False, steps=2, resume=True, history=history)


async def test_a_session_that_a_human_marked_needs_to_ask_for_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        (tenant,) = await on.app.store.find_tenants("s1")
        key = SessionKey(tenant, "s1")
        await on.app.ledger.record(key, ReplayAllowed(at=on.app.clock.now()))

        _, again = await run(on, "chat", stream=False, steps=3)

        assert told(again) == [*replayed(1, 2), *live(3)]


@CALLS
async def test_a_fork_is_given_what_its_origin_was_and_then_goes_its_own_way(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """It asks for nothing, and pays only for what it does itself."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        _, first = await run(on, dialect, stream=stream, steps=3)
        made = await on.admin("POST", "/sessions/s1/fork", {"step": 2, "session": "f1"})
        _, forked = await run(on, dialect, stream=stream, steps=4, session="f1")

        assert made["session"] == "f1"
        assert told(forked) == [*replayed(1, 2), *live(1, 2)]
        assert [a.body for a in forked[:2]] == [a.body for a in first[:2]]
        assert (await on.admin("GET", "/sessions/f1"))["steps"] == 2
        _, again = await run(on, dialect, stream=stream, steps=4, session="f1")
        assert [one[1] for one in told(again)] == ["replayed"] * 4
        assert len(on.sim.journal) == 5


async def test_the_session_of_another_tenant_has_nothing_to_give(tmp_path: Path) -> None:
    """Its name is a new session of who asks."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=1)
        stranger = {"authorization": "Bearer key-2"}
        _, (theirs,) = await run(on, "chat", stream=False, steps=1, resume=True, headers=stranger)

        assert told([theirs]) == live(1)
        assert len(on.sim.journal) == 2
        assert len(await on.app.store.find_tenants("s1")) == 2


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (RESUMED, "x-holdfast-resume: name the session that is resumed"),
        ({"x-holdfast-resume": "again", "x-holdfast-session": "s1"}, "x-holdfast-resume: expected"),
    ],
)
async def test_a_resume_that_is_none_is_refused(
    tmp_path: Path, headers: dict[str, str], said: str
) -> None:
    async with sidecar(tmp_path) as on:
        answer = await on.call(session="", headers=headers)

        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert answer.error["param"] == "x-holdfast-resume"
        assert str(answer.error["message"]).startswith(said)
        assert len(on.sim.journal) == 0


async def test_a_call_may_say_that_it_begins_anew_or_asks_for_nothing(tmp_path: Path) -> None:
    """Within one process, where nothing else tells a restart from a repetition."""
    script = Script((Turn(text="{{step}}", text_tokens=9),))
    async with sidecar(tmp_path, script=script) as on:
        first = await on.call(resume=True)
        again = await on.call(resume=True, headers={"x-holdfast-resume": "restart"})
        new = await on.call(headers={"x-holdfast-resume": "false"})

        assert told([first, again]) == [*live(1), *replayed(1)]
        assert again.body == first.body
        assert told([new]) == [("allow", None, "2")]


async def test_a_call_that_asks_for_nothing_is_live_whoever_else_asks(tmp_path: Path) -> None:
    """Its header goes before its base URL, and before what a human marked its session with."""
    no = {"x-holdfast-resume": "false"}
    async with sidecar(tmp_path) as on:
        first = await on.call(resume=True)
        by_path = await on.call(resume=True, headers=no)
        await on.admin("POST", "/sessions/s1/resume", {"replay": True})
        marked = await on.call(headers=no)

        assert told([first, by_path, marked]) == [
            *live(1),
            ("allow", None, "2"),
            ("allow", None, "3"),
        ]


async def test_calls_that_are_no_conversations_are_given_again_too(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        bodies: tuple[tuple[str, dict[str, Any]], ...] = (
            ("completions", {"model": MODEL, "prompt": "hi", "max_tokens": 9}),
            ("embeddings", {"model": MODEL, "input": ["hi"]}),
        )
        for path, body in bodies:
            first = await on.send(f"/s/{path}/v1/{path}", body)
            async with process(on) as by:
                again = await by.send(f"/r/{path}/v1/{path}", body)
                other = await by.send(f"/r/{path}/v1/{path}", {**body, "user": "u"})

            assert (first.status, again.body) == (200, first.body)
            assert told([again, other]) == [*replayed(1), *live(2)]


async def test_a_call_that_names_the_answer_it_follows_begins_no_run(tmp_path: Path) -> None:
    """Though it comes by a connection of its own and repeats nothing of its history."""
    async with sidecar(tmp_path, script=Script((Turn(text="{{step}}"),))) as on:
        lives: list[list[Answer]] = []
        for _ in range(2):
            answers: list[Answer] = []
            for n in range(3):
                body: dict[str, Any] = {"model": MODEL, "input": f"question {n}"}
                if answers:
                    body["previous_response_id"] = json.loads(answers[-1].body)["id"]
                async with process(on) as by:
                    answers.append(await by.send("/r/s1/v1/responses", body))
            lives.append(answers)

        assert told(lives[0]) == live(1, 2, 3)
        assert told(lives[1]) == replayed(1, 2, 3)
        assert await kinds(on, "Diverged") == []


async def test_the_record_of_a_session_outlives_the_sidecar(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, script=SCRIPT, store=store) as on:
        _, before = await run(on, "chat", stream=True, steps=3)
    async with sidecar(tmp_path, script=SCRIPT, store=store) as on:
        _, again = await run(on, "chat", stream=True, steps=4, resume=True)

        assert told(again) == [*replayed(1, 2, 3), *live(4)]
        assert [a.body for a in again[:3]] == [a.body for a in before]
        assert len(on.sim.journal) == 1


async def test_a_child_is_resumed_by_its_own_name(tmp_path: Path) -> None:
    """What it was given again costs its parent nothing; what it does then does."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        parent = {"x-holdfast-parent": "root"}
        await on.call(session="root")
        await run(on, "chat", stream=False, steps=2, session="kid", headers=parent)
        before = await on.admin("GET", "/sessions/root")

        headers = {**parent, **RESUMED}
        _, again = await run(on, "chat", stream=False, steps=2, session="kid", headers=headers)

        assert told(again) == replayed(1, 2)
        after = await on.admin("GET", "/sessions/root")
        assert after == before
        assert len(on.sim.journal) == 3


async def test_replays_are_no_loop(tmp_path: Path) -> None:
    """An agent that is killed in the same place every time repeats nothing: its model has not."""
    policy = "loops: {repeat: {warn: null, steer: null, final_answer: null, stop: 3}}"
    async with sidecar(tmp_path, policy, script=SCRIPT) as on:
        for _ in range(6):
            await run(on, "chat", stream=False, steps=2, resume=True)
        _, answers = await run(on, "chat", stream=False, steps=4, resume=True)

        assert told(answers) == [*replayed(1, 2), *live(3, 4)]
        shown = await on.admin("GET", "/sessions/s1")
        assert (shown["steps"], shown["tool_calls"], shown["cycles"]) == (4, 3, 3)


async def test_an_agent_that_starts_again_for_ever_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log would have none: after so many answers it goes on live, under its limits."""
    monkeypatch.setattr(judging, "MOST_REPLAYS", 6)
    async with sidecar(tmp_path, "limits: {steps: 3}", script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        said = []
        for _ in range(4):
            _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=True)
            said.append(answer.headers["x-holdfast-replay"])

        why = "its record was used 6 times without a new call"
        assert said == [*["replayed"] * 3, f"live; why={why}"]
        assert len(on.sim.journal) == 3


async def test_a_finished_session_whose_record_was_used_too_often_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live, but in its generation, under what is left of its limits."""
    monkeypatch.setattr(judging, "MOST_REPLAYS", 0)
    async with sidecar(tmp_path, "sessions: {idle_seconds: 1}", script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        await on.app.clock.sleep(1.1)
        _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=True)

        assert answer.headers["x-holdfast-step"] == "3"
        assert await kinds(on, "SessionOpened") == ["SessionOpened"]


async def test_an_agent_over_its_limits_does_not_fill_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it sends, and by however many connections."""
    monkeypatch.setattr(judging, "MOST_REPLAYS", 6)
    async with sidecar(tmp_path, "limits: {steps: 2}", script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        for n in range(12):
            async with process(on) as by:
                headers = {"x-holdfast-resume": "restart" if n % 2 else "true"}
                answer = await by.call(headers=headers, metadata={"n": n}, stop=str(n))
                assert answer.error["code"] == "step_limit_exceeded"

        assert len(await kinds(on, "Replay")) <= 7


async def test_a_long_session_is_given_again_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 5,000 steps was paid again from its 4,096th on."""
    monkeypatch.setattr(judging, "MOST_REPLAYS", 2)
    monkeypatch.setattr(judging, "_OF_STEPS", 1)
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=4)
        _, answers = await run(on, "chat", stream=False, steps=4, resume=True)

        assert told(answers) == replayed(1, 2, 3, 4)


@CALLS
async def test_what_was_streamed_is_given_whole_and_the_other_way(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """Claude Code streams, and where a stream broke it asks for the whole answer. The agent takes
    it for the provider's: same calls, same ids, same text."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        first, before = await run(on, dialect, stream=stream, steps=4)
        other, again = await run(on, dialect, stream=not stream, steps=4, resume=True)
        back, third = await run(on, dialect, stream=stream, steps=4, resume=True)

        assert told(again) == told(third) == replayed(1, 2, 3, 4)
        assert other.ran == back.ran == first.ran
        assert [one.body for one in third] == [one.body for one in before]
        assert len(on.sim.journal) == 4
        session = await on.admin("GET", "/sessions/s1")
        assert (session["steps"], session["refusals"]) == (4, 0)


async def test_a_whole_chat_that_was_streamed_says_what_it_took(tmp_path: Path) -> None:
    """Its stream did not, for it was not asked: agents read it of every whole answer."""
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=True, steps=1)
        _, (whole,) = await run(on, "chat", stream=False, steps=1, resume=True)

        (entry,) = on.sim.journal
        usage = whole.json["usage"]
        assert isinstance(usage, dict)
        took = (entry.input_tokens, entry.output_tokens)
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == took
        assert usage["total_tokens"] == sum(took)


async def test_what_cannot_be_told_in_the_other_form_is_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "redelivered", lambda *args, **more: None)
    async with sidecar(tmp_path, script=SCRIPT) as on:
        for one in (True, False):
            session = f"s{one}"
            await run(on, "chat", stream=one, steps=1, session=session)
            other_form: dict[str, Any] = {"stream": not one, "steps": 1, "session": session}
            _, (other,) = await run(on, "chat", resume=True, **other_form)
            _, (again,) = await run(on, "chat", resume=True, **other_form)

            why = f"step 1 was {'' if one else 'not '}streamed"
            assert other.headers["x-holdfast-replay"] == f"live; why={why}"
            assert told([again]) == replayed(2)


async def test_replays_are_counted_and_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with sidecar(tmp_path, script=SCRIPT) as on:
        await run(on, "chat", stream=False, steps=2)
        await run(on, "chat", stream=False, steps=3, resume=True)
        async with on.http.get(on.admin_url + "/metrics") as response:
            metrics = await response.text()
        await on.app.clock.sleep(0.05)

    assert 'holdfast_replays_total{kind="step"} 2.0' in metrics
    assert 'holdfast_decisions_total{decision="replay",reason=""} 2.0' in metrics


@pytest.mark.parametrize("content", ["hashes", "off"])
@CALLS
async def test_answers_that_are_not_kept_are_asked_for_anew(
    tmp_path: Path, content: str, dialect: DialectName, stream: bool
) -> None:
    """And that is said: whoever set the policy so knows why it is paid twice."""
    policy = f"checkpoints: {{content: {content}}}"
    async with sidecar(tmp_path, policy, script=SCRIPT) as on:
        await run(on, dialect, stream=stream, steps=2)
        _, again = await run(on, dialect, stream=stream, steps=2, resume=True)

        said = again[0].headers["x-holdfast-replay"]
        assert said.startswith("live; why=the answer was not kept")
        assert "checkpoints.content" in said
        assert len(on.sim.journal) == 4


async def test_of_equal_calls_the_one_whose_answer_was_kept_is_given(tmp_path: Path) -> None:
    """The policy kept nothing at first."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    for content, resume, expected in (("off", False, []), ("full", False, []), ("full", True, [2])):
        policy = f"checkpoints: {{content: {content}}}"
        async with sidecar(tmp_path, policy, script=SCRIPT, store=store) as on:
            _, answers = await run(on, "chat", stream=False, steps=1, resume=resume)
            assert not resume or told(answers) == replayed(*expected)


async def test_a_record_that_was_sealed_with_another_key_is_of_no_use(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    policy = "checkpoints: {encrypt_key_env: SEAL}"
    for key, expected in (("one", None), ("two", "live; why="), ("one", "replayed")):
        env = {"SEAL": base64.b64encode(hashlib.sha256(key.encode()).digest()).decode()}
        async with sidecar(tmp_path, policy, script=SCRIPT, store=store, env=env) as on:
            resume = expected is not None
            _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=resume)

            said = answer.headers.get("x-holdfast-replay")
            assert said == expected or (said and expected and said.startswith(expected)), said
            assert said != "live; why="


async def test_a_record_that_was_altered_is_not_given(tmp_path: Path) -> None:
    """It is not what the log says: whose answer it is nobody knows."""
    file = tmp_path / "ledger.db"
    async with sidecar(tmp_path, script=SCRIPT, store=f"sqlite:///{file}") as on:
        await run(on, "chat", stream=False, steps=1)
    with closing(sqlite3.connect(file)) as ledger, ledger:
        ledger.execute("UPDATE contents SET data = substr(data, 1, 20)")
    async with sidecar(tmp_path, script=SCRIPT, store=f"sqlite:///{file}") as on:
        _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=True)

        assert answer.headers["x-holdfast-replay"].startswith("live; why=")
        assert len(on.sim.journal) == 1


async def test_a_call_is_live_while_the_ledger_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the policy lets calls through then."""
    policy = "store: {on_failure: open}"
    async with sidecar(
        tmp_path, policy, script=SCRIPT, store=f"sqlite:///{tmp_path}/ledger.db"
    ) as on:
        await run(on, "chat", stream=False, steps=1)

        async def away(key: SessionKey, after_seq: int = 0) -> list[Stored]:
            raise StoreAway("away")

        monkeypatch.setattr(on.app.store, "read", away)
        _, (answer,) = await run(on, "chat", stream=False, steps=1, resume=True)

        said = "live; why=the ledger is away, and the record with it"
        assert answer.headers["x-holdfast-replay"] == said


def small(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that takes little ahead of who reads."""
    sock = socket.socket(*address[:3])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sock


def large(dialect: DialectName) -> Script:
    """More than a kernel takes ahead of who reads (3 MB); a stream of responses has it thrice."""
    tokens = 400_000 if dialect == "responses" else 1_000_000
    return Script((Turn(text_tokens=tokens, chunk_tokens=2_000),))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("dialect", "killed"), [*[(dialect, "s1") for dialect in DIALECTS], ("chat", "root")]
)
async def test_a_kill_cuts_a_replayed_stream_that_is_read_slowly(
    tmp_path: Path, dialect: DialectName, killed: str
) -> None:
    """Like any other: a part of it would be taken for a finished answer. Also where a session above
    it is killed."""
    async with sidecar(tmp_path, "limits: {cost_usd: null}", script=large(dialect)) as on:
        headers = {"x-holdfast-parent": "root"} if killed == "root" else {}
        first = await on.call(dialect, stream=True, bound=2_000_000, headers=headers)
        assert first.status == 200
        assert len(first.body) > 5_000_000
        body = body_of(dialect, stream=True, bound=2_000_000)
        sent = {"authorization": "Bearer key-1", "anthropic-version": "2023-06-01", **headers}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=small)) as http,
            http.post(f"{on.url}/r/s1{PATHS[dialect]}", json=body, headers=sent) as response,
        ):
            assert response.headers["x-holdfast-replay"] == "replayed"
            begun = await response.content.readany()
            assert len(on.app.calls) == 1
            state = await on.admin("POST", f"/sessions/{killed}/kill")
            rest = begun + await response.content.read()

        assert state["state"] == "killed"
        assert len(rest) < len(first.body)
        name, data = frames(rest)[-1]
        assert (name, json.loads(data)["error"]["code"]) == ("error", "session_killed")
        end = rest.index(b"event: response.failed" if dialect == "responses" else b"event: error")
        assert first.body.startswith(rest[:end])
        assert rest[:end].endswith(b"\n\n")
        assert len(on.sim.journal) == 1
        refused = await on.call(dialect, stream=True, resume=True, bound=2_000_000, headers=headers)
        assert (refused.status, refused.error["code"]) == (422, "session_killed")
