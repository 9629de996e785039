"""Real processes on disks that are full, cannot be written or were tampered with: nothing that was
acknowledged is lost, and what is said is true and says what to do."""

# ruff: noqa: ASYNC240 - a test has its loop for itself

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.heads import Heads
from proxy.cli.verifying import verify_ledger
from proxy.stores.sqlite import SqliteStore
from tests.crash.books import in_file, read_ledger, wrong
from tests.crash.disks import (
    bound_files,
    fill,
    make_read_only,
    refused_start,
    small_disk,
    unbound_files,
)
from tests.crash.load import Clients
from tests.crash.rounds import Stage, stage
from tests.integration.crew_kit import Serving
from tests.integration.kit import body_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


@asynccontextmanager
async def served(on: Stage) -> AsyncIterator[tuple[Serving, Clients]]:
    """A sidecar with some calls behind it."""
    async with on.serving() as car:
        clients = Clients(car, "x", random.Random(1))
        for dialect in ("chat", "messages"):
            await clients.call(dialect=dialect, stream=True)
        assert len(clients.given) == 2
        yield car, clients


async def refusal(car: Serving, clients: Clients, most: int = 40) -> tuple[int, str]:
    """What a new call is told. The file may have some room left that was made before: so it is
    asked until it is refused, `most` times."""
    for number in range(most):
        url = f"{car.url}/s/new-{number}/v1/chat/completions"
        body = body_of("chat", text="x" * 20_000)
        async with car.http.post(url, json=body, headers=clients.headers) as response:
            if response.status != 200:
                error = (await response.json())["error"]
                assert error["code"] == "store_unavailable"
                assert response.headers["x-should-retry"] == "false"
                return response.status, error["message"]
    return 200, ""


async def until_ready(car: Serving, wanted: int = 200) -> str:
    for _ in range(100):
        status, said = await car.text("/readyz", admin=False)
        if status == wanted:
            return said
        await asyncio.sleep(0.1)  # noqa: TID251 - another process in real time
    raise AssertionError(said)


async def all_is_there(on: Stage, clients: Clients) -> list[str]:
    """After another start on the same file."""
    async with on.serving() as car:
        clients.car = car
        ledger = await read_ledger(in_file(on.folder / "ledger.db"))
        for _ in range(40):
            if not ledger.holds:
                break
            await asyncio.sleep(0.1)  # noqa: TID251 - another process in real time
            ledger = await read_ledger(in_file(on.folder / "ledger.db"))
        ledger = await read_ledger(in_file(on.folder / "ledger.db"))
        assert await clients.call(stream=False, dialect="chat", session="x-next") == 200
        clients.given = [given for given in clients.given if given.session != "x-next"]
        return wrong(ledger, clients, on.sim.journal)


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed"])
async def test_a_full_disk_refuses_calls_and_loses_none(tmp_path: Path, killed: bool) -> None:
    """A stream in flight ends for its client, or is cut; what is new is told what to do. With room
    again it goes on by itself."""
    with small_disk(tmp_path / "disk") as disk:
        async with stage(disk) as on:
            async with served(on) as (car, clients):
                stream = asyncio.ensure_future(
                    clients.call(session="x-flight", stream=True, dialect="chat", tokens=80)
                )
                await asyncio.sleep(0.2)  # noqa: TID251 - it is in flight
                filler = fill(disk)
                status, said = await refusal(car, clients)
                await asyncio.wait([stream])
                not_ready = await until_ready(car, 503)
                if killed:
                    car.process.kill()
                    await car.process.wait()
                filler.unlink()
                if not killed:
                    await until_ready(car)
                    assert await clients.call(session="x-again", stream=False) == 200
            faults = await all_is_there(on, clients)

    assert status == 503
    assert "the disk is full: free some space" in said
    assert "cannot be written" in not_ready
    assert faults == []


async def test_a_file_that_cannot_grow_refuses_calls_and_loses_none(tmp_path: Path) -> None:
    """The same for who may mount nothing: the system refuses each write beyond a size."""
    async with stage(tmp_path) as on:
        async with served(on) as (car, clients):
            largest = max(file.stat().st_size for file in tmp_path.glob("ledger.db*"))
            bound_files(car.process.pid, largest)
            status, said = await refusal(car, clients)
            unbound_files(car.process.pid)
            await until_ready(car)
            assert await clients.call(session="x-again", stream=False) == 200
            car.process.kill()
            await car.process.wait()
        faults = await all_is_there(on, clients)

    assert status == 503
    assert "the ledger" in said
    assert faults == []


async def ledger_in(folder: Path) -> Path:
    """A closed one."""
    path = folder / "ledger.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    return path


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_start_on_a_full_disk_says_so(tmp_path: Path, workers: int) -> None:
    """SQLite says "disk I/O error" there, which sends an operator to look for broken hardware."""
    with small_disk(tmp_path / "disk") as disk:
        path = await ledger_in(disk)
        fill(disk)
        old, new = await refused_start(path, workers), await refused_start(disk / "new.db")

    assert "the disk is full: free some space" in old
    assert "the disk is full: free some space" in new


