"""Sessions exported from one sidecar and taken in by another, and deleted."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.admin import copies
from proxy.admin.openapi import DOCUMENT
from proxy.admin.server import AdminSite
from proxy.control import UnknownSession
from proxy.core.session import SessionKey
from proxy.stores import Store
from proxy.stores.chain import first_altered
from proxy.stores.tombstones import begins_after
from tests.integration.kit import TOKEN, Sidecar, sidecar

KEYED: Mapping[str, str] = {"HOLDFAST_CHAIN_KEY": "another key for the chain of a ledger"}
BEARER = {"authorization": f"Bearer {TOKEN}"}


async def exported(on: Sidecar, session: str = "s1", query: str = "") -> bytes:
    url = f"{on.admin_url}/api/v1/sessions/{session}/export{query}"
    async with on.http.get(url, headers=BEARER) as response:
        assert response.status == 200
        assert f'filename="{session}.holdfast"' in response.headers["content-disposition"]
        return await response.read()


async def imported(on: Sidecar, file: bytes, query: str = "") -> tuple[int, Any]:
    url = f"{on.admin_url}/api/v1/sessions/import{query}"
    async with on.http.post(url, headers=BEARER, data=file) as response:
        return response.status, await response.json()


async def told(on: Sidecar, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Status and code of an error."""
    url = f"{on.admin_url}/api/v1{path}"
    async with on.http.request(method, url, headers=BEARER, json=body) as response:
        answer = await response.json()
        return response.status, answer.get("error", {}).get("code", "")


async def is_clean(store: Store, key: SessionKey, secret: bytes) -> bool:
    rows = await store.read_chain(key)
    return first_altered(secret, key, rows, start=begins_after(rows[0])) is None


async def test_a_session_goes_from_one_ledger_into_another(tmp_path: Path) -> None:
    """With what it has spent: its limits go on from there, and the budgets of others do not."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    policy = "budgets: [{scope: global, cost_usd: 5, window: 1d}]\nlimits: {steps: 3}"
    async with (
        sidecar(tmp_path / "a", policy) as one,
        sidecar(tmp_path / "b", policy, env=KEYED) as two,
    ):
        for _ in range(2):
            await one.call(headers={"x-holdfast-agent": "triage"})
        before = await one.admin("GET", "/sessions/s1")

        status, after = await imported(two, await exported(one), "?tenant=team")
        assert (status, after["session"], after["tenant"]) == (201, "s1", "team")
        for name in ("steps", "tokens", "cost_usd", "agent", "created_at"):
            assert after[name] == before[name], name
        told_of = after["imported"]
        assert isinstance(told_of, dict)
        assert (told_of["own"], told_of["expired_calls"], told_of["from"]) == (False, [], "s1")
        assert "not chained under this ledger's key" in str(told_of["notes"])
        assert await is_clean(
            two.app.store, SessionKey("team", "s1"), KEYED["HOLDFAST_CHAIN_KEY"].encode()
        )
        assert await one.app.store.dump_accounts("", 10) != []
        assert await two.app.store.dump_accounts("", 10) == []


async def test_an_agent_goes_on_with_a_session_that_was_taken_in(tmp_path: Path) -> None:
    """Under its tenant: the third step is the last of three."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    policy = "limits: {steps: 3}"
    async with sidecar(tmp_path / "a", policy) as one, sidecar(tmp_path / "b", policy) as two:
        await one.call()
        await one.call()
        mine = await two.call(session="other")
        tenant = (await two.admin("GET", "/sessions/other"))["tenant"]
        assert mine.status == 200
        await imported(two, await exported(one), f"?tenant={tenant}")

        third, fourth = await two.call(), await two.call()
        assert (third.status, third.headers["x-holdfast-step"]) == (200, "3")
        assert fourth.status == 422


