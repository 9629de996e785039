"""What the tables do not have yet is as true as what they have, for everyone, after any end."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.events import StepReserved
from proxy.core.session import SessionKey
from proxy.errors import AccountExceeded, SeqConflict, StoreUnavailable
from proxy.stores import Append, Balance, Charge, Content, Counts, Maximum
from proxy.stores.chain import first_altered
from proxy.stores.effects import prepare
from proxy.stores.sqlite import SqliteStore
from proxy.stores.sqlite_file import APPLICATION_ID, MIGRATIONS, create_file
from proxy.stores.sqlite_handle import SqliteFile
from proxy.stores.sqlite_jobs import Done, Probe, WriteJob
from proxy.stores.sqlite_writer import SqliteWriter
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

HELD = StepReserved(
    NOW, call_id="c1", owner="here", deadline=NOW, hold_cost_micro_usd=7, accounts=("a",)
)


def _select(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


async def _kill(path: Path, into: Path) -> Path:
    """The files as they are while the process runs, as after its death."""
    for name in ("ledger.db", "ledger.db-wal"):
        (into / name).write_bytes(path.with_name(name).read_bytes())
    return into / "ledger.db"


async def test_an_append_is_one_row_until_the_tables_have_it(
    path: Path, store: SqliteStore
) -> None:
    """A commit costs one page or two, whatever it changes."""
    await outcomes(store, [replace(opened(), links=(b"x",)), reserved("c1"), opened(OTHER)])

    assert _select(path, "SELECT count(*) FROM journal") == [(1,)]
    assert _select(path, "SELECT count(*) FROM events") == [(0,)]


async def test_what_a_dead_process_left_in_the_journal_is_not_lost(
    path: Path, tmp_path: Path, store: SqliteStore
) -> None:
    """Its holds are found, its chain goes on, its links lead on: for whoever opens the file."""
    events, charges = (HELD,), (Charge("a", 7),)
    await store.append(Append(KEY, events, charges=charges, links=(b"x",), token=b"t"))
    await store.append(opened(OTHER))
    (tmp_path / "after").mkdir()
    after = SqliteStore(await _kill(path, tmp_path / "after"), SECRET)
    await after.open()

    assert [hold.call_id for hold in await after.open_holds()] == ["c1"]
    assert await after.find_links(KEY.tenant, [b"x"]) == {b"x": (KEY.session,)}
    late = replace(reserved("c2"), expected_seq=1, after=b"other")
    assert await outcome(after, late) == SeqConflict(1)
    assert (await after.append(replace(settled("c1"), spent_micro_usd=3))).seq == 2
    assert await after.balances(["a"]) == {"a": Balance(3, 0)}
    assert first_altered(SECRET, KEY, await after.read_chain(KEY)) is None
    await after.close()


async def test_a_full_journal_goes_into_the_tables(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is empty then; what is asked next is what it was."""
    monkeypatch.setattr("proxy.stores.sqlite_writer.APPENDS_IN_JOURNAL", 5)
    for n in range(14):
        await store.append(reserved(f"c{n}", charges=[Charge("a", 1, maximum=Maximum(14))]))
    await store.read(KEY)

    assert _select(path, "SELECT max(seq) FROM events")[0][0] in (10, 14)
    assert len(await store.read(KEY)) == len(await store.open_holds()) == 14
    refused = await outcome(store, reserved("x", charges=[Charge("a", 1, maximum=Maximum(14))]))
    assert isinstance(refused, Exception)


async def test_a_quiet_moment_empties_the_journal(path: Path) -> None:
    """Who looks at the file with a shell finds the tables complete."""
    file = SqliteFile(path, SECRET)
    create_file(path)
    writer = SqliteWriter(file, asyncio.get_running_loop(), lambda _: False)
    jobs = [WriteJob(prepare(a), _future()) for a in (reserved("c1"), settled("c1"), opened(OTHER))]
    asked = [writer.handle([job]) for job in jobs]
    writer.rest()
    rows = _select(path, "SELECT session, seq FROM sessions")
    asked.append(writer.handle([WriteJob(prepare(opened()), _future())]))

    assert asked == [False, True, True, True]  # the first looked at the file
    assert sorted(rows) == [("s1", 1), ("s1", 2)]
    writer.close()
    assert _select(path, "SELECT (SELECT count(*) FROM journal), count(*) FROM events") == [(0, 4)]


