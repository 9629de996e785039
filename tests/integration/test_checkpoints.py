"""Checkpoints, differences and forks of sessions that real agents have run, through a sidecar."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.core.recording import digest_of
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.simulator import Script, ToolCall, Turn
from proxy.stores.chain import Chain
from proxy.stores.verification import SessionLog, first_fault
from tests.integration.agent_kit import Agent
from tests.integration.kit import DIALECTS, PATHS, TOKEN, Sidecar, sidecar

SECRET = "the key of the ledger's chain, for tests"
KEYED: Mapping[str, str] = {"HOLDFAST_CHAIN_KEY": SECRET}
BEARER = {"authorization": f"Bearer {TOKEN}"}
SEARCH = ToolCall("search", {"q": "x"})
MAIL = ToolCall("send_email", {"to": "a", "text": "hi"})
RUN = Script(
    (
        Turn(text="Let me see.", tool_calls=(SEARCH,)),
        Turn(text="And once more.", tool_calls=(SEARCH,)),
        Turn(text="All done."),
    )
)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def got(on: Sidecar, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    url = f"{on.admin_url}/api/v1/sessions/{path}"
    async with on.http.request(method, url, headers=BEARER, json=body) as response:
        return response.status, await response.json()


async def raw(on: Sidecar, path: str) -> tuple[int, bytes, str]:
    """Status, bytes, and the path to send them to."""
    url = f"{on.admin_url}/api/v1/sessions/{path}"
    async with on.http.get(url, headers=BEARER) as response:
        return response.status, await response.read(), response.headers.get("x-holdfast-path", "")


def sent(on: Sidecar, at: int) -> bytes:
    return bytes(on.sim.journal[at].body)


async def verified(on: Sidecar, session: str) -> str | None:
    """What `holdfast verify` would say of the session, None where all is well."""
    await on.app.ledger.drained()
    (tenant,) = await on.app.store.find_tenants(session)
    dump = await on.app.store.dump(SessionKey(tenant, session))
    assert dump is not None
    contents = {one.name: digest_of(one.data) for one in dump.contents}
    log = SessionLog(dump.key, dump.rows, (dump.seq, dump.chain), contents)
    fault = first_fault(Chain(SECRET.encode()), log)
    return None if fault is None else str(fault)


@every_dialect
@streamed_or_not
async def test_a_checkpoint_is_what_was_sent_and_what_is_to_follow(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The request byte for byte; with the result that is owed put to it, the model goes on."""
    async with sidecar(tmp_path, script=RUN) as on:
        agent = Agent(on, dialect, stream)
        await agent.finish()
        bodies = [await raw(on, f"s1/checkpoint?step={n}&raw=1") for n in (1, 2, 3)]

        assert [status for status, _, _ in bodies] == [200, 200, 200]
        path = bodies[0][2]
        assert path == PATHS[dialect]
        _, second = await got(on, "s1/checkpoint?step=2")
        assert (second["checkpoint"], second["step"], second["last_step"]) == ("s1@2", 2, 3)
        assert (second["dialect"], second["path"]) == (dialect, PATHS[dialect])
        assert second["request"] == json.loads(bodies[1][1])
        assert (second["outcome"], second["status"], second["notes"]) == ("answered", 200, [])
        assert second["totals"]["steps"] == 2
        assert second["held"]["calls"] == []
        (owed,) = second["next"]["owed"]
        assert (owed["tool"], json.loads(owed["arguments"])) == ("search", {"q": "x"})

        third = json.loads(bodies[2][1])
        listed = "input" if dialect == "responses" else "messages"
        following = second["next"]["body"][listed]
        assert len(following) == len(third[listed]) - 1, "all but the result"
        history = [*following, third[listed][-1]]
        answer = await on.send(f"/s/s2{path}", {**second["next"]["body"], listed: history})
        assert answer.status == 200, answer.body
        assert b"All" in answer.body


async def test_the_body_is_the_one_that_was_sent_with_all_its_spaces(tmp_path: Path) -> None:
    said = b'[ {"role":"user","content":"\\u00e9 \xc3\xa9"} ]'
    body = b'{ "model" : "sim-model",\n "messages":%b,"seed":1.50}' % said
    async with sidecar(tmp_path) as on:
        assert (await on.send("/s/s1/v1/chat/completions", body)).status == 200

        assert (await raw(on, "s1/checkpoint?raw=1"))[1] == body
        _, found = await got(on, "s1/checkpoint")
        assert found["answer"]["body"]["choices"]
        assert found["answer"]["text"] is None
        assert found["next"]["body"]["messages"][0]["content"] == "é é"


