"""A retry after a client's time-out is given the answer of its earlier attempt: paid once."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from proxy.core.request import DialectName
from tests.integration.kit import PATHS, Answer, Sidecar, body_of, frames, sidecar
from tests.integration.test_resume import large, small

DIALECTS: tuple[DialectName, ...] = ("chat", "responses", "messages")
GIVES_UP = {"x-stainless-timeout": "0", "x-stainless-retry-count": "0"}
"""Whole seconds, rounded down: how openai-node says that it waits for less than one."""
AGAIN = {"x-stainless-read-timeout": "60", "x-stainless-retry-count": "1"}
CALLS = pytest.mark.parametrize(
    ("dialect", "stream"), [(dialect, stream) for dialect in DIALECTS for stream in (False, True)]
)


async def given_up(
    on: Sidecar, dialect: DialectName, *, stream: bool, headers: Mapping[str, str], bound: int = 100
) -> None:
    """A call that the provider has, and its client does not wait for any longer."""
    before = len(on.sim.journal)
    call = asyncio.ensure_future(on.call(dialect, stream=stream, headers=headers, bound=bound))
    await on.sim.wait_for(lambda sim: len(sim.journal) == before + 1)
    call.cancel()
    await asyncio.wait([call])


async def until(on: Sidecar, calls: int) -> None:
    """So many calls of clients that have gone are kept."""
    for _ in range(500):
        if len(on.app.joins) == calls:
            return
        await on.app.clock.sleep(0.01)
    raise AssertionError(f"{len(on.app.joins)} calls are kept, not {calls}")


def said(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers["x-holdfast-decision"]


@CALLS
async def test_a_retry_joins_the_call_that_is_still_under_way(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.4")
        await given_up(on, dialect, stream=stream, headers=GIVES_UP)
        await until(on, 1)
        again = await on.call(dialect, stream=stream, headers=AGAIN)

        assert said(again) == (200, "replay")
        assert len(on.sim.journal) == 1
        session = await on.admin("GET", "/sessions/s1")
        assert (session["steps"], session["held_usd"]) == (1, 0)


@CALLS
async def test_a_retry_gets_an_answer_that_has_come_meanwhile(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.1")
        await given_up(on, dialect, stream=stream, headers=GIVES_UP)
        await until(on, 1)
        while on.app.calls.streams or len(on.app.calls):
            await on.app.clock.sleep(0.01)
        again = await on.call(dialect, stream=stream, headers=AGAIN)
        third = await on.call(dialect, stream=stream, headers=AGAIN)

        assert said(again) == said(third) == (200, "replay")
        assert again.body == third.body
        assert not again.cut
        assert len(on.sim.journal) == 1


async def test_a_client_that_leaves_before_its_time_ends_the_call(tmp_path: Path) -> None:
    """A user who has stopped the agent does not want the answer, nor to pay for it."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=60")
        await given_up(on, "chat", stream=False, headers={"x-stainless-read-timeout": "600"})
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)

        assert len(on.app.joins) == 0


async def test_an_sdk_that_does_not_say_how_long_it_waits_is_waited_for_briefly(
    tmp_path: Path,
) -> None:
    """openai-node says it only where the time-out is the request's own."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.4")
        await given_up(on, "chat", stream=False, headers={"x-stainless-retry-count": "0"})
        await until(on, 1)
        again = await on.call("chat", headers={"x-stainless-retry-count": "1"})

        assert said(again) == (200, "replay")
        assert len(on.sim.journal) == 1


async def test_a_client_that_never_comes_back_ends_it_after_a_while(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "retries: {join_seconds: 0.3}\n") as on:
        on.sim.fail("slow_head=60")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)

        await until(on, 0)


async def test_another_agent_with_the_same_prompt_is_never_joined(tmp_path: Path) -> None:
    """It has not sent it before, and says so."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.3")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        other = await on.call("chat", headers={"x-stainless-retry-count": "0"})
        elsewhere = await on.call("chat", session="s2", headers=AGAIN)

        assert said(other) == said(elsewhere) == (200, "allow")
        assert len(on.sim.journal) == 3


async def test_nothing_is_kept_where_the_policy_says_so(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "retries: {join_seconds: 0}\n") as on:
        on.sim.fail("slow_head=60")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)

        assert len(on.app.joins) == 0


