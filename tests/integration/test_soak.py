"""A short soak; `python -m tests.soak` is the long one."""

import sqlite3
from pathlib import Path

import pytest

from tests.soak.__main__ import faults_of_sessions, faults_of_streams
from tests.soak.checkpoints import observe
from tests.soak.delays import Delays
from tests.soak.sessions import Lived, Sample, soak_sessions
from tests.soak.streams import Load, Streamed, through, without

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]

LOAD = Load(
    streams=50,
    seconds=1.0,
    stream_seconds=(0.2, 0.5),
    gap_seconds=(0.03, 0.06),
    sample_seconds=0.25,
)


async def test_streams_at_once_end_whole_while_others_write(tmp_path: Path) -> None:
    """Each chunk is stamped; how late they come is for the long run to say."""
    done = await through(tmp_path, LOAD, "watched")

    assert faults_of_streams(done) == []
    assert len(done.came) > 100
    assert done.busy > 0
    assert done.waited > 0


async def test_the_rig_alone_is_measured_the_same_way() -> None:
    """What it is late by itself is no fault of the sidecar's."""
    came = await without(LOAD)

    assert came.whole == came.begun > LOAD.streams
    assert len(came) > 100


async def test_sessions_with_growing_histories_are_all_booked(tmp_path: Path) -> None:
    """Named by path, by header, and by their history alone: no two are merged, none is split. In
    the file is also what each step sent and was answered: some 2,000 bytes of all together."""
    done = await soak_sessions(tmp_path, 200, 5)

    assert faults_of_sessions(done) == []
    assert done.file_bytes / (200 * 5) < 2_500


def test_memory_that_grows_with_sessions_is_a_fault() -> None:
    """On the plateau, not before it."""
    flat = [Sample(n, 30_000_000 + min(n, 40) * 500_000) for n in range(100)]
    grown = [*flat[:-1], Sample(99, 53_000_000)]
    told = (25, 0, 100, 100, 0, 1.0, 1.0)

    assert faults_of_sessions(Lived(100, 5, tuple(flat), *told)) == []
    assert len(faults_of_sessions(Lived(100, 5, tuple(grown), *told))) == 1


CHECKPOINT = ((50.0, 50.1),)


def delayed(sent: float, late: float = 0.5) -> Delays:
    """A thousand chunks, one of them late by so many seconds."""
    delays = Delays()
    for at in range(1_000):
        delays.add(at / 10, at / 10 + 0.001)
    delays.add(sent, sent + late)
    return delays


def test_a_delay_is_told_by_the_checkpoints_it_comes_beside() -> None:
    """Else a thousand quiet chunks hide the one that waited."""
    during, before, after, else_where = (
        delayed(sent).split(CHECKPOINT) for sent in (50.05, 49.6, 50.2, 20.0)
    )

    assert during[0].at(1.0) == before[0].at(1.0) == pytest.approx(500)
    assert after[0].at(1.0) == else_where[0].at(1.0) == pytest.approx(1)
    assert after[1].at(1.0) == else_where[1].at(1.0) == pytest.approx(500)
    assert during[1].at(0.5) == pytest.approx(1)


@pytest.mark.parametrize(("sent", "found"), [(50.05, 1), (20.0, 0)], ids=["beside", "elsewhere"])
def test_a_checkpoint_that_delays_is_a_fault(sent: float, found: int) -> None:
    """A delay of another cause is none of its own."""
    came, load = delayed(sent, 0.04), Load(1, 60)
    came.begun = came.whole = 1
    done = Streamed(load, came, CHECKPOINT, (1_000,) * 20, 1.0, 0.0, 0)

    assert len(faults_of_streams(done)) == found


@pytest.mark.parametrize(("late", "found"), [(0.06, 1), (0.04, 0)], ids=["stall", "none"])
def test_a_stall_is_a_fault(late: float, found: int) -> None:
    """Whatever it comes from."""
    came = delayed(20.0, late)
    came.add(20.0, 20.0 + late)
    came.begun = came.whole = 1
    done = Streamed(Load(1, 60), came, (), (1_000,) * 20, 1.0, 0.0, 0)

    assert len(faults_of_streams(done)) == found


def test_memory_that_grows_with_a_stream_is_a_fault() -> None:
    """What has passed is over."""
    came, memory = Delays(), tuple(range(1_000, 3_000, 100))
    came.begun = came.whole = 1

    assert len(faults_of_streams(Streamed(Load(1, 60), came, (), memory, 1.0, 0.0, 0))) == 1


@pytest.mark.parametrize("wanted", ["watched", "never"])
def test_checkpoints_are_seen_whoever_asks_for_them(
    tmp_path: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or kept from being carried out, for comparison."""
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)  # to be put back
    spans = observe("never" if wanted == "never" else "watched")
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (b"x" * 9_000,))
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    moved = (tmp_path / "db").stat().st_size

    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    connection.close()
    assert len(spans) == 1
    assert (moved > 4_096) == (wanted == "watched")
