"""`store.on_failure: open`, whole: the ledger's file is taken away from sidecars that serve."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.simulator import Script, Simulator, Turn
from tests.fakes_redis import RedisServer, needs_server, running
from tests.integration.crew_kit import Serving, serving
from tests.integration.kit import Sidecar, frames, sidecar

OPEN = "store: {on_failure: open}\nlimits: {parallel: null}\n"
_FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm")


def take_away(folder: Path) -> None:
    """As a volume that is unmounted: what has it open finds it gone, and it cannot be made anew."""
    for name in _FILES:
        if (folder / name).exists():
            (folder / name).rename(folder / f"away-{name}")
    (folder / "ledger.db").mkdir()


def bring_back(folder: Path) -> None:
    (folder / "ledger.db").rmdir()
    for name in _FILES:
        if (folder / f"away-{name}").exists():
            (folder / f"away-{name}").rename(folder / name)


def billed(sim: Simulator) -> float:
    """In USD, at the prices for tests."""
    return sum(e.input_tokens + 2 * e.output_tokens for e in sim.journal) / 1e6


async def is_back(on: Sidecar) -> None:
    while True:
        async with on.http.get(f"{on.admin_url}/readyz") as answer:
            if await answer.text() == "ok\n":
                return


async def counted(on: Sidecar, name: str) -> float:
    async with on.http.get(f"{on.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return float(line.split()[1])


@pytest.mark.timeout(30)
async def test_calls_go_on_and_every_cent_is_booked(tmp_path: Path) -> None:
    """In flight when it goes, begun while it is away, in flight when it comes back; old sessions
    and new ones, streamed and not."""
    slow = Script((Turn(text="Hello. " * 30, chunk_gap_seconds=0.01),))
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, OPEN, script=slow, store=store) as on:
        assert (await on.call()).status == 200
        running = asyncio.ensure_future(on.call(stream=True))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 2)
        take_away(tmp_path)
        answers = [await on.call(session=name) for name in ("s1", "new", "s1")]
        answers.append(await running)
        last = asyncio.ensure_future(on.call(stream=True, session="new"))
        async with on.http.get(f"{on.admin_url}/readyz") as ready:
            said = await ready.text()
        await on.sim.wait_for(lambda sim: len(sim.journal) == 6)
        bring_back(tmp_path)
        answers.append(await last)
        assert [answer.status for answer in answers] == [200] * 5
        assert frames(answers[-1].body)[-1][1] == "[DONE]"
        assert ready.status == 200
        assert "calls are let through" in said
        assert await counted(on, "holdfast_store_open_calls_total") == 4

        await is_back(on)
        shown = [await on.admin("GET", f"/sessions/{name}") for name in ("s1", "new")]
        assert [one["steps"] for one in shown] == [4, 2]
        assert [one["held_usd"] for one in shown] == [0, 0]
        assert sum(one["cost_usd"] for one in shown) == pytest.approx(billed(on.sim), abs=5e-7)  # type: ignore[misc]  # JSON
        assert await counted(on, "holdfast_store_spooled") == 0


async def test_closed_is_the_default(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, store=store) as on:
        await on.call()
        take_away(tmp_path)
        answer = await on.call()
        bring_back(tmp_path)

        assert answer.status == 503
        assert answer.error["code"] == "store_unavailable"
        assert (await on.call()).status == 200


@asynccontextmanager
async def killed(folder: Path, sim: Simulator, workers: int) -> AsyncIterator[Serving]:
    """Sidecar of so many workers; all of them are killed at the end."""
    async with serving(folder, sim.url, workers, policy=OPEN) as on:
        yield on
        import os

        for pid in on.pids() if workers > 1 else []:
            os.kill(pid, signal.SIGKILL)
        on.process.kill()
        await on.ended()


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 2])
async def test_killed_while_the_store_is_away(tmp_path: Path, workers: int) -> None:
    """What was answered was durable: the next process brings it home, whoever died with it."""
    async with Simulator(seed=1) as sim:
        async with killed(tmp_path, sim, workers) as on:
            assert (await on.call()).status == 200
            take_away(tmp_path)
            names = [f"s{n % 5}" for n in range(40)]
            answers = await asyncio.gather(*(on.call(session=name) for name in names))
            assert {answer.status for answer in answers} == {200}
        left = {path.suffix for path in (tmp_path / "ledger.db.spools").iterdir()}
        assert ".spool" in left
        async with serving(tmp_path, sim.url, workers, policy=OPEN) as on:
            assert (await on.call(session="s1")).status == 200  # still away
            bring_back(tmp_path)
            rows = await whole(on, billed(sim))
            assert sum(steps for steps, _ in rows) == sim.totals.requests == 42
            assert await on.open_holds() == []
            await on.stop()
        assert sorted(path.name for path in (tmp_path / "ledger.db.spools").iterdir()) == []


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_workers_start_though_redis_is_away(tmp_path: Path) -> None:
    """They speak to each other in a folder of their own, which nobody else makes for them."""
    needs_server("redis")
    server = RedisServer("redis", tmp_path / "one", ("--appendfsync", "always"))
    env = {"HOLDFAST_CHAIN_KEY": "k" * 32, "HOLDFAST_STATE_DIR": str(tmp_path / "state")}
    async with (
        Simulator(seed=1) as sim,
        serving(tmp_path, sim.url, 2, policy=OPEN, store=server.url, env=env) as on,
    ):
        answers = [await on.call(session=name) for name in ("s1", "s2", "s1")]
        assert [answer.status for answer in answers] == [200] * 3
        with running(server):
            rows = await whole(on, billed(sim))
            assert sorted(steps for steps, _ in rows) == [1, 2]
            assert await on.stop() == 0


async def whole(on: Serving, usd: float) -> list[tuple[int, float]]:
    """Steps and costs of all sessions, once every worker has brought home what it keeps."""
    while True:
        told = await on.admin("GET", "/sessions?limit=100")
        rows = json.loads(json.dumps(told.get("sessions", [])))
        steps = [(int(row["steps"]), float(row["cost_usd"])) for row in rows]
        if sum(cost for _, cost in steps) == pytest.approx(usd, abs=5e-7):
            return steps


def test_the_page_says_what_is_written(tmp_path: Path) -> None:
    """`holdfast check` takes both words."""
    import subprocess
    import sys

    file = tmp_path / "policy.yaml"
    for word, code in (("open", 0), ("closed", 0), ("ajar", 1)):
        file.write_text(f"store: {{on_failure: {word}}}\n")
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "check", str(file)], capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
    assert "open" in json.dumps(done.stdout + done.stderr)