async def test_a_start_on_a_read_only_disk_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = await ledger_in(disk)
        make_read_only(disk)
        old, new = await refused_start(path), await refused_start(disk / "new.db")

    assert "mounted read-only: mount it writable" in old
    assert "mounted read-only: mount it writable" in new


async def test_a_closed_ledger_on_a_read_only_disk_is_verified(tmp_path: Path) -> None:
    """As a backup is. SQLite alone would begin a WAL beside it, even to read."""
    with small_disk(tmp_path / "disk") as disk:
        path = await ledger_in(disk)
        make_read_only(disk)
        with Heads() as heads:
            verified = verify_ledger(str(path), {}, heads)

    assert verified.faulty == 0
    assert "as they were written" in verified.summary()


async def test_a_killed_ledger_on_a_read_only_disk_says_so_too(tmp_path: Path) -> None:
    """Its WAL is there, and SQLite says only that it may not write."""
    store = SqliteStore(tmp_path / "ledger.db")
    await store.open()
    with small_disk(tmp_path / "disk") as disk:
        for file in tmp_path.glob("ledger.db*"):
            if file.is_file():
                shutil.copy2(file, disk)
        await store.close()
        make_read_only(disk)
        said = await refused_start(disk / "ledger.db")

    assert "mounted read-only: mount it writable" in said


async def test_a_lost_key_is_said_to_be_lost_and_none_is_made(tmp_path: Path) -> None:
    """A new one in its place would hide that, and whoever finds a backup later would not know which
    of the two is right."""
    path = await ledger_in(tmp_path)
    key = path.with_name("ledger.db.key")
    aside = key.rename(tmp_path / "backup")
    said = await refused_start(path)
    assert not key.exists()
    aside.rename(key)
    again = SqliteStore(path)
    await again.open()
    await again.close()

    assert "is gone: put it back from a backup" in said
    assert str(key) in said


def _damage(path: Path, size: int, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: os.truncate(path, 3_000), "it is damaged: restore a backup"),
        (lambda path: _damage(path, 1_024, 0), "it is not a SQLite database"),
        (lambda path: (path.unlink(), path.mkdir()), "it cannot be opened"),
    ],
    ids=["cut short", "no header", "a directory"],
)
async def test_a_damaged_ledger_is_refused_in_a_sentence(
    tmp_path: Path, damage: Callable[[Path], Any], told: str
) -> None:
    path = await ledger_in(tmp_path)
    damage(path)

    assert told in await refused_start(path)


async def test_a_ledger_that_is_moved_away_and_back_goes_on(tmp_path: Path) -> None:
    """What was in flight is settled when it is there again."""
    async with stage(tmp_path) as on:
        async with served(on) as (car, clients):
            path = tmp_path / "ledger.db"
            aside = path.rename(tmp_path / "aside")
            status, said = await refusal(car, clients)
            aside.rename(path)
            await until_ready(car)
            assert await clients.call(session="x-again", stream=False) == 200
        faults = await all_is_there(on, clients)

    assert (status, "is gone" in said, "put it back" in said) == (503, True, True)
    assert faults == []


async def test_a_wal_that_is_removed_takes_nothing_with_it(tmp_path: Path) -> None:
    """SQLite goes on in a file without a name, which is gone with the process: somebody who tidied
    up would lose all that was not checkpointed, though it had been acknowledged. It is noticed when
    the store is looked after, every other second."""
    async with stage(tmp_path) as on:
        async with served(on) as (car, clients):
            (tmp_path / "ledger.db-wal").unlink()
            told = await car.logged(lambda line: "WAL was removed" in str(line["message"]))
            await clients.call(session="x-after", stream=False)
            car.process.kill()
            await car.process.wait()
        faults = await all_is_there(on, clients)

    assert faults == []
    assert told["level"] == "warning"


async def test_an_emptied_ledger_is_not_begun_anew_in_the_middle(tmp_path: Path) -> None:
    """All budgets would begin again, and nobody would know. A checkpoint that runs in that moment
    writes all of so young a ledger into it again, and nothing is lost: then once more."""
    async with stage(tmp_path) as on, served(on) as (car, clients):
        path = tmp_path / "ledger.db"
        for _ in range(3):
            os.truncate(path, 0)
            status, said = await refusal(car, clients, most=1)
            if status == 503:
                break

        assert status == 503
        assert "was emptied while it was in use: put a backup in its place" in said


async def test_another_file_in_its_place_is_told_of(tmp_path: Path) -> None:
    """It is gone on with, for that is how a backup is put back; budgets may begin again with it."""
    async with stage(tmp_path) as on, served(on) as (car, clients):
        path = tmp_path / "ledger.db"
        shutil.copy(path, tmp_path / "backup")
        (tmp_path / "backup").rename(path)
        await clients.call(stream=False)
        told = await car.logged(lambda line: "another file is in the place" in str(line["message"]))

        assert told["level"] == "warning"
