"""What the SQLite store adds to the contract: a file, its neighbours, and disks that fail."""

# ruff: noqa: ASYNC240 - a test has its loop for itself

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.events import LimitWarned
from proxy.core.session import SessionKey
from proxy.errors import SeqConflict, StoreUnavailable
from proxy.stores import Append, Balance, Charge, Maximum
from proxy.stores import sqlite_listing as listing
from proxy.stores.chain import first_altered
from proxy.stores.sqlite import SqliteStore
from tests.fakes_stores import (
    KEY,
    NOW,
    OTHER,
    SECRET,
    Disk,
    opened,
    outcome,
    outcomes,
    reserved,
    settled,
)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def on_disk(path: Path, disk: Disk) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, SECRET, connect=disk.connect)
    await store.open()
    yield store
    disk.repair()
    await store.close()


def _edit(path: Path, *statements: str) -> None:
    """What somebody with a sqlite3 shell does to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def _in_tables(store: SqliteStore) -> None:
    """What was appended is in the tables now, where somebody with a shell looks for it."""
    assert await store.writable()


async def _refusal(path: Path, secret: bytes | None = SECRET) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await SqliteStore(path, secret, busy_seconds=0.05).open()
    return caught.value.message


async def test_a_log_outlives_its_process(path: Path) -> None:
    """Closing drains what was appended; the file alone is left, without a WAL."""
    store = SqliteStore(path, SECRET)
    await store.open()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(
            outcomes(store, [Append(KEY, (LimitWarned(NOW),)) for _ in range(300)])
        )
        await asyncio.wait([waiting], timeout=0)
        await store.close()
    assert waiting.result()[-1] == await _last_appended(path)
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


async def _last_appended(path: Path) -> object:
    store = SqliteStore(path, SECRET)
    await store.open()
    repeat = await store.append(settled("unknown"))
    await store.close()
    return replace(repeat, repeated=False)


async def test_file_and_wal_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    """Directories on the way are made; what a ledger says is nobody else's business."""
    path = tmp_path / "var" / "lib" / "ledger.db"
    store = SqliteStore(path)
    await store.open()
    await store.append(opened())

    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == dict.fromkeys(
        ("ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.key"), 0o600
    )
    await store.close()


async def test_an_edited_event_is_named(path: Path, store: SqliteStore) -> None:
    """The chain is in the file, under a key that is not."""
    for _ in range(5):
        await store.append(opened())
    await _in_tables(store)
    _edit(path, "UPDATE events SET payload = replace(payload, '.0', '.5') WHERE seq = 3")

    assert first_altered(SECRET, KEY, await store.read_chain(KEY)) == 3


async def test_an_event_that_cannot_be_read_is_said_to_be_altered(
    path: Path, store: SqliteStore
) -> None:
    """Also bytes that are not UTF-8: told by name, not a crash of the reader."""
    await store.append(opened())
    await _in_tables(store)
    _edit(path, "UPDATE events SET payload = CAST(x'ff00' AS TEXT)")

    with pytest.raises(StoreUnavailable, match="altered"):
        await store.read(KEY)
    assert first_altered(SECRET, KEY, await store.read_chain(KEY)) == 1


async def test_two_stores_on_one_file_see_each_other(path: Path, store: SqliteStore) -> None:
    """What a process remembers is not what is true once another has written."""
    other = SqliteStore(path, SECRET)
    await other.open()
    for n in range(3):
        first, second = (store, other) if n % 2 else (other, store)
        await first.append(reserved(f"c{n}", charges=[Charge("a", 10, maximum=Maximum(30))]))
        assert await outcome(second, reserved("x", expected_seq=2 * n)) == SeqConflict(2 * n + 1)
        assert not (await second.append(settled(f"c{n}"))).repeated
        assert (await first.append(settled(f"c{n}"))).repeated

    assert await other.balances(["a"]) == {"a": Balance(0, 30)}
    await other.close()


async def test_a_full_disk_fails_appends_and_nothing_else(on_disk: SqliteStore, disk: Disk) -> None:
    """The whole batch is rolled back and told; when there is room again, writing goes on."""
    before = await on_disk.append(reserved("c1", charges=[Charge("a", 10)]))
    disk.fill()
    large = [
        replace(
            Append(KEY, (LimitWarned(NOW, limit="x" * 5000),), charges=(Charge("a", 1),)),
            links=(bytes([n]),),
        )
        for n in range(10)
    ]
    failed = await outcomes(on_disk, large)

    assert all(isinstance(e, StoreUnavailable) and "disk is full" in e.message for e in failed)
    assert len({id(e) for e in failed}) == 10
    assert len(await on_disk.read(KEY)) == 1
    disk.repair()
    assert (await on_disk.append(settled("c1"))).seq == before.seq + 1
    assert await on_disk.balances(["a"]) == {"a": Balance(0, 10)}
    assert first_altered(SECRET, KEY, await on_disk.read_chain(KEY)) is None


async def test_a_write_protected_file_is_not_writable(on_disk: SqliteStore, disk: Disk) -> None:
    """Readiness says so, reads go on, and it passes."""
    await on_disk.append(opened())
    disk.protect()

    assert not await on_disk.writable()
    with pytest.raises(StoreUnavailable, match="owner and permissions"):
        await on_disk.append(opened())
    assert len(await on_disk.read(KEY)) == 1
    disk.repair()
    assert await on_disk.writable()