async def test_the_same_id_cannot_be_taken_in_twice(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        file = await exported(on)

        status, answer = await imported(on, file)
        assert (status, answer["error"]["code"]) == (409, "session_exists")
        assert "deleted" not in answer["error"]["message"]
        status, copy = await imported(on, file, "?as=copy")
        assert (status, copy["session"], copy["imported"]["own"]) == (201, "copy", True)
        assert (await imported(on, file, "?as=copy"))[0] == 409
        assert (await imported(on, file, "?tenant=t2"))[0] == 201
        assert await told(on, "GET", "/sessions/s1") == (409, "ambiguous_session")


async def test_calls_in_flight_are_booked_in_the_copy_and_go_on_in_the_original(
    tmp_path: Path,
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=1.0")
        call = asyncio.ensure_future(on.call())
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        held = (await on.admin("GET", "/sessions/s1"))["held_usd"]

        _, copy = await imported(on, await exported(on), "?as=copy")
        assert (copy["cost_usd"], copy["in_flight"], copy["held_usd"]) == (held, 0, 0)
        assert len(copy["imported"]["expired_calls"]) == 1
        assert (await call).status == 200
        assert await on.app.store.open_holds() == []


@pytest.mark.parametrize(
    ("file", "query", "code"),
    [
        (b"", "", "bad_export"),
        (b"x" * 500_000, "", "bad_export"),
        (b"whole", "?as=../../x", "invalid_request"),
        (b"whole", "?as=", "invalid_request"),
        (b"whole", "?tenant=", "invalid_request"),
        (b"whole", "?as=copy&tenant=" + "t" * 129, "invalid_request"),
        (b"whole", "?as=copy&tenant=%0a", "invalid_request"),
        (b"cut", "?as=copy", "bad_export"),
    ],
)
async def test_what_cannot_be_taken_in_is_a_400(
    tmp_path: Path, file: bytes, query: str, code: str
) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        whole = await exported(on)
        status, answer = await imported(
            on, {b"whole": whole, b"cut": whole[:-1]}.get(file, file), query
        )

        assert (status, answer["error"]["code"]) == (400, code)
        listed = (await on.admin("GET", "/sessions"))["sessions"]
        assert isinstance(listed, list)
        assert len(listed) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        file = await exported(on)

        async def broken() -> AsyncIterator[bytes]:
            yield file[:-40]
            raise OSError("gone")

        url = f"{on.admin_url}/api/v1/sessions/import?as=copy"
        with pytest.raises((aiohttp.ClientError, OSError)):
            await on.http.post(url, headers=BEARER, data=broken())
        assert await told(on, "GET", "/sessions/copy") == (404, "unknown_session")
        assert (await imported(on, file, "?as=copy"))[0] == 201


async def test_an_upload_that_stalls_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_STALLED_SECONDS", 0.2)
    async with sidecar(tmp_path) as on:
        await on.call()
        file = await exported(on)
        over = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield file[:100]
            await over.wait()

        url = f"{on.admin_url}/api/v1/sessions/import?as=copy"
        stalled = asyncio.ensure_future(on.http.post(url, headers=BEARER, data=stalling()))
        assert (await imported(on, file, "?as=other"))[0] == 201
        async with await stalled as response:
            assert response.status == 408
        over.set()


async def test_contents_that_were_sealed_are_taken_in_sealed(tmp_path: Path) -> None:
    """Without their key it says so; with it, all of them are read."""
    pytest.importorskip("cryptography")
    for name in "abc":
        (tmp_path / name).mkdir()
    policy = "checkpoints: {encrypt_key_env: CONTENTS_KEY}"
    key = {"CONTENTS_KEY": "c" * 40}
    async with (
        sidecar(tmp_path / "a", policy, env=key) as one,
        sidecar(tmp_path / "b", env=KEYED) as without,
        sidecar(tmp_path / "c", policy, env={**KEYED, **key}) as with_it,
    ):
        await one.call()
        file = await exported(one)
        _, closed = await imported(without, file)
        _, read = await imported(with_it, file)

        assert (closed["imported"]["readable"], read["imported"]["readable"]) == (False, True)
        assert "checkpoints.encrypt_key_env" in str(closed["imported"]["notes"])
        path = "/sessions/s1/checkpoint"
        assert await told(without, "GET", path) == (409, "content_missing")
        assert await told(without, "POST", "/sessions/s1/fork", {}) == (409, "content_missing")
        mine, theirs = await one.admin("GET", path), await with_it.admin("GET", path)
        assert mine["request"] == theirs["request"]
        again = await exported(without)
        _, back = await imported(one, again, "?as=back")
        assert back["imported"]["readable"] is True, "it went through hands that could not read it"


async def test_a_deleted_session_is_gone_and_its_id_begins_anew(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, "limits: {steps: 2}", store=store) as on:
        await on.call()
        await on.call()
        assert (await on.call()).status == 422
        deleted = await on.admin("DELETE", "/sessions/s1")

        assert (deleted["session"], deleted["state"]) == ("s1", "deleted")
        assert await told(on, "GET", "/sessions/s1") == (404, "unknown_session")
        assert (await on.admin("GET", "/sessions"))["sessions"] == []
        stones: Any = (await on.admin("GET", "/sessions?state=deleted"))["sessions"]
        assert [stone["state"] for stone in stones] == ["deleted"]
        again = await on.call()
        assert (again.status, again.headers["x-holdfast-step"]) == (200, "1")
        shown = await on.admin("GET", "/sessions/s1")
        assert (shown["steps"], shown["state"]) == (1, "active")
        key = SessionKey(str(shown["tenant"]), "s1")
        assert await is_clean(on.app.store, key, (tmp_path / "ledger.db.key").read_bytes())
        _, copy = await imported(on, await exported(on), "?as=copy")
        assert copy["steps"] == 1


async def test_a_session_with_a_call_under_way_is_not_deleted(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=0.5")
        call = asyncio.ensure_future(on.call())
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)

        assert await told(on, "DELETE", "/sessions/s1") == (409, "session_busy")
        assert (await call).status == 200
        assert await told(on, "DELETE", "/sessions/s1") == (200, "")
        assert await told(on, "DELETE", "/sessions/s1") == (404, "unknown_session")


async def test_of_two_who_delete_a_session_one_has_done_it(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()
        key = SessionKey(str((await on.admin("GET", "/sessions/s1"))["tenant"]), "s1")
        deleting = on.app._admin._site.records.copies

        await deleting.delete(key)
        with pytest.raises(UnknownSession):
            await deleting.delete(key)


async def test_tenants_that_go_by_another_name_elsewhere_are_told_of(tmp_path: Path) -> None:
    """A caller's own key is a digest under the ledger's key; a tenant with a name is the same."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with sidecar(tmp_path / "a") as one, sidecar(tmp_path / "b", env=KEYED) as two:
        await one.call()
        await one.call(session="s2", headers={"authorization": ""})
        digested, named = await exported(one), await exported(one, "s2")

        _, first = await imported(two, digested)
        _, second = await imported(two, named)
        assert second["tenant"] == "anonymous"
        assert "is a digest" in str(first["imported"]["notes"])
        assert "is a digest" not in str(second["imported"]["notes"])


async def test_a_deleted_session_cannot_be_taken_in_under_its_id_at_once(tmp_path: Path) -> None:
    """Its tombstone says what was there; it goes by retention."""
    async with sidecar(tmp_path) as on:
        await on.call()
        file = await exported(on)
        await on.admin("DELETE", "/sessions/s1")

        status, answer = await imported(on, file)
        assert status == 409
        assert "deleted not long ago" in str(answer["error"])
        assert "under another id (--as ID, or ?as=ID)" in str(answer["error"])
        assert (await imported(on, file, "?as=s1.again"))[0] == 201


async def test_a_session_is_marked_resumable(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call()

        shown = await on.admin("POST", "/sessions/s1/resume", {"replay": True})
        assert (shown["resumable"], shown["state"]) == (True, "active")
        again = await on.admin("POST", "/sessions/s1/resume", {"replay": True})
        assert again == shown
        await on.admin("POST", "/sessions/s1/pause")
        assert (await on.admin("POST", "/sessions/s1/resume"))["state"] == "active"
        assert await told(on, "POST", "/sessions/s1/resume", {"replay": 1}) == (
            400,
            "invalid_request",
        )


async def test_nothing_is_forked_of_what_was_not_kept(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "checkpoints: {content: off}") as on:
        await on.call()

        for body, expected in (
            ({"step": 1}, (409, "nothing_kept")),
            ({"step": 2}, (404, "unknown_step")),
            ({"step": 0}, (404, "unknown_step")),
            ({"step": True}, (400, "invalid_request")),
            ({"step": "1"}, (400, "invalid_request")),
            ({"step": 1, "session": "a/b"}, (400, "invalid_request")),
            ({"step": 1, "session": 7}, (400, "invalid_request")),
            ({"at": 1}, (400, "invalid_request")),
        ):
            assert await told(on, "POST", "/sessions/s1/fork", body) == expected
        assert await told(on, "POST", "/sessions/s9/fork", {"step": 1}) == (404, "unknown_session")


async def test_every_route_is_described_and_wants_the_token(tmp_path: Path) -> None:
    """A route that was forgotten in the document, or in the guard, is found here."""
    async with sidecar(tmp_path) as on:
        app = AdminSite(on.app._admin._site).application()
        paths = DOCUMENT["paths"]
        assert isinstance(paths, dict)
        open_to_all = {"/healthz", "/readyz", "/metrics"}
        seen = 0
        for route in app.router.routes():
            assert route.resource is not None
            path, method = route.resource.canonical, route.method
            if path in open_to_all or method == "HEAD" or path.endswith("openapi.json"):
                continue
            described = paths[path]
            assert isinstance(described, dict)
            assert method.lower() in described, (method, path)
            url = on.admin_url + path.replace("{session}", "s1")
            async with on.http.request(method, url) as response:
                assert response.status == 401, (method, path)
            seen += 1
        assert seen > 20