async def test_a_disk_without_room_for_the_tables_leaves_the_journal(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged stays, is said to wait, and goes into the tables later."""
    disk = Disk()
    file = SqliteFile(path, SECRET, connect=disk.connect)
    create_file(path)
    writer = SqliteWriter(file, asyncio.get_running_loop(), lambda _: False)
    many = [opened(SessionKey("t", f"s{n}")) for n in range(100)]
    writer.handle([WriteJob(prepare(opened()), _future())])
    writer.handle([WriteJob(prepare(append), _future()) for append in many])
    disk.fill()
    writer.rest()
    left = _select(path, "SELECT count(*) FROM journal")
    disk.repair()
    again = WriteJob(prepare(opened(many[3].key)), _future())
    writer.handle([again])
    await asyncio.wait([again.future], timeout=5)

    assert left == [(1,)]
    assert "takes no writes" in caplog.text
    assert getattr(again.future.result(), "seq", None) == 2
    assert _select(path, "SELECT count(*) FROM sessions") == [(101,)]
    writer.close()


async def test_a_damaged_journal_is_named(path: Path, store: SqliteStore) -> None:
    """By readers and writers, who cannot go on without it."""
    await store.append(opened())
    await store.append(opened())
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("UPDATE journal SET record = x'00ff', name = x'01'")

    with pytest.raises(StoreUnavailable, match="journal cannot be read"):
        await store.read(KEY)
    with pytest.raises(StoreUnavailable, match="journal cannot be read"):
        await store.append(opened())


async def test_what_was_told_counts_before_what_somebody_put_in_its_place(
    path: Path, store: SqliteStore
) -> None:
    """An event was acknowledged, so it is the one; the tables must not refuse it for ever."""
    await store.append(opened())
    assert await store.writable()  # in the tables now
    told = await store.append(opened())
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("INSERT INTO events SELECT session_id, 2, payload, chain, links FROM events")
    assert await store.writable()

    assert [(row.seq, row.chain) for row in await store.read(KEY)][1:] == [(told.seq, told.chain)]
    assert first_altered(SECRET, KEY, await store.read_chain(KEY)) is None


async def test_a_number_that_no_column_takes_fails_alone(store: SqliteStore) -> None:
    """Before it is in a journal that no table would take."""
    await store.append(opened())
    huge = Append(KEY, (StepReserved(NOW, call_id="c1", hold_tokens=2**63),))
    counted = Charge("tree", counts=Counts(tokens=2**63))
    results = await outcomes(store, [huge, reserved("c2"), reserved("c3", charges=[counted])])

    assert [isinstance(result, StoreUnavailable) for result in results] == [True, False, True]
    assert [hold.call_id for hold in await store.open_holds()] == ["c2"]


async def test_another_process_reads_what_is_only_in_the_journal(
    path: Path, store: SqliteStore
) -> None:
    """And reads on from there, also when the journal has been emptied meanwhile."""
    other = SqliteStore(path, SECRET)
    await other.open()
    seen = []
    for n in range(6):
        await store.append(replace(reserved(f"c{n}"), links=(b"x",)))
        if n == 3:
            await store.writable()
        seen.append((len(await other.read(KEY)), len(await other.open_holds())))

    assert seen == [(n, n) for n in range(1, 7)]
    await other.close()


async def test_a_refusal_stands_on_what_others_have_freed_meanwhile(
    path: Path, store: SqliteStore
) -> None:
    """It writes nothing, so nothing but a look tells that what is remembered is old."""
    full = Charge("a", 7, maximum=Maximum(7))
    other = SqliteStore(path, SECRET)
    await other.open()
    await store.append(Append(KEY, (HELD,), charges=(full,)))
    assert isinstance(await outcome(store, reserved("c2", charges=[full])), AccountExceeded)
    await other.append(settled("c1"))

    assert (await store.append(reserved("c2", charges=[full]))).seq == 3
    await other.close()


async def test_a_purge_leaves_no_row_behind(path: Path, store: SqliteStore) -> None:
    """Links that an append without an event gave as well. But the tombstone, while it is kept."""
    await store.append(replace(opened(), links=(b"x", b"y")))
    await store.append(replace(reserved("c1"), links=(b"z",)))
    body = Content("c1.a", b"said")
    await store.append(replace(settled("c1"), links=(b"x",), contents=(body,)))
    await store.append(Append(KEY, (), links=(b"loose",)))
    assert await store.purge(NOW + 1, NOW + 1) == 1
    tables = ("links", "loose_links", "contents", "events", "sessions")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)

    assert _select(path, f"SELECT {counts}") == [(0, 0, 0, 1, 1)]
    assert await store.purge(NOW + 2, NOW + 2) == 1
    assert _select(path, f"SELECT {counts}") == [(0, 0, 0, 0, 0)]


async def test_the_writer_forgets_what_is_too_much(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that opens sessions without end does not fill the memory."""
    monkeypatch.setattr("proxy.stores.sqlite_tables._REMEMBERED", 3)
    create_file(path)
    file = SqliteFile(path, SECRET)
    writer = SqliteWriter(file, asyncio.get_running_loop(), lambda _: False)
    for n in range(20):
        writer.handle([WriteJob(prepare(opened(SessionKey("t", f"s{n}"))), _future())])

    assert len(writer._tables._tips) <= 4
    writer.close()


async def test_a_ledger_of_an_older_version_is_taken_over(path: Path) -> None:
    """With what was in it; its accounts count as touched now, so that none is purged early."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for statements in MIGRATIONS[:2]:
            for statement in statements:
                old.execute(statement)
        old.execute("INSERT INTO accounts (account, spent, held) VALUES ('a', 5, 0)")
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 2")
        values = "(7, 'team-b', 's1', 1, x'00', '{}', x'', 'active', NULL, 5.0)"
        old.execute(f"INSERT INTO sessions VALUES {values}")
        old.execute("INSERT INTO links VALUES ('team-b', x'61', 7, 1)")
    store = SqliteStore(path, SECRET)
    await store.open()
    await store.append(reserved("c1", charges=[Charge("a", 1)]))

    assert await store.balances(["a"]) == {"a": Balance(5, 1)}
    assert await store.purge_accounts(1_000_000_000.0) == 0
    assert await store.find_links("team-b", [b"a"]) == {b"a": ("s1",)}
    assert await store.purge(6.0, NOW + 1) == 1
    assert _select(path, "SELECT * FROM links") == []
    await store.close()


def _future() -> "asyncio.Future[Done]":
    return asyncio.get_running_loop().create_future()


async def test_tables_that_were_altered_do_not_end_the_writer(path: Path) -> None:
    """It is in no one's batch that they are found out, and whoever appends then is answered."""
    create_file(path)
    writer = SqliteWriter(SqliteFile(path, SECRET), asyncio.get_running_loop(), lambda _: False)
    linked = [replace(opened(SessionKey("t", f"s{n}")), links=(b"x",)) for n in range(3)]
    jobs = [WriteJob(prepare(append), _future()) for append in linked]
    for job in jobs[:2]:
        writer.handle([job])
    writer.rest()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("UPDATE links SET ordinal = 'first'")
    writer.handle([WriteJob(Probe(), _future())])
    writer.handle([jobs[2]])
    writer.rest()
    refused = WriteJob(prepare(opened()), _future())
    writer.handle([refused])
    await asyncio.wait([job.future for job in (*jobs, refused)], timeout=5)

    assert [job.future.exception() for job in jobs] == [None] * 3
    assert isinstance(refused.future.exception(), StoreUnavailable)
    writer.close()


async def test_a_journal_that_was_mended_is_read_once(path: Path, store: SqliteStore) -> None:
    """What came before the record that could not be read was not forgotten, nor is it there
    twice."""
    await store.append(opened())
    await store.append(opened())
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("INSERT INTO journal VALUES (9, x'01', x'00ff')")
        with pytest.raises(StoreUnavailable, match="journal cannot be read"):
            await store.read(KEY)
        shell.execute("DELETE FROM journal WHERE id = 9")

    assert [row.seq for row in await store.read(KEY)] == [1, 2]