async def test_a_locked_file_is_waited_for_and_then_given_up(path: Path) -> None:
    """A backup or a shell holds the lock: the message says so, and it passes."""
    store = SqliteStore(path, SECRET, busy_seconds=0.05)
    await store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        failed = await outcome(store, opened())
        shell.execute("ROLLBACK")

    assert isinstance(failed, StoreUnavailable)
    assert "another program keeps it locked" in failed.message
    assert (await store.append(opened())).seq == 1
    await store.close()


async def test_a_removed_file_is_noticed(path: Path, store: SqliteStore) -> None:
    """SQLite would go on writing into a file without a name, and all of it would be lost."""
    await store.append(opened())
    aside = path.with_name("aside")
    path.rename(aside)

    with pytest.raises(StoreUnavailable, match="put it back"):
        await store.append(opened())
    with pytest.raises(StoreUnavailable, match="put it back"):
        await store.read(KEY)
    assert not await store.writable()
    aside.rename(path)
    assert (await store.append(opened())).seq == 2


async def test_a_replaced_file_is_opened(path: Path, tmp_path: Path, store: SqliteStore) -> None:
    """A restored backup is what counts, and nothing remembered of the one before."""
    await store.append(opened())
    for file in tmp_path.glob("ledger.db*"):
        file.unlink()
    backup = SqliteStore(path, SECRET)
    await backup.open()
    await backup.append(opened())
    await backup.append(opened())

    assert (await store.append(opened())).seq == 3
    assert len(await store.read(KEY)) == 3
    await backup.close()


async def test_what_was_tampered_with_fails_alone(path: Path, store: SqliteStore) -> None:
    """One session's rows contradict each other: its neighbours in the batch do not notice."""
    await store.append(opened())
    await _in_tables(store)
    _edit(path, "INSERT INTO events SELECT session_id, 2, payload, chain, links FROM events")
    bad, fine = await outcomes(store, [opened(), opened(OTHER)])

    assert isinstance(bad, StoreUnavailable)
    assert "it was altered" in bad.message
    assert not isinstance(fine, Exception)
    assert len(await store.read(OTHER)) == 1


async def test_a_damaged_file_is_named(path: Path, store: SqliteStore) -> None:
    """Pages of noise: told what to do, in reads as in writes."""
    for n in range(200):
        await store.append(opened(SessionKey("t", f"s{n}")))
    await store.close()
    path.write_bytes(path.read_bytes()[:45_056] + os.urandom(100_000))
    await store.open()

    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.list_sessions()
    with pytest.raises(StoreUnavailable, match="damaged"):
        await store.append(opened(OTHER))


async def test_a_file_that_is_not_a_database_is_refused(path: Path) -> None:
    """And left as it was."""
    path.write_text("dear diary, " * 1000)

    assert "not a SQLite database" in await _refusal(path)
    assert path.read_text().startswith("dear diary")


async def test_a_database_of_another_program_is_refused(path: Path) -> None:
    """And not even its journal mode is touched."""
    _edit(path, "CREATE TABLE bookmarks (url)")
    before = path.read_bytes()

    assert "another program" in await _refusal(path)
    assert path.read_bytes() == before


async def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    """Its tables may mean what we cannot know."""
    store = SqliteStore(path, SECRET)
    await store.open()
    await store.close()
    _edit(path, "PRAGMA user_version = 99")

    assert "newer version" in await _refusal(path)


async def test_another_key_is_refused(path: Path) -> None:
    """With it the chain would break in the middle, and `verify` would blame the log."""
    store = SqliteStore(path)
    await store.open()
    await store.close()

    assert "another key" in await _refusal(path, SECRET)
    path.with_name("ledger.db.key").unlink()
    assert "ledger.db.key of the ledger" in await _refusal(path, None)
    assert not path.with_name("ledger.db.key").exists()


async def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """Below a file, at a directory, below what does not let us."""
    (tmp_path / "file").touch()

    assert "cannot be created" in await _refusal(tmp_path / "file" / "ledger.db")
    assert "cannot be opened" in await _refusal(tmp_path)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        (listing._BY_UPDATE, (1, 2, 3)),
        (listing._OF_FACET, (1, 1, 2, 0, 3)),
        (listing._WANTED.format("state = 'x'"), (1, 2, 3)),
        (listing._IDLE.format("'x'"), (1, 3)),
    ],
)
async def test_many_sessions_are_still_listed_by_index(
    path: Path, store: SqliteStore, sql: str, values: tuple[int, ...]
) -> None:
    """A page costs what a page costs: no plan reads or sorts the whole table."""
    await store.append(opened())
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    of_sessions = [step for step in plan if "facets" not in step]
    assert any("SEARCH sessions USING" in step for step in of_sessions), plan
    assert not any("SCAN sessions" in step or "TEMP B-TREE" in step for step in of_sessions), plan


async def test_what_the_writer_remembers_is_bounded(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgetting costs a read, never the truth."""
    monkeypatch.setattr("proxy.stores.sqlite_tables._REMEMBERED", 3)
    for n in range(10):
        await store.append(reserved("c", SessionKey("t", f"s{n}"), charges=[Charge(f"a{n}", 1)]))
    for n in range(10):
        assert not (await store.append(settled("c", SessionKey("t", f"s{n}")))).repeated

    assert (await store.append(reserved("d", SessionKey("t", "s0")))).seq == 3
