"""Several `holdfast serve` on one Redis: one truth, whoever dies. Small runs of tests/fleet."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.simulator import Turn
from proxy.stores import OpenHold
from proxy.stores.redis import RedisStore
from tests.fakes_redis import RedisServer, needs_server, running
from tests.fleet.servers import pair
from tests.fleet.spending import Asked, spending
from tests.fleet.stage import KEY, Stage, stage
from tests.integration.crew_kit import quickest
from tests.integration.kit import frames

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

ENDLESS = (Turn(text_tokens=100_000, chunk_gap_seconds=0.005),)
SHORT = (Turn(text_tokens=20),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    needs_server("redis")
    server = RedisServer("redis", tmp_path / "redis")
    with running(server):
        yield server


@pytest.fixture
async def on(server: RedisServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """Two replicas and a provider whose answers do not end."""
    async with stage(tmp_path, server.url, ENDLESS, "", 2) as on:
        yield on


async def holds(on: Stage) -> list[OpenHold]:
    store = RedisStore(on.url, KEY.encode())
    await store.open()
    try:
        return list(await store.open_holds())
    finally:
        await store.close()


async def cut_by(stream: aiohttp.ClientResponse) -> str:
    body = await stream.content.read()
    return str(json.loads(frames(body)[-1][1])["error"]["code"])


async def test_a_kill_cuts_the_streams_of_every_replica(on: Stage) -> None:
    """And what comes later is refused by all."""
    loop = asyncio.get_running_loop()

    async def killed(session: str) -> float:
        streams = [await one.streaming(session) for one in on.on.values()]
        began = loop.time()
        command = on.on[0].admin("POST", f"/sessions/{session}/kill")
        killing = asyncio.ensure_future(command)
        told = await asyncio.gather(*map(cut_by, streams))
        took = loop.time() - began

        assert told == ["session_killed"] * 2
        assert (await killing)["state"] == "killed"
        refused = [await one.call(session=session) for one in on.on.values()]
        assert [answer.error["code"] for answer in refused] == ["session_killed"] * 2
        return took

    assert await quickest(killed, 0.1) < 1.5  # 0.1 on a machine that does nothing else


async def test_a_kill_that_went_unheard_is_heard_of(on: Stage, server: RedisServer) -> None:
    """The connection on which a replica listens is broken just then, and made anew."""
    stream = await on.on[1].streaming()
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    assert (await on.on[0].admin("POST", "/sessions/s1/kill"))["state"] == "killed"

    assert await cut_by(stream) == "session_killed"


async def test_a_pause_and_an_extension_are_heard_by_all(on: Stage) -> None:
    streams = [await one.streaming() for one in on.on.values()]
    await on.on[1].admin("POST", "/sessions/s1/pause")
    assert (await on.on[0].call()).error["code"] == "session_paused"
    await on.on[0].admin("POST", "/sessions/s1/resume")
    shown = await on.on[1].admin("GET", "/sessions/s1")
    assert shown["state"] == "active"
    for stream in streams:
        stream.close()


async def test_what_a_dead_replica_held_is_booked(on: Stage) -> None:
    """Nobody waits for the deadline of its calls: its lease ends."""
    stream = await on.on[0].streaming()
    (held,) = await holds(on)
    on.on[0].process.kill()
    with pytest.raises(aiohttp.ClientError):
        await stream.content.read()
    while await holds(on):
        pass

    shown = await on.on[1].admin("GET", "/sessions/s1")
    assert shown["held_usd"] == 0
    assert shown["cost_usd"] != 0
    assert held.owner


async def test_one_that_was_stopped_for_longer_than_its_lease_goes_on(on: Stage) -> None:
    """Others have booked its call whole; it does not book it again, and serves on."""
    stream = await on.on[0].streaming()
    on.on[0].process.send_signal(signal.SIGSTOP)
    while await holds(on):
        pass
    booked = (await on.on[1].admin("GET", "/sessions/s1"))["cost_usd"]
    on.on[0].process.send_signal(signal.SIGCONT)
    stream.close()
    before = on.sim.totals.requests
    again = await on.on[0].streaming("other")
    again.close()
    while await holds(on):
        pass

    assert on.sim.totals.requests == before + 1
    assert (await on.on[0].admin("GET", "/sessions/s1"))["cost_usd"] == booked
    assert (await on.on[1].admin("GET", "/sessions/s1"))["cost_usd"] == booked


async def test_several_workers_on_redis(server: RedisServer, tmp_path: Path) -> None:
    """Workers of one `serve` speak through their sockets, and to other replicas through Redis; one
    that dies is booked there and then."""
    async with stage(tmp_path, server.url, ENDLESS, "", 1) as on:
        crew = await on.start(1, workers=2)
        streams = [await client.streaming() for client in (on.on[0], crew, crew)]
        killing = asyncio.ensure_future(on.on[0].admin("POST", "/sessions/s1/kill"))
        assert await asyncio.gather(*map(cut_by, streams)) == ["session_killed"] * 3
        await killing

        stream = await crew.streaming("s2")
        os.kill(crew.pid_of(stream, door=0), signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()
        shown: object = None
        while shown != 0:
            shown = (await on.on[0].admin("GET", "/sessions/s2"))["held_usd"]
        run = [path.name for path in (tmp_path / "1" / "state").glob("*.run")]
        assert len(run) == 1
        await crew.stop()
        assert list((tmp_path / "1" / "state").glob("*.run")) == []


async def test_redis_away_at_the_start(tmp_path: Path, server: RedisServer) -> None:
    """Closed: it says so and does not start. Open: it serves, and is one of the fleet later."""
    async with stage(tmp_path, server.url, SHORT, "store: {on_failure: open}\n", 0) as on:
        server.stop()
        started = await on.start(0)
        assert (await started.call()).status == 200
        said = (await started.text("/readyz"))[1]
        assert said.startswith("ok\n")
        assert "appends wait for it" in said
        server.start()
        while (await started.text("/readyz"))[1] != "ok\n":
            pass
        assert await holds(on) == []
        shown = await started.admin("GET", "/sessions/s1")
        assert (shown["steps"], shown["cost_usd"]) == (1, on.billed() / 1e6)

        server.stop()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "serve", f"--store={server.url}"),
            *("--port=0", "--admin-port=0"),
            env={**os.environ, "HOLDFAST_CHAIN_KEY": KEY, "HOLDFAST_STATE_DIR": str(tmp_path)},
            stderr=PIPE,
        )
        _, said_so = await process.communicate()
        assert process.returncode == 1
        assert b"cannot be reached" in said_so.splitlines()[-1]
        server.start()


@pytest.mark.timeout(170)
@pytest.mark.parametrize(("on_failure", "share"), [("closed", 1.2), ("open", 2.0)])
async def test_one_budget_under_load(tmp_path: Path, on_failure: str, share: float) -> None:
    """A replica is killed, Redis restarted and failed over in the middle: never more than the
    budget, but where calls are let through. What is booked above the bill are holds of calls that
    the replica had in flight, to the micro-dollar."""
    needs_server("redis")
    asked = Asked(3, 30, 3, share=share, patience_seconds=1, on_failure=on_failure)
    with pair("redis", tmp_path) as servers:
        spent = await spending(asked, servers, tmp_path)

    print(spent.shown())
    assert spent.faults() == []
