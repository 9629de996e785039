"""What happens to sessions that nobody uses: finished, archived, deleted."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.checkpoints import Checkpoints
from proxy.core.session import SessionKey
from proxy.exports import read_export
from proxy.retention import Retention, path_in
from proxy.stores import Append, Content, SessionDump, SessionHead
from proxy.stores.memory import MemoryStore
from tests.fakes import FakeClock
from tests.fakes_stores import KEY, OTHER, SECRET, opened
from tests.unit.test_ledger import KEY as CALLED
from tests.unit.test_ledger import Bench, used, wants

DAY = 86_400.0
HOUR = 3_600.0


class Touched(MemoryStore):
    """A store in which somebody uses a session at the moment at which it was dumped."""

    touch: Append | None = None

    async def dump(self, key: SessionKey) -> SessionDump | None:
        dump = await super().dump(key)
        if self.touch is not None:
            await self.append(self.touch)
            self.touch = None
        return dump


class Kept:
    """A store with three sessions: one of yesterday, two of ten days ago, of which one waits."""

    def __init__(self, archive: Path | None) -> None:
        self.clock = FakeClock()
        self.store = Touched(SECRET)
        self.kept = Checkpoints(archive=str(archive) if archive else None)
        self.retention = Retention(self.store, self.clock, lambda: self.kept, lambda: 3600.0)

    async def fill(self) -> None:
        await self.store.open()
        for days, name, state in ((1, "new", "active"), (10, "old", "killed"), (10, "w", "paused")):
            at = self.clock.now() - days * DAY
            head = SessionHead(state, updated_at=at)
            append = replace(opened(SessionKey("team-a", name), at), head=head)
            await self.store.append(replace(append, contents=(Content("c1.q", name.encode()),)))
        self.clock.advance(3 * HOUR)  # it is believed

    async def left(self) -> list[str]:
        return sorted(row.key.session for row in (await self.store.list_sessions())[0])

    async def in_a_minute(self) -> None:
        self.clock.advance(61)
        await self.retention.look_after()


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[tuple[Kept, Path]]:
    kept = Kept(tmp_path / "archive")
    await kept.fill()
    yield kept, tmp_path / "archive"
    await kept.store.close()


async def test_the_policy_says_how_long_sessions_are_kept() -> None:
    """As it is now: a reload counts at the next minute."""
    kept = Kept(None)
    await kept.fill()
    await kept.retention.look_after()
    assert await kept.left() == ["new", "w"]

    kept.kept = Checkpoints(retention_seconds=3600)
    await kept.in_a_minute()
    assert await kept.left() == ["w"]


async def test_a_session_is_archived_before_it_is_deleted(archive: tuple[Kept, Path]) -> None:
    """All of it, in a file for its owner alone, from which it can be imported."""
    kept, folder = archive
    before = await kept.store.dump(SessionKey("team-a", "old"))
    await kept.retention.look_after()
    (path,) = [path for path in folder.rglob("*") if path.is_file()]

    assert path == folder / "team-a" / "old.1.holdfast"
    modes = [one.stat().st_mode & 0o777 for one in (path, path.parent, folder)]
    assert modes == [0o600, 0o700, 0o700]
    _, dump = read_export([path.read_bytes()])
    assert dump == before
    assert await kept.left() == ["new", "w"]
    (tombstone,) = await kept.store.read(SessionKey("team-a", "old"))
    assert isinstance(tombstone.event, ev.SessionDeleted)
    assert tombstone.event.reason == "retention"


async def test_what_cannot_be_archived_is_not_deleted(
    archive: tuple[Kept, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """And is, once it can be."""
    kept, folder = archive
    folder.write_text("a file is in the way")
    await kept.retention.look_after()
    assert await kept.left() == ["new", "old", "w"]
    assert "cannot be archived" in caplog.text

    folder.unlink()
    await kept.in_a_minute()
    assert await kept.left() == ["new", "w"]
    assert [path.name for path in folder.rglob("*.holdfast")] == ["old.1.holdfast"]
    assert [path.name for path in folder.rglob(".*")] == []


async def test_a_session_that_is_used_while_it_is_archived_stays(
    archive: tuple[Kept, Path],
) -> None:
    """What is in the file is not all of it any more."""
    kept, _ = archive
    key = SessionKey("team-a", "old")
    kept.store.touch = Append(key, (ev.SessionResumed(kept.clock.now()),))
    await kept.retention.look_after()

    assert await kept.left() == ["new", "old", "w"]
    assert len(await kept.store.read(key)) == 2


async def test_many_are_archived_a_few_at_a_time(
    archive: tuple[Kept, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds that were lost meanwhile must not wait for it; but not a minute for each few."""
    kept, folder = archive
    monkeypatch.setattr("proxy.retention._ARCHIVED_AT_ONCE", 2)
    for n in range(4):
        await kept.store.append(opened(SessionKey("team-a", f"o{n}"), kept.clock.now() - 9 * DAY))
    counts = []
    for _ in range(4):
        await kept.retention.look_after()
        counts.append(len(list(folder.rglob("*.holdfast"))))

    assert counts == [2, 4, 5, 5]
    assert await kept.left() == ["new", "w"]


