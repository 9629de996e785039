"""How breakers are shown, and opened and closed by hand: admin API, metrics, live events, CLI."""

import asyncio
import json
import logging
from pathlib import Path

import aiohttp
import pytest

from proxy.admin.shapes import Json
from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.cli.main import main
from proxy.core.failures import Failure
from proxy.core.routing import Candidate
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.script import Match, Script, Turn
from tests.integration.kit import MODEL, TOKEN, Sidecar, body_of, sidecar


def candidate(on: Sidecar, model: str, *, named: bool = True) -> Candidate:
    upstream = on.app.watcher.current.upstreams["openai"]
    return Candidate(0, upstream, model, "chat", named)


def fail(on: Sidecar, model: str = "gpt-5", *, named: bool = True, times: int = 5) -> None:
    for _ in range(times):
        permit = on.app.breakers.acquire(candidate(on, model, named=named), b"key")
        assert isinstance(permit, Permit)
        permit.failed(Failure("error", "It answered 500."))


async def listed(on: Sidecar, query: str = "") -> list[dict[str, Json]]:
    found = (await on.admin("GET", f"/breakers{query}"))["breakers"]
    assert isinstance(found, list)
    return [one for one in found if isinstance(one, dict)]


async def test_what_is_not_closed_is_listed_first(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        fail(on, "a-healthy", times=1)
        fail(on, "b-broken")
        permit = on.app.breakers.acquire(candidate(on, "c-key"), b"\xab" * 32)
        assert isinstance(permit, Permit)
        permit.failed(Failure("key", "It answered 401."))

        found = await listed(on)
        probes = [one.pop("probe_in_seconds") for one in found]
        assert [(one["model"], one["state"], one["why"]) for one in found] == [
            ("b-broken", "open", "failing"),
            ("c-key", "open", "key"),
            ("a-healthy", "closed", None),
            ("c-key", "closed", None),
        ]
        assert found[1]["credential"] == "ab" * 6
        assert found[2] == {
            "upstream": "openai",
            "model": "a-healthy",
            "credential": None,
            "state": "closed",
            "why": None,
            "by_hand": False,
            "openings": 0,
            "calls": 1,
            "failures": 1,
            "slow": 0,
        }
        assert isinstance(probes[0], float)
        assert 11 < probes[0] <= 15
        assert probes[2:] == [None, None]
        assert [one["model"] for one in await listed(on, "?state=open&limit=1")] == ["b-broken"]
        assert await listed(on, "?upstream=anthropic") == []
        assert (await on.admin("GET", "/breakers?state=ajar"))["error"] == {
            "message": "state: 'ajar' (allowed: closed, half-open, open)",
            "type": "admin_error",
            "code": "invalid_request",
        }


async def test_a_human_opens_and_closes(tmp_path: Path) -> None:
    """Until it is closed, or for a time; a model's name may hold slashes."""
    async with sidecar(tmp_path) as on:
        model = "vendor/open"
        opened = await on.admin("POST", "/breakers/openai/vendor%2Fopen/open")
        assert (opened["model"], opened["state"], opened["why"]) == (model, "open", "manual")
        assert opened["probe_in_seconds"] is None
        shut = on.app.breakers.acquire(candidate(on, model), None)
        assert shut == Shut("manual", float("inf"))

        for_a_time = await on.admin("POST", "/breakers/openai/vendor/open/open", {"seconds": 90})
        assert isinstance(for_a_time["probe_in_seconds"], float)
        assert 80 < for_a_time["probe_in_seconds"] <= 90

        closed = await on.admin("POST", "/breakers/openai/vendor/open/close")
        assert (closed["model"], closed["state"], closed["by_hand"]) == (model, "closed", True)
        assert isinstance(on.app.breakers.acquire(candidate(on, model), None), Permit)


async def test_closing_lets_callers_own_keys_go_as_well(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        permit = on.app.breakers.acquire(candidate(on, "gpt-5"), b"one")
        assert isinstance(permit, Permit)
        permit.failed(Failure("key", "It answered 401."))
        assert isinstance(on.app.breakers.acquire(candidate(on, "gpt-5"), b"one"), Shut)

        await on.admin("POST", "/breakers/openai/gpt-5/close")
        assert isinstance(on.app.breakers.acquire(candidate(on, "gpt-5"), b"one"), Permit)


async def test_a_callers_dead_key_is_nobody_elses(tmp_path: Path) -> None:
    """The provider's own 401 passes; asked again with that key, it is left alone. Others are let
    go, and to other models so is that caller."""
    dead = Turn(faults=(Fault(FaultKind.STATUS, 401),), match=Match(user="mine"))
    script = Script((dead, Turn(text="Hello.")))
    async with sidecar(tmp_path, script=script) as on:

        async def call(key: str, text: str = "hi", model: str = MODEL) -> int:
            body = body_of("chat", text=text, model=model)
            headers = {"authorization": f"Bearer {key}"}
            return (await on.send("/v1/chat/completions", body, headers)).status

        assert await call("key-1", "mine") == 401
        asked = on.sim.totals.requests
        assert await call("key-1") in (401, 503)
        assert on.sim.totals.requests == asked
        assert await call("key-2") == 200
        assert await call("key-1", model=f"{MODEL}-2") == 200
        (shut,) = await listed(on, "?state=open")
        assert (shut["why"], shut["model"]) == ("key", MODEL)
        assert "key-1" not in json.dumps(await listed(on))


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("nobody/gpt-5/open", {}, "unknown_upstream", "no upstream 'nobody'"),
        ("openai/gpt-5/open", {"seconds": 0}, "invalid_request", "seconds: 0 (allowed: above 0"),
        ("openai/gpt-5/open", {"seconds": 1e300}, "invalid_request", "allowed: above 0, up to"),
        ("openai/gpt-5/open", {"seconds": True}, "invalid_request", "seconds: expected a number"),
        ("openai/gpt-5/open", {"seconds": "9"}, "invalid_request", "seconds: expected a number"),
        ("openai/gpt-5/open", {"minutes": 1}, "invalid_request", "'minutes' is not known"),
        ("openai/gpt-5/open", [1], "invalid_request", "expected an object of seconds"),
    ],
)
async def test_what_cannot_be_done_is_said(
    tmp_path: Path, path: str, body: Json, code: str, said: str
) -> None:
    async with sidecar(tmp_path) as on:
        error = (await on.admin("POST", f"/breakers/{path}", body))["error"]

        assert isinstance(error, dict)
        assert error["code"] == code
        assert said in str(error["message"])
        assert await listed(on) == []


