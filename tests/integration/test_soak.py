"""A short soak; `python -m tests.soak` is the long one."""

from pathlib import Path

import pytest

from tests.soak.__main__ import faults_of_sessions, faults_of_streams
from tests.soak.sessions import Lived, Sample, soak_sessions
from tests.soak.streams import Delays, soak_streams

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]


async def test_streams_at_once_end_whole_while_others_write(tmp_path: Path) -> None:
    """Each chunk is stamped; how late they come is for the long run to say."""
    done = await soak_streams(tmp_path, 50, 0.5, 60, gap_seconds=(0.05, 0.1))

    assert faults_of_streams(done) == []
    assert len(done.through.came) > 100


async def test_sessions_with_growing_histories_are_all_booked(tmp_path: Path) -> None:
    """Named by path, by header, and by their history alone: no two are merged, none is split."""
    done = await soak_sessions(tmp_path, 200, 5)

    assert faults_of_sessions(done, 200) == []
    assert done.file_bytes / done.steps < 2_000


def test_memory_that_grows_is_a_fault() -> None:
    """On the plateau, not before it."""
    flat = [Sample(n, 50_000_000) for n in range(12)]
    grown = [*flat[:-1], Sample(12, 53_000_000)]
    told = (5, 12, 0, 100, 12, 0, 1.0, 1.0)

    assert faults_of_sessions(Lived(tuple(flat), *told), 12) == []
    assert len(faults_of_sessions(Lived(tuple(grown), *told), 12)) == 1


def test_a_delay_is_told_by_the_checkpoints_it_comes_beside() -> None:
    """Else a thousand quiet chunks hide the one that waited."""
    delays = Delays([(at / 10, 0.001) for at in range(1_000)] + [(50.0, 0.5)])

    assert delays.at(0.5) == pytest.approx(1)
    assert delays.beside([50.0]).at(1.0) == pytest.approx(500)
    assert delays.beside([20.0]).at(1.0) == pytest.approx(1)
