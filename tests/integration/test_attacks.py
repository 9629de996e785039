"""Attacks that were tried and held: odd providers, odd paths, odd operators, a store that is gone.

Each stands on the whole sidecar, since what it attacks is how the parts hold together.
"""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.session import SessionKey
from tests.fakes_wire import RawClient, ScriptedUpstream, answer
from tests.integration.kit import ONCE, TOKEN, Sidecar, body_of, sidecar

ANSWER = (
    b'{"choices": [{"message": {"content": "x"}}], '
    b'"usage": {"prompt_tokens": 7, "completion_tokens": 1}}'
)
STREAM = (
    b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "hello"}}]}\n\n'
    b'data: {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    b'data: {"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
    b"data: [DONE]\n\n"
)
ZIPPED = gzip.compress(ANSWER, mtime=0)


async def books(on: Sidecar) -> tuple[int, int]:
    """What session s1's one call held and came to, in micro-USD; nothing may be held any more."""
    while on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])
    key = SessionKey((await on.app.store.find_tenants("s1"))[0], "s1")
    events = [stored.event for stored in await on.app.store.read(key)]
    (held,) = [event for event in events if isinstance(event, ev.StepReserved)]
    (settled,) = [event for event in events if isinstance(event, ev.StepSettled)]
    assert await on.app.store.open_holds() == []
    return held.hold_cost_micro_usd, settled.cost_micro_usd


async def raw_call(on: Sidecar, target: str, *headers: str) -> int:
    """The status of a chat call whose target is sent as it stands."""
    body = json.dumps(body_of("chat")).encode()
    lines = [f"POST {target} HTTP/1.1", "host: x", "authorization: Bearer k", *headers]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode()
    async with await RawClient.connect(on.app.port) as client:
        await client.send(head + body)
        return (await client.read_answer()).status


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("204 No Content", 502),
        ("205 Reset Content", 502),
        ("206 Partial Content", 502),
        ("304 Not Modified", 304),
        ("402 Payment Required", 402),
    ],
)
async def test_a_status_that_is_no_answer_leaves_no_hold(
    tmp_path: Path, stream: bool, status: str, told: int
) -> None:
    """A success without an answer may have been billed; a refusal is not."""
    bare = status.startswith(("204", "304"))
    length = "" if bare else "content-length: 2\r\n"
    raw = f"HTTP/1.1 {status}\r\n{length}\r\n".encode()
    async with (
        ScriptedUpstream([raw if bare else raw + b"{}"]) as up,
        sidecar(tmp_path, ONCE, upstream=up.url) as on,
    ):
        got = await on.call(stream=stream)

        held, booked = await books(on)
        assert got.status == told
        assert booked == (held if told == 502 else 0)


async def test_interim_answers_are_no_answers(tmp_path: Path) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with (
        ScriptedUpstream([interim, answer(ANSWER)]) as up,
        sidecar(tmp_path, upstream=up.url) as on,
    ):
        got = await on.call()

        assert (got.status, got.body) == (200, ANSWER)
        assert (await books(on))[1] == 9


@pytest.mark.parametrize(
    ("encoding", "body", "told"),
    [
        ("gzip", ZIPPED, 200),
        ("GZIP", ZIPPED, 200),
        ("gzip", ZIPPED[:-9], 502),
        ("gzip", ANSWER, 502),
        ("gzip, gzip", gzip.compress(ZIPPED, mtime=0), 502),
        ("br", ANSWER, 502),
    ],
    ids=["gzip", "upper case", "cut", "not compressed", "twice", "unknown"],
)
async def test_a_compressed_answer_is_booked_by_what_it_says_or_whole(
    tmp_path: Path, encoding: str, body: bytes, told: int
) -> None:
    """What cannot be read cannot be free."""
    async with (
        ScriptedUpstream([answer(body, "200 OK", f"content-encoding: {encoding}")]) as up,
        sidecar(tmp_path, ONCE, upstream=up.url) as on,
    ):
        got = await on.call()

        held, booked = await books(on)
        assert got.status == told
        assert booked == (held if told == 502 else 9)


@pytest.mark.parametrize("asked", [False, True], ids=["unasked", "asked"])
async def test_events_with_a_length_or_unasked_are_metered_the_same(
    tmp_path: Path, asked: bool
) -> None:
    """The length is the provider's; ours is shorter once our usage question is taken out."""
    script = answer(STREAM, "200 OK", "content-type: text/event-stream")
    async with ScriptedUpstream([script]) as up, sidecar(tmp_path, upstream=up.url) as on:
        got = await on.call(stream=asked)

        assert not got.cut
        assert got.body.endswith(b"[DONE]\n\n")
        assert (await books(on))[1] == 9


@pytest.mark.parametrize(
    "target",
    [
        "/v1/files/a%2f..%2f..%2fchat/completions",
        "/v1/moderations/%2e%2e/chat/completions",
        "/v1/files/%5c..%5cchat/completions",
        "/v1/files/../chat/completions",
        "/v1/files/..;/chat/completions",
        "/v1/files/%252e%252e/chat/completions",
        "/V1/chat/completions",
        "/v1/CHAT/completions",
        "/v1/chat/Completions",
        "/v1/chat%2Fcompletions",
        "/v1/chat/completions%00",
        "/v1/chat/completions;x",
        "/proxy/v1/chat/completions",
        "/v1beta/openai/chat/completions",
        "/s//v1/chat/completions",
    ],
)
async def test_no_spelling_takes_a_call_past_the_limits(tmp_path: Path, target: str) -> None:
    async with ScriptedUpstream() as up, sidecar(tmp_path, upstream=up.url) as on:
        status = await raw_call(on, target)

        assert 400 <= status < 500
        assert up.received == []


