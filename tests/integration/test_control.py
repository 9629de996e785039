"""Kill, pause, resume, extend, reload, readiness: what an operator does while calls run."""

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import pytest

from proxy.core.request import DialectName
from proxy.simulator import Script, Turn
from proxy.stores import Append, Appended, Store
from tests.integration.kit import DIALECTS, PRICES, TOKEN, Sidecar, body_of, frames, sidecar

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
ENDLESS = Script((Turn(text_tokens=100_000, chunk_gap_seconds=0.005),))
PATH = {"chat": "chat/completions", "responses": "responses", "messages": "messages"}


async def streaming(on: Sidecar, dialect: DialectName) -> aiohttp.ClientResponse:
    """A stream of which some content has arrived."""
    response = await on.http.post(
        f"{on.url}/s/s1/v1/{PATH[dialect]}",
        json=body_of(dialect, stream=True, bound=90_000),
        headers={"authorization": "Bearer key-1", "anthropic-version": "2023-06-01"},
    )
    assert response.status == 200, await response.read()
    await response.content.readany()
    return response


@every_dialect
async def test_kill_cuts_a_running_stream_with_an_error_frame(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Within 100 ms; a stream that just stops would be taken for a finished answer."""
    loop = asyncio.get_running_loop()
    async with sidecar(tmp_path, script=ENDLESS) as on:
        stream = await streaming(on, dialect)
        began = loop.time()
        killing = asyncio.ensure_future(on.admin("POST", "/sessions/s1/kill"))
        rest = await stream.content.read()
        print(f"{dialect}: cut {(loop.time() - began) * 1000:.1f} ms after the command")

        told = json.loads(frames(rest)[-1][1])["error"]
        assert frames(rest)[-1][0] == "error"
        assert told["code"] == "session_killed"
        assert (await killing)["state"] == "killed"
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        refused = await on.call(dialect)
        assert (refused.status, refused.error["code"]) == (422, "session_killed")
        assert refused.facts["resumable"] is False


@every_dialect
async def test_kill_answers_a_call_whose_provider_has_not_answered_yet(
    tmp_path: Path, dialect: DialectName
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=60")
        call = asyncio.ensure_future(on.call(dialect))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        await on.admin("POST", "/sessions/s1/kill")

        answer = await call
        assert (answer.status, answer.error["code"]) == (422, "session_killed")


class HeldBack:
    """The app's store, with appends that wait until they are let through."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue = asyncio.Lock()
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Appended:
        self.waiting.set()
        async with self._queue:
            await self.gate.wait()
            return await self._store.append(append)


async def test_kill_answers_a_call_that_still_waits_for_its_hold(tmp_path: Path) -> None:
    """Nothing was sent; the client is told, and no money stays held."""
    async with sidecar(tmp_path) as on:
        await on.call()
        slow = HeldBack(on.app.store)
        on.app.ledger._folds._store = slow  # type: ignore[assignment]
        call = asyncio.ensure_future(on.call())
        await slow.waiting.wait()
        killing = asyncio.ensure_future(on.admin("POST", "/sessions/s1/kill"))

        answer = await call
        assert (answer.status, answer.error["code"]) == (422, "session_killed")
        slow.gate.set()
        assert (await killing)["state"] == "killed"
        await on.app.ledger.drained()
        assert await on.app.store.open_holds() == []
        assert len(on.sim.journal) == 1


async def test_kill_ends_a_session_whose_first_call_still_waits(tmp_path: Path) -> None:
    """Nothing has been written of it; unknown, it would be admitted after its kill was refused."""
    budget = "budgets: [{scope: tenant, cost_usd: 0.001, window: 1d}]"
    async with sidecar(tmp_path, budget) as on:
        on.sim.fail("slow_head=5")
        holding = asyncio.ensure_future(on.call(session="holding", bound=300))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        waiting = asyncio.ensure_future(on.call(session="waiting", bound=300))
        while not len(on.app.ledger.lines):
            await on.app.clock.sleep(0.01)

        killed = await on.admin("POST", "/sessions/waiting/kill")
        refused = await waiting
        again = await on.call(session="waiting")
        holding.cancel()
        await asyncio.wait([holding])

        assert killed["state"] == "killed"
        assert refused.error["code"] == again.error["code"] == "session_killed"
        assert len(on.sim.journal) == 1


async def test_kill_leaves_other_sessions_alone(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call(session="s1")
        await on.call(session="s2")
        await on.admin("POST", "/sessions/s1/kill")

        assert (await on.call(session="s2")).status == 200
        assert (await on.call(session="s1")).status == 422


@every_dialect
async def test_pause_refuses_until_resumed_and_lets_a_stream_end(
    tmp_path: Path, dialect: DialectName
) -> None:
    script = Script((Turn(text_tokens=60, chunk_gap_seconds=0.005),))
    async with sidecar(tmp_path, script=script) as on:
        stream = await streaming(on, dialect)
        await on.admin("POST", "/sessions/s1/pause")

        refused = await on.call(dialect)
        rest = await stream.content.read()
        assert (refused.status, refused.error["code"]) == (422, "session_paused")
        assert "holdfast sessions resume s1" in str(refused.error["message"])
        assert b"event: error" not in rest
        await on.admin("POST", "/sessions/s1/resume")
        assert (await on.call(dialect)).status == 200


async def test_free_endpoints_are_closed_to_a_killed_session(tmp_path: Path) -> None:
    """ "Refused on every endpoint": a token count or a file too."""
    async with sidecar(tmp_path) as on:
        await on.call()
        assert (await on.send("/s/s1/v1/models", b"", method="GET")).status == 200
        await on.admin("POST", "/sessions/s1/kill")

        refused = await on.send("/s/s1/v1/models", b"", method="GET")
        assert (refused.status, refused.error["code"]) == (422, "session_killed")


async def test_a_session_id_of_two_tenants_has_to_be_told_apart(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        await on.call(headers={"authorization": "Bearer key-2"})
        answer = await on.admin("POST", "/sessions/s1/kill")

        error = answer["error"]
        assert isinstance(error, dict)
        tenants = error["tenants"]
        assert error["code"] == "ambiguous_session"
        assert isinstance(tenants, list)
        killed = await on.admin("POST", f"/sessions/s1/kill?tenant={tenants[0]}")
        assert killed["state"] == "killed"
        states = [
            (await on.call(headers={"authorization": f"Bearer key-{n}"})).status for n in (1, 2)
        ]
        assert sorted(states) == [200, 422]


async def test_a_reload_under_load_drops_nothing_and_takes_hold(tmp_path: Path) -> None:
    """Streams in flight go on under the policy they began with."""
    script = Script((Turn(text_tokens=40, chunk_gap_seconds=0.005),))
    async with sidecar(tmp_path, script=script) as on:
        running = [
            asyncio.ensure_future(on.call(dialect, session=f"{dialect}{n}", stream=True))
            for n in range(5)
            for dialect in DIALECTS
        ]
        await on.sim.wait_for(lambda sim: len(sim.journal) == 15)
        (tmp_path / "policy.yaml").write_text(PRICES + "limits: {steps: 0}")
        outcome = await on.admin("POST", "/policy/reload")

        answers = await asyncio.gather(*running)
        assert outcome == {"outcome": "applied", "error": None}
        assert all(a.status == 200 and b"event: error" not in a.body for a in answers)
        assert (await on.call()).status == 422


async def test_a_broken_policy_changes_nothing_and_says_where(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "limits: {steps: 7}") as on:
        (tmp_path / "policy.yaml").write_text("limits:\n  stepz: 3\n  cost_usd: -1\n")
        outcome = await on.admin("POST", "/policy/reload")

        assert outcome["outcome"] == "refused"
        told = str(outcome["error"])
        assert "policy.yaml:2:3: limits.stepz" in told
        assert "policy.yaml:3:" in told
        policy = (await on.admin("GET", "/policy"))["policy"]
        assert isinstance(policy, dict)
        limits = policy["limits"]
        assert isinstance(limits, dict)
        assert limits["steps"] == 7
        for port in (on.url, on.admin_url):
            async with on.http.get(f"{port}/readyz") as ready:
                assert ready.status == 200
                assert "limits.stepz" in await ready.text()
        async with on.http.get(f"{on.admin_url}/metrics") as metrics:
            counted = 'holdfast_policy_reloads_total{outcome="refused"} 1.0'
            assert counted in await metrics.text()


async def test_the_admin_port_lets_only_the_tokens_bearer_in(tmp_path: Path) -> None:
    """An agent in the same pod shares the loopback interface."""
    async with sidecar(tmp_path) as on:
        url = f"{on.admin_url}/api/v1/sessions"
        wrong: list[dict[str, str]] = [
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
        ]
        for headers in wrong:
            async with on.http.get(url, headers=headers) as response:
                assert response.status == 401
        rebound = {"authorization": f"Bearer {TOKEN}", "host": "evil.example"}
        async with on.http.get(url, headers=rebound) as response:
            assert response.status == 421
        for path in ("healthz", "readyz", "metrics"):
            async with on.http.get(f"{on.admin_url}/{path}") as response:
                assert response.status == 200


async def test_the_admin_port_answers_to_the_names_it_was_given(tmp_path: Path) -> None:
    """A Service in front of it is called by its own name, with or without a port."""
    env = {"HOLDFAST_ADMIN_HOSTS": "Holdfast.ops.svc, holdfast ,"}
    async with sidecar(tmp_path, env=env) as on:
        told = {}
        for host in ("holdfast.ops.svc:9090", "HOLDFAST", "localhost", "127.0.0.1", "evil", ""):
            headers = {"authorization": f"Bearer {TOKEN}", "host": host}
            async with on.http.get(f"{on.admin_url}/api/v1/sessions", headers=headers) as response:
                told[host] = response.status

        assert list(told.values()) == [200, 200, 200, 200, 421, 421]


async def test_secrets_are_nowhere_to_be_read(tmp_path: Path) -> None:
    """Not in the policy shown, not in the log's events, not in metrics."""
    policy = (
        "upstreams: {openai: {base_url: '${HOLDFAST_OPENAI_URL}', api_key: sk-very-secret}}\n"
        "tenants: {team: {key_hashes: ['sha256:" + "ab" * 32 + "']}}"
    )
    async with sidecar(tmp_path, policy) as on:
        await on.call(headers={"authorization": "Bearer callers-secret"})
        shown = json.dumps(await on.admin("GET", "/policy"))
        events = json.dumps(await on.admin("GET", "/sessions/s1/events"))
        async with on.http.get(f"{on.admin_url}/metrics") as response:
            metrics = await response.text()

        for text in (shown, events, metrics):
            assert "very-secret" not in text
            assert "callers-secret" not in text
            assert "abab" not in text
        sent = on.sim.journal[0]
        assert sent.header("authorization") == "Bearer sk-very-secret"


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "limits: {steps: 2}") as on:
        await on.call()
        await on.call("messages", stream=True)
        await on.call()
        async with on.http.get(f"{on.admin_url}/metrics") as response:
            text = await response.text()

        assert (
            'holdfast_requests_total{endpoint="messages",status="200",stream="true",'
            'upstream="anthropic"} 1.0' in text
        )
        assert (
            'holdfast_decisions_total{decision="reject",reason="step_limit_exceeded"} 1.0' in text
        )
        assert "holdfast_holds 0.0" in text
        assert "holdfast_active_streams 0.0" in text
        billed = sum(e.input_tokens + 2 * e.output_tokens for e in on.sim.journal)
        booked = sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("holdfast_cost_usd_total{")
        )
        assert booked == pytest.approx(billed / 1e6)
        assert "s1" not in text


async def test_sessions_are_listed_newest_first_and_by_state(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        for name in ("a", "b", "c"):
            await on.call(session=name)
        await on.admin("POST", "/sessions/b/pause")
        page = await on.admin("GET", "/sessions?limit=2")
        rest = await on.admin("GET", f"/sessions?limit=2&cursor={page['next_cursor']}")
        paused = await on.admin("GET", "/sessions?state=paused")

        def names(listing: dict[str, object]) -> list[str]:
            rows = listing["sessions"]
            assert isinstance(rows, list)
            return [row["session"] for row in rows]

        assert names({**page}) + names({**rest}) == ["b", "c", "a"]
        assert names({**paused}) == ["b"]


async def test_a_restart_keeps_sessions_budgets_and_holds_no_money(tmp_path: Path) -> None:
    """The ledger is on disk; a new process goes on with it."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, "limits: {steps: 2}", store=store) as on:
        await on.call()
    async with sidecar(tmp_path, "limits: {steps: 2}", store=store) as on:
        second = await on.call()
        assert second.headers["x-holdfast-step"] == "2"
        assert (await on.call()).status == 422
    assert oct(os.stat(tmp_path / "ledger.db").st_mode & 0o777) == "0o600"


async def test_the_stream_of_events_tells_what_happens(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with on.http.get(f"{on.admin_url}/api/v1/stream", headers=headers) as watching:
            await on.call()
            seen: list[str] = []
            while "StepSettled" not in seen:
                line = await watching.content.readline()
                if line.startswith(b"data: "):
                    seen.append(json.loads(line[6:])["type"])

        assert seen == ["SessionOpened", "StepReserved", "StepSettled"]