async def test_tombstones_go_by_themselves_where_sessions_are_archived(
    archive: tuple[Kept, Path],
) -> None:
    """They are not archived."""
    kept, folder = archive
    await kept.retention.look_after()
    kept.clock.advance(5 * DAY)
    await kept.store.append(opened(OTHER, kept.clock.now()))
    kept.clock.advance(2 * DAY + 1)
    await kept.retention.look_after()

    assert sorted(key.session for key in await kept.store.list_keys(None, 9)) == ["new", "s1", "w"]
    assert sorted(path.name for path in folder.rglob("*.holdfast")) == [
        "new.1.holdfast",
        "old.1.holdfast",
    ]


class Restarted:
    """A ledger whose sessions were used so many hours before the start, by the clock of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(SECRET)
        self._numbers = count()

    async def used(self, *hours_ago: float) -> None:
        for hours in hours_ago:
            key = SessionKey("team-a", f"s{next(self._numbers)}")
            await self.store.append(opened(key, self.clock.now() - hours * HOUR))

    def starts(self) -> None:
        self.retention = Retention(self.store, self.clock, Checkpoints, lambda: HOUR)

    async def left(self) -> int:
        self.clock.advance(61)
        await self.retention.look_after()
        return len((await self.store.list_sessions())[0])


@pytest.fixture
async def restarted() -> AsyncIterator[Restarted]:
    on = Restarted()
    await on.store.open()
    yield on
    await on.store.close()


@pytest.mark.parametrize("ahead_days", [6, 30])
async def test_a_start_with_a_clock_that_is_ahead_deletes_nothing(
    restarted: Restarted, ahead_days: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What it would have deleted is there once it is right again. Also what is only nearly as old
    as that; and calls that are made meanwhile, and another start, prove nothing."""
    await restarted.used(0, 0.5, 20, 100)
    restarted.clock.jump(ahead_days * DAY)
    restarted.starts()
    assert await restarted.left() == 4
    await restarted.used(0)
    restarted.clock.advance(2 * HOUR)
    assert await restarted.left() == 5
    restarted.starts()
    await restarted.used(0)
    assert await restarted.left() == 6
    restarted.clock.jump(-ahead_days * DAY)
    restarted.starts()
    restarted.clock.advance(4 * HOUR)

    assert await restarted.left() == 6
    warned = [record for record in caplog.records if "may have jumped" in record.message]
    assert len(warned) == 2
    hours = ahead_days * 24
    assert abs(warned[0].__dict__["unused_seconds"] - hours * HOUR) < 200
    assert 10_500 < warned[0].__dict__["wait_seconds"] < 10_800


async def test_a_ledger_that_nobody_used_for_a_month_is_purged_in_the_end(
    restarted: Restarted,
) -> None:
    """Once the clock has been right for three hours of one process."""
    await restarted.used(30 * 24)
    restarted.starts()
    restarted.clock.advance(3 * HOUR - 62)
    assert await restarted.left() == 1

    assert await restarted.left() == 0


