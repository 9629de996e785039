"""The WAL goes back into the file without anyone waiting, and never grows without bound."""

import asyncio
import logging
from contextlib import closing
from pathlib import Path

import pytest

from proxy.core.events import LimitWarned
from proxy.stores import Append
from proxy.stores.effects import prepare
from proxy.stores.sqlite import SqliteStore
from proxy.stores.sqlite_checkpoint import Checkpointer
from proxy.stores.sqlite_file import create_file
from proxy.stores.sqlite_handle import SqliteFile
from proxy.stores.sqlite_jobs import WriteJob
from proxy.stores.sqlite_writer import SqliteWriter
from tests.fakes_stores import KEY, NOW, SECRET

FOUR_KB = Append(KEY, (LimitWarned(NOW, limit="x" * 4000),))


async def test_a_wal_that_has_grown_is_begun_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under unbroken load, and with nothing lost."""
    monkeypatch.setattr(Checkpointer.__init__, "__defaults__", (100_000, 200_000))
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, SECRET)
    await store.open()
    sizes = [0]
    while len(sizes) < 3 or sizes[-1] >= sizes[-2]:
        await store.append(FOUR_KB)
        sizes.append(SqliteFile(path, SECRET).wal.stat().st_size)

    assert max(sizes) >= 100_000
    assert len(await store.read(KEY)) == len(sizes) - 1
    await store.close()


async def test_the_writer_empties_the_wal_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between two batches; while another connection reads it goes on without."""
    monkeypatch.setattr("proxy.stores.sqlite_writer._WATCH_BYTES", 0)
    file = SqliteFile(tmp_path / "ledger.db", SECRET)
    create_file(file.path)
    writer = SqliteWriter(file, asyncio.get_running_loop(), lambda _: True)
    writer.handle([_job(), _job()])
    emptied = file.wal.stat().st_size
    with closing(file.connect(file.path, 1.0)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        writer.handle([_job()])
        kept = file.wal.stat().st_size
    writer.handle([_job()])

    assert (emptied, kept > 4000, file.wal.stat().st_size) == (0, True, 0)
    writer.close()


async def test_a_checkpoint_that_fails_fails_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the next one may succeed."""
    checkpointer = Checkpointer(SqliteFile(tmp_path / "none.db", SECRET), 1, 1000)
    checkpointer.start()
    with caplog.at_level(logging.WARNING):
        checkpointer.wal_grown(10)
        checkpointer.stop()

    assert "could not be checkpointed" in caplog.text
    assert not checkpointer._is_running


def test_a_checkpoint_is_due_by_growth(tmp_path: Path) -> None:
    """Since the last one; a WAL that is shorter than it was has been begun anew."""
    checkpointer = Checkpointer(SqliteFile(tmp_path / "none.db", SECRET), 100, 1000)
    asked = [checkpointer.wal_grown(size) for size in (50, 99)]
    assert asked == [False, False]
    assert not checkpointer._is_running
    checkpointer.wal_grown(100)
    assert checkpointer._is_running
    checkpointer._checkpoint([100])
    checkpointer.wal_grown(199)
    assert not checkpointer._is_running
    checkpointer.wal_grown(40)
    checkpointer.wal_grown(139)

    assert checkpointer._is_running


def test_the_writer_is_asked_to_empty_it_once_in_a_while(tmp_path: Path) -> None:
    """Not at every batch, where a long read keeps it from succeeding."""
    checkpointer = Checkpointer(SqliteFile(tmp_path / "none.db", SECRET), 100, 1000)
    checkpointer._checkpoint([1000])

    asked = [checkpointer.wal_grown(size) for size in (1001, 1002, 1003)]
    assert asked == [True, False, False]
    checkpointer._checkpoint([2050])
    assert checkpointer.wal_grown(2051)
    checkpointer.wal_grown(0)
    checkpointer._checkpoint([999])
    assert not checkpointer.wal_grown(999)
    assert checkpointer.wal_grown(1000)


def _job() -> WriteJob:
    return WriteJob(prepare(FOUR_KB), asyncio.get_running_loop().create_future())