@pytest.mark.parametrize(
    "target",
    [
        "//v1//chat///completions",
        "/v1/v1/chat/completions/",
        "http://other/v1/chat/completions?a=/",
    ],
)
async def test_a_spelling_that_is_understood_is_governed(tmp_path: Path, target: str) -> None:
    async with sidecar(tmp_path, "limits: {steps: 0}") as on:
        assert await raw_call(on, target) == 422
        assert not on.sim.journal


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "x-method-override"])
async def test_no_other_method_takes_a_call_past_the_limits(tmp_path: Path, name: str) -> None:
    async with ScriptedUpstream() as up, sidecar(tmp_path, upstream=up.url) as on:
        path = "/v1/chat/completions"
        answer = await on.send(path, body_of("chat"), {name: "POST"}, method="GET")

        assert answer.status == 400
        assert up.received == []


async def test_none_of_our_headers_reaches_the_provider(tmp_path: Path) -> None:
    async with ScriptedUpstream([answer(ANSWER)]) as up, sidecar(tmp_path, upstream=up.url) as on:
        ours = ("X-HoldFast-Session: s1", "x-holdfast-budget-usd: 1", "x-holdfast-made-up: 1")
        status = await raw_call(on, "/v1/chat/completions", *ours)

        assert status == 200
        assert b"holdfast" not in up.seen_bytes.lower()


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize(
    "path",
    [
        "/sessions/%00",
        "/sessions/%ff",
        "/sessions/%ed%a0%80",
        "/sessions/" + "a" * 5000,
        "/sessions/s1?tenant=%ff",
        "/sessions?agent=%ed%a0%80",
        "/sessions?cursor=%ff%fe",
        "/sessions?cursor=W251bGwsMV0",
        "/sessions?cursor=" + "A" * 3000,
        "/sessions?limit=0",
        "/sessions?limit=" + "9" * 5000,
        "/sessions?limit=" + "0" * 5000,
        "/sessions/s1/events?after=99999999999999999999",
    ],
)
async def test_nothing_in_a_path_breaks_the_admin_api(
    tmp_path: Path, path: str, store: str
) -> None:
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, store=url) as on:
        lines = (f"GET /api/v1{path} HTTP/1.1", "host: localhost", f"authorization: Bearer {TOKEN}")
        head = "\r\n".join([*lines, "", ""])
        async with await RawClient.connect(on.app.admin_port) as client:
            await client.send(head.encode())
            got = await client.read_answer()

        assert got.status < 500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b'{"steps": true}',
        b'{"steps": -1}',
        b'{"steps": 1.5}',
        b'{"steps": "1"}',
        b'{"per_tool.": 1}',
        b'{"cost_usd": 9e14}',
        b'{"steps": 1' + b"0" * 5000 + b"}",
        b'{"x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
async def test_no_extension_breaks_a_session(tmp_path: Path, body: bytes) -> None:
    """Refused or taken, the session can be shown and goes on, after a restart too."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, store=store) as on:
        await on.call()
        sent = {"authorization": f"Bearer {TOKEN}"}
        url = f"{on.admin_url}/api/v1/sessions/s1/extend"
        async with on.http.post(url, data=body, headers=sent) as response:
            assert response.status < 500
        assert (await on.call()).status == 200

    async with sidecar(tmp_path, store=store) as on:
        assert (await on.admin("GET", "/sessions/s1"))["steps"] == 2
        assert (await on.call()).status == 200


async def test_a_ledger_that_is_deleted_closes_the_door_and_readiness_says_so(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path, store=f"sqlite:///{tmp_path}/ledger.db") as on:
        await on.call()
        for file in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (tmp_path / file).unlink(missing_ok=True)
        refused = await on.call()

        assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
        assert len(on.sim.journal) == 1
        async with asyncio.timeout(8):
            while (await on.send("/readyz", b"", method="GET")).status == 200:
                await on.call()


async def test_a_policy_that_vanishes_stays_in_force(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "limits: {steps: 1}") as on:
        (tmp_path / "policy.yaml").unlink()
        outcome = await on.admin("POST", "/policy/reload")

        assert outcome["outcome"] == "refused"
        assert [(await on.call()).status for _ in range(2)] == [200, 422]


async def test_no_figure_of_a_provider_is_too_large_to_be_booked(tmp_path: Path) -> None:
    """What the ledger cannot add up it cannot settle: the hold would stay for ever."""
    usage = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens"), 10**30)
    message = {"content": [{"type": "text", "text": "hi"}], "usage": usage}
    told = answer(json.dumps(message).encode(), "200 OK", "content-type: application/json")
    policy = """
prices: {"*": {input: 1000000, output: 1000000}}
limits: {cost_usd: null, tokens: null}
budgets: [{scope: tenant, cost_usd: 1000000000, window: 1d}]
"""
    async with ScriptedUpstream([told]) as up, sidecar(tmp_path, policy, upstream=up.url) as on:
        for _ in range(6):
            assert (await on.call("messages", bound=1)).status == 200
        shown = await on.admin("GET", "/sessions/s1")

        assert (shown["cost_usd"], shown["held_usd"]) == (6_000_000, 0)