async def test_a_call_in_flight_is_the_last_step_and_holds_something(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        on.sim.fail("slow_head=0.7")
        call = asyncio.ensure_future(on.call(seed=2))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 2)

        _, found = await got(on, "s1/checkpoint")
        assert (found["step"], found["outcome"], found["answer"]) == (2, None, None)
        assert found["next"] == {"body": found["request"], "owed": []}
        assert len(found["held"]["calls"]) == 1
        assert found["held"]["usd"] > 0
        assert "in flight" in found["notes"][0]
        assert (await call).status == 200


async def test_attempts_of_one_step_are_told_and_the_answered_one_counts(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "retries: {max: 0}\nbreakers: {consecutive_failures: 99}") as on:
        on.sim.fail("status=500")
        assert (await on.call()).status == 500
        _, failed = await got(on, "s1/checkpoint")
        assert failed["notes"] == [
            "the call was not answered (failed, 500): its request is to be sent again"
        ]
        assert failed["next"] == {"body": failed["request"], "owed": []}
        on.sim.heal()
        await on.call(headers={"x-stainless-retry-count": "1"})

        _, found = await got(on, "s1/checkpoint?step=1")
        assert [one["outcome"] for one in found["attempts"]] == ["failed", "answered"]
        assert (found["outcome"], found["last_step"]) == ("answered", 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s1/checkpoint?step=0", (404, "unknown_step")),
        ("s1/checkpoint?step=2", (404, "unknown_step")),
        ("s1/checkpoint?step=99999999999999", (404, "unknown_step")),
        ("s1/checkpoint?step=-1", (400, "invalid_request")),
        ("s1/checkpoint?step=x", (400, "invalid_request")),
        ("s1/checkpoint?step=", (400, "invalid_request")),
        ("s9/checkpoint", (404, "unknown_session")),
        ("s1/diff", (400, "invalid_request")),
        ("s1/diff?from=1", (400, "invalid_request")),
        ("s1/diff?from=1&to=2", (404, "unknown_step")),
    ],
)
async def test_steps_that_are_not_there_are_errors(
    tmp_path: Path, path: str, expected: tuple[int, str]
) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        status, told = await got(on, path)

        assert (status, told["error"]["code"]) == expected


@pytest.mark.parametrize("content", ["hashes", "off"])
async def test_what_is_not_kept_is_said_with_what_to_set(tmp_path: Path, content: str) -> None:
    async with sidecar(tmp_path, f"checkpoints: {{content: {content}}}", env=KEYED) as on:
        await on.call()
        await on.call(seed=1)

        for path in (
            "s1/checkpoint",
            "s1/checkpoint?raw=1",
            "s1/checkpoint?raw=next",
            "s1/diff?from=1&to=2",
        ):
            status, told = await got(on, path)
            assert (status, told["error"]["code"]) == (409, "content_missing"), path
            assert "checkpoints.content" in told["error"]["message"]
        status, told = await got(on, "s1/fork", "POST", {"step": 1})
        assert (status, told["error"]["code"]) == (409, "nothing_kept")
        assert await verified(on, "s1") is None


@every_dialect
async def test_two_steps_differ_in_what_was_added(tmp_path: Path, dialect: DialectName) -> None:
    async with sidecar(tmp_path, script=RUN) as on:
        agent = Agent(on, dialect, stream=False)
        await agent.step()
        agent.extra = {"temperature": 0.5}
        agent.tools = ("search",)
        await agent.finish()

        _, found = await got(on, "s1/diff?from=1&to=2")
        assert {one["change"] for one in found["messages"]} == {"added"}
        assert found["same"] == 1
        assert found["parameters"] == [
            {"change": "added", "name": "temperature", "before": None, "after": 0.5}
        ]
        assert [(one["change"], one["name"]) for one in found["tools"]] == [
            ("removed", "send_email")
        ]
        _, same = await got(on, "s1/diff?from=2&to=2")
        assert (same["messages"], same["tools"], same["parameters"]) == ([], [], [])
        _, back = await got(on, "s1/diff?from=2&to=1")
        assert {one["change"] for one in back["messages"]} == {"removed"}


async def test_a_fork_of_an_id_that_exists_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        await on.call(session="s2")
        before = await on.admin("GET", "/sessions/s2/events")

        for name in ("s1", "s2"):
            status, told = await got(on, "s1/fork", "POST", {"session": name})
            assert (status, told["error"]["code"]) == (409, "session_exists")
        assert await on.admin("GET", "/sessions/s2/events") == before
        named = [(await got(on, "s1/fork", "POST", {}))[1]["session"] for _ in range(2)]
        assert len({*named, "s1"}) == 3