async def test_a_killed_session_answers_its_retry_with_the_kill(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=60")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        await on.admin("POST", "/sessions/s1/kill")

        again = await on.call("chat", headers=AGAIN)
        assert (again.status, again.error["code"]) == (422, "session_killed")


async def answered(on: Sidecar) -> None:
    """No call is under way any more."""
    while len(on.app.calls):
        await on.app.clock.sleep(0.01)


async def test_an_equal_call_that_ends_meanwhile_takes_nothing_from_the_retry(
    tmp_path: Path,
) -> None:
    """Agents sample one prompt several times: one body is not one call."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.5", times=1)
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        twin = await on.call("chat")
        again = await on.call("chat", headers=AGAIN)

        assert said(twin) == (200, "allow")
        assert said(again) == (200, "replay")
        assert len(on.sim.journal) == 2


async def test_of_two_equal_calls_each_retry_is_given_one(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.2")
        for kept in (1, 2):
            await given_up(on, "chat", stream=False, headers=GIVES_UP)
            await until(on, kept)
        retries = [on.call("chat", headers=AGAIN) for _ in range(2)]
        first, second = await asyncio.gather(*retries)

        assert said(first) == said(second) == (200, "replay")
        assert first.json["id"] != second.json["id"]
        assert len(on.sim.journal) == 2


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("fault", ["status=503", "cut_events=2;how=reset", "error_event=2"])
async def test_a_failure_is_told_to_who_waits_and_to_nobody_after(
    tmp_path: Path, fault: str, late: bool
) -> None:
    """Given again and again, it would be all that an SDK's retries can get."""
    stream = not fault.startswith("status")
    async with sidecar(tmp_path, "retries: {max: 0}\n") as on:
        on.sim.fail(f"slow_head=0.2,{fault}", times=1)
        await given_up(on, "chat", stream=stream, headers=GIVES_UP)
        await until(on, 1)
        if late:
            await answered(on)
        else:
            told = await on.call("chat", stream=stream, headers=AGAIN)
            assert told.headers["x-holdfast-decision"] == "replay"
        again = await on.call("chat", stream=stream, headers=AGAIN)

        assert said(again) == (200, "allow")
        assert b"error" not in again.body
        assert len(on.sim.journal) == 2


@pytest.mark.parametrize("verb", ["kill", "pause"])
async def test_a_session_closed_since_gives_its_retry_nothing(tmp_path: Path, verb: str) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.1")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        await answered(on)
        await on.admin("POST", f"/sessions/s1/{verb}")
        again = await on.call("chat", headers=AGAIN)

        assert again.status == 422
        assert again.error["code"] == {"kill": "session_killed", "pause": "session_paused"}[verb]


async def test_what_is_kept_has_a_bound(tmp_path: Path) -> None:
    """Also of answers that still come: the oldest that nobody listens to is lost."""
    async with sidecar(tmp_path) as on:
        on.app.joins.capacity_bytes = 300
        on.sim.fail("slow_head=0.1")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        await answered(on)

        assert len(on.app.joins) == 0


async def test_what_does_not_come_whole_is_asked_for_anew(tmp_path: Path) -> None:
    """The worker that had the answer has died: a part of it would be taken for all of it."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.1")
        await given_up(on, "chat", stream=False, headers=GIVES_UP)
        await until(on, 1)
        await answered(on)
        ((tape,),) = on.app.joins._tapes.values()
        tape._chunks[-1] = tape._chunks[-1][:-9]
        tape.end(cut=True)
        again = await on.call("chat", headers=AGAIN)

        assert said(again) == (200, "allow")
        assert again.json["object"] == "chat.completion"
        assert len(on.sim.journal) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize("joined", ["retried", "resumed"])
@pytest.mark.parametrize(("dialect", "killed"), [*[(d, "s1") for d in DIALECTS], ("chat", "root")])
async def test_a_kill_cuts_a_kept_stream_that_is_read_slowly(
    tmp_path: Path, dialect: DialectName, killed: str, joined: str
) -> None:
    """Like any other, also where it has come whole and a session above it is killed."""
    policy = "limits: {cost_usd: null}"
    body = body_of(dialect, stream=True, bound=2_000_000)
    sent = {"authorization": "Bearer key-1", "anthropic-version": "2023-06-01"}
    if killed == "root":
        sent["x-holdfast-parent"] = "root"
    async with sidecar(tmp_path, policy, script=large(dialect)) as on:
        on.sim.fail("slow_head=0.1")
        async with aiohttp.ClientSession() as dies:
            by = Sidecar(on.app, dies, on.sim)
            await given_up(by, dialect, stream=True, headers={**sent, **GIVES_UP}, bound=2_000_000)
        await until(on, 1)
        await answered(on)
        door, more = ("s", AGAIN) if joined == "retried" else ("r", {})
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=small)) as http,
            http.post(
                f"{on.url}/{door}/s1{PATHS[dialect]}", json=body, headers={**sent, **more}
            ) as response,
        ):
            assert response.headers["x-holdfast-decision"] == "replay"
            begun = await response.content.readany()
            await on.admin("POST", f"/sessions/{killed}/kill")
            rest = begun + await response.content.read()

        name, data = frames(rest)[-1]
        assert (name, json.loads(data)["error"]["code"]) == ("error", "session_killed")
        assert len(on.sim.journal) == 1
        assert len(on.app.calls) == 0