async def test_it_takes_the_token(tmp_path: Path) -> None:
    """An agent in the same pod must not open what keeps it from a provider, or close it."""
    async with sidecar(tmp_path) as on:
        for method, path in (("GET", ""), ("POST", "/openai/m/open"), ("POST", "/openai/m/close")):
            url = f"{on.admin_url}/api/v1/breakers{path}"
            async with on.http.request(method, url) as response:
                assert response.status == 401


async def test_metrics_name_what_the_policy_names(tmp_path: Path) -> None:
    """What clients call models is no label: all of them are one, as bad as the worst."""
    async with sidecar(tmp_path) as on:
        fail(on, "gpt-5")
        fail(on, "a-clients-word", named=False)
        fail(on, "another", named=False, times=1)
        fail(on, "gpt-4", times=1)

        async with on.http.get(f"{on.admin_url}/metrics") as response:
            lines = (await response.text()).splitlines()
        assert sorted(line for line in lines if line.startswith("holdfast_breaker_state")) == [
            'holdfast_breaker_state{model="",upstream="openai"} 2.0',
            'holdfast_breaker_state{model="gpt-4",upstream="openai"} 0.0',
            'holdfast_breaker_state{model="gpt-5",upstream="openai"} 2.0',
        ]


async def test_who_watches_sees_it_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with sidecar(tmp_path) as on:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with on.http.get(f"{on.admin_url}/api/v1/stream", headers=headers) as stream:
            await _watched(on)
            fail(on, "gpt-5")
            await on.admin("POST", "/breakers/openai/gpt-5/close")
            seen = [await _event(stream.content) for _ in range(2)]

        assert [(one["type"], one["model"], one["state"], one["why"]) for one in seen] == [
            ("BreakerChanged", "gpt-5", "open", "failing"),
            ("BreakerChanged", "gpt-5", "closed", None),
        ]
        logged = [record for record in caplog.records if "breaker" in record.getMessage()]
        assert [record.getMessage() for record in logged] == [
            "a breaker opened",
            "a breaker closed",
        ]
        assert vars(logged[0])["probe_in_seconds"] > 0


async def _watched(on: Sidecar) -> None:
    """The stream's handler has begun."""
    while not on.app.live._watchers:
        await asyncio.wait_for(on.http.get(f"{on.admin_url}/healthz"), 5)


async def _event(content: aiohttp.StreamReader) -> dict[str, Json]:
    while True:
        line = await content.readline()
        if line.startswith(b"data: "):
            decoded = json.loads(line.removeprefix(b"data: "))
            assert isinstance(decoded, dict)
            return decoded


async def test_the_shell_shows_and_turns_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sidecar(tmp_path) as on:
        monkeypatch.setenv("HOLDFAST_ADMIN_URL", on.admin_url)
        monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", TOKEN)

        async def shell(*arguments: str) -> tuple[int, str]:
            code = await asyncio.to_thread(main, ["breakers", *arguments])
            captured = capsys.readouterr()
            return code, captured.out + captured.err

        assert await shell() == (0, "No breakers.\n")
        fail(on, "evil\x1b[2J", named=False, times=1)
        code, shown = await shell("open", "openai/vendor/model", "--seconds", "90")
        assert code == 0
        assert shown.splitlines()[1].split()[:4] == ["openai/vendor/model", "all", "open", "manual"]
        code, shown = await shell("list")
        heads, opened, closed = shown.splitlines()
        assert heads.split()[:5] == ["breaker", "for", "state", "why", "probe_in"]
        assert opened.split()[:3] == ["openai/vendor/model", "all", "open"]
        assert closed.split()[0] == "openai/evil\\x1b[2J"
        code, shown = await shell("close", "openai", "vendor/model", "--json")
        assert json.loads(shown)["state"] == "closed"
        assert (await shell("open", "openai/m"))[0] == 0
        assert "when closed by hand" in (await shell("--state", "open"))[1]
        assert (await shell("open", "openai"))[0] == 1
        assert await shell("close", "nobody/m") == (
            1,
            "holdfast: no upstream 'nobody' in the policy (known: openai, anthropic, local)\n",
        )
        code, shown = await shell("open", "openai/m", "--seconds", "0")
        assert code == 1