async def test_a_sidecar_that_never_runs_for_hours_purges_all_the_same(
    restarted: Restarted,
) -> None:
    """One that is started for an hour a day, but not at weekends: by so much as the longest break
    the clock may be ahead, so a session goes three days later than it would."""
    left = []
    for day in range(28):
        if day % 7 < 5:
            restarted.starts()
            await restarted.used(0)
            left.append(await restarted.left())
            restarted.clock.advance(-61)
        restarted.clock.advance(DAY)

    assert max(left) == 8


async def test_a_ledger_in_use_is_purged_from_the_start_on(restarted: Restarted) -> None:
    """It has no break in it that a jump could have made: its sessions say so, and no process need
    run for hours. Nor where it is younger than that."""
    await restarted.used(200, *(n * 0.9 for n in range(1, 6)))
    restarted.starts()
    assert await restarted.left() == 5
    young = Restarted()
    await young.store.open()
    await young.used(0.1, 0.2)
    young.retention = Retention(
        young.store, young.clock, lambda: Checkpoints(retention_seconds=600.0), lambda: 1.0
    )
    assert await young.left() == 1
    await young.store.close()


async def test_a_ledger_of_many_sessions_is_looked_through_in_a_few_steps(
    restarted: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks every tenant of a Redis."""
    await restarted.used(200, *(n / 100 for n in range(500)))
    asked = count()
    listed = restarted.store.list_sessions

    async def counted(**terms: Any) -> Any:
        next(asked)
        return await listed(**terms)

    monkeypatch.setattr(restarted.store, "list_sessions", counted)
    restarted.starts()
    restarted.clock.advance(61)
    await restarted.retention.look_after()

    assert next(asked) <= 7
    assert len((await listed(limit=1_000))[0]) == 500


async def test_use_since_a_break_counts_with_the_time_of_the_process(restarted: Restarted) -> None:
    """Of an hour and 50 minutes before the start, and from there on."""
    await restarted.used(200, 2.9, 1.8, 0.95)
    restarted.starts()
    restarted.clock.advance(1.2 * HOUR - 62)
    assert await restarted.left() == 4

    assert await restarted.left() == 3


@pytest.mark.parametrize("tenant", ["..", ".", "", "a/b", "../../etc", ".hidden", "ü"])
def test_no_name_leads_out_of_the_archive(tenant: str) -> None:
    """Each to a place of its own, right below it."""
    path = path_in("/archive", SessionKey(tenant, "..s"), 3)

    assert len(path.parts) == 4
    assert not {"..", ".", ""} & set(path.parts)
    assert path.name == "%2E.s.3.holdfast"
    assert path != path_in("/archive", KEY, 3)


async def test_a_session_is_finished_though_its_process_is_gone() -> None:
    """Whoever sweeps finds it in the store; nobody has it in memory any more."""
    bench = Bench()
    await bench.store.open()
    gone = bench.another("gone")
    await gone.reserve(wants("a"))
    await gone.settle(CALLED, "a", used(5))
    bench.clock.advance(3590)
    assert await bench.sweeper.sweep() == 0

    bench.clock.advance(11)
    assert await bench.sweeper.sweep() == 1
    log = await bench.store.read(CALLED)
    assert isinstance(log[-1].event, ev.SessionFinished)
    assert [row.head.state for row in (await bench.store.list_sessions())[0]] == ["finished"]
    await bench.store.close()


async def test_a_listing_that_calls_an_ended_session_idle_is_mended() -> None:
    """Else each sweep would find it again, and no other behind it."""
    bench = Bench()
    await bench.store.open()
    now = bench.clock.now()
    head = SessionHead("active", updated_at=now)
    finished = (ev.SessionOpened(now), ev.SessionFinished(now))
    await bench.store.append(Append(CALLED, finished, head=head))
    bench.clock.advance(4000)

    assert await bench.sweeper.sweep() == 0
    assert await bench.store.list_idle(bench.clock.now(), 9) == []
    assert len(await bench.store.read(CALLED)) == 2
    await bench.store.close()