async def test_of_several_tenants_the_one_is_forked_that_is_named(tmp_path: Path) -> None:
    """And the fork is of that tenant."""
    async with sidecar(tmp_path) as on:
        await on.call(seed=1)
        await on.call(seed=2, headers={"authorization": "Bearer key-2"})
        status, told = await got(on, "s1/fork", "POST", {"session": "f"})
        assert (status, told["error"]["code"]) == (409, "ambiguous_session")

        one, other = told["error"]["tenants"]
        status, fork = await got(on, f"s1/fork?tenant={other}", "POST", {"session": "f"})
        assert (status, fork["tenant"]) == (201, other)
        _, mine = await got(on, f"s1/checkpoint?tenant={other}")
        _, theirs = await got(on, f"s1/checkpoint?tenant={one}")
        _, forked = await got(on, "f/checkpoint")
        assert forked["request"] == mine["request"] != theirs["request"]
        status, _ = await got(on, f"s1/fork?tenant={one}", "POST", {"session": "f"})
        assert status == 201, "the same id of another tenant is another session"


async def test_a_deleted_id_may_be_forked_into(tmp_path: Path) -> None:
    async with sidecar(tmp_path, env=KEYED) as on:
        await on.call()
        await on.call(session="f")
        await on.admin("DELETE", "/sessions/f")

        status, fork = await got(on, "s1/fork", "POST", {"session": "f"})
        assert (status, fork["steps"]) == (201, 0)
        assert await verified(on, "f") is None


@every_dialect
async def test_what_a_guarded_tool_came_to_is_known_at_the_checkpoint_and_in_the_fork(
    tmp_path: Path, dialect: DialectName
) -> None:
    """The mail was sent: whoever goes on from there need not send it, and the fork does not."""
    script = Script((Turn(tool_calls=(MAIL,)), Turn(text="All done.")))
    async with sidecar(tmp_path, "tools: {side_effects: ['send_*']}", script=script) as on:
        agent = Agent(on, dialect, stream=False)
        await agent.finish()

        _, found = await got(on, "s1/checkpoint?step=1")
        (owed,) = found["next"]["owed"]
        assert (owed["tool"], owed["result"]) == ("send_email", "result of send_email")
        await got(on, "s1/fork", "POST", {"step": 1, "session": "f"})
        again = Agent(on, dialect, stream=False, session="f")
        assert await again.finish() == "All done."
        assert again.sent == []


async def test_a_session_from_a_ledger_with_another_key_can_be_gone_on_with(tmp_path: Path) -> None:
    """Its bodies read back, it is forked, and its agent is answered from the record."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = {"HOLDFAST_CHAIN_KEY": "the key of quite another ledger's chain"}
    async with (
        sidecar(tmp_path / "a", script=RUN, env=KEYED) as one,
        sidecar(tmp_path / "b", script=RUN, env=other) as two,
    ):
        await Agent(one, "chat", stream=True).finish()
        await two.call(session="mine")
        tenant = (await two.admin("GET", "/sessions/mine"))["tenant"]
        url = f"{one.admin_url}/api/v1/sessions/s1/export"
        async with one.http.get(url, headers=BEARER) as response:
            file = await response.read()
        url = f"{two.admin_url}/api/v1/sessions/import?tenant={tenant}"
        async with two.http.post(url, headers=BEARER, data=file) as response:
            assert response.status == 201

        for step in (1, 2, 3):
            assert await raw(two, f"s1/checkpoint?step={step}&raw=1") == await raw(
                one, f"s1/checkpoint?step={step}&raw=1"
            )
        assert (await got(two, "s1/fork", "POST", {"step": 1}))[0] == 201


async def test_a_call_that_goes_on_after_an_import_is_kept_whole(tmp_path: Path) -> None:
    """The marks of another ledger's key match nothing here: the next body is kept as it is."""
    async with sidecar(tmp_path, script=RUN, env=KEYED) as on:
        agent = Agent(on, "chat", stream=False)
        await agent.step()
        url = f"{on.admin_url}/api/v1/sessions/s1/export"
        async with on.http.get(url, headers=BEARER) as response:
            file = await response.read()
        url = f"{on.admin_url}/api/v1/sessions/import?as=copy"
        await on.http.post(url, headers=BEARER, data=file)

        agent.session = "copy"
        await agent.finish()
        assert await verified(on, "copy") is None
        for step in (1, 2, 3):
            assert (await raw(on, f"copy/checkpoint?step={step}&raw=1"))[0] == 200


async def test_prompts_have_a_checkpoint_and_nothing_to_go_on_with(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        body: Any = {"model": "sim-model", "input": ["a", "b"]}
        assert (await on.send("/s/s1/v1/embeddings", body)).status == 200

        _, found = await got(on, "s1/checkpoint")
        assert (found["request"], found["next"], found["dialect"]) == (body, None, "embeddings")
        status, told = await got(on, "s1/checkpoint?raw=next")
        assert (status, told["error"]["code"]) == (409, "content_missing")
