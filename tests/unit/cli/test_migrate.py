"""holdfast migrate, from file to file."""

import argparse
import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from proxy.cli import migrate
from proxy.stores.sqlite import SqliteStore, key_path
from proxy.stores.urls import chain_key
from proxy.workers.owners import FolderOwners, owners_folder
from tests.fakes_stores import KEY, NOW, SECRET, opened
from tests.unit.test_migration import fill

Told = Callable[..., tuple[int, str]]


async def _filled(path: Path) -> None:
    store = SqliteStore(path, SECRET)
    await store.open()
    await fill(store)
    await store.close()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HOLDFAST_CHAIN_KEY", raising=False)
    path = tmp_path / "a.db"
    key_path(path).write_bytes(SECRET)
    key_path(path).chmod(0o600)
    asyncio.run(_filled(path))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "below" / "b.db"


@pytest.fixture
def told(source: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    def run(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        migrate.add_arguments(parser)
        given = words or (str(source), f"sqlite:///{target}")
        code = migrate.run(parser.parse_args(given))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_ledger_is_taken_over_with_its_key(told: Told, source: Path, target: Path) -> None:
    """And verified; begun again, there is nothing left to do. The source stays."""
    counts = "45 events, 1 contents, 1 accounts, 1 open holds: all are there as they were"
    code, said = told()

    assert code == 0
    assert f"42 sessions, {counts}" in said
    assert key_path(target).read_bytes() == SECRET
    assert key_path(target).stat().st_mode & 0o777 == 0o600
    assert chain_key(f"sqlite:///{target}", {}) == SECRET
    code, said = told()
    assert (code, f"42 sessions (42 were there already), {counts}" in said) == (0, True)
    with closing(sqlite3.connect(source)) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (42,)


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_ledger_that_is_served_is_not_taken(
    told: Told, source: Path, target: Path, which: str
) -> None:
    """It would change meanwhile."""
    path = source if which == "source" else target
    folder = owners_folder(f"sqlite:///{path}")
    owner = FolderOwners(folder, "p1-x")
    owner.claim()
    code, said = told()
    assert (code, f"{path} is served now (by p1-x)" in said) == (2, True)
    assert not target.exists()

    owner.leave(settled=False)
    assert told()[0] == 0


def test_a_ledger_with_another_key_is_not_written_into(told: Told, target: Path) -> None:
    """No chain would verify."""
    target.parent.mkdir()
    key_path(target).write_bytes(b"x" * 32)
    key_path(target).chmod(0o600)
    code, said = told()

    assert code == 2
    assert "is another key than that of the ledger to be taken over" in said
    assert not target.exists()


def test_another_session_there_is_a_fault(told: Told, target: Path) -> None:
    """With an exit code of its own."""
    assert told()[0] == 0

    async def used() -> None:
        store = SqliteStore(target, SECRET)
        await store.open()
        await store.append(opened(at=NOW + 5))
        await store.close()

    asyncio.run(used())
    code, said = told()
    assert code == 1
    assert f"session {KEY.session} of {KEY.tenant} is there, and is another one" in said
    assert "not all are there as they were" in said


def test_what_cannot_be_is_said(told: Told, source: Path, tmp_path: Path) -> None:
    """The same ledger twice, memory, none there, no URL, what waits beside the source."""
    url = f"sqlite:///{source}"
    link = tmp_path / "link.db"
    link.symlink_to(source)
    key_path(link).symlink_to(key_path(source))

    assert "the same ledger" in told(url, url)[1]
    assert "the same ledger" in told(url, f"sqlite:///{link}")[1]
    assert "gone with this process" in told(url, "memory://")[1]
    assert "there is no ledger" in told("sqlite:////nowhere/x.db", url)[1]
    assert "no such store" in told(url, "etcd://x")[1]
    (tmp_path / "a.db.spools").mkdir()
    (tmp_path / "a.db.spools" / "p1.spool").touch()
    code, said = told()
    assert (code, "calls wait in" in said) == (2, True)


def test_what_is_no_ledger_is_not_made_one(told: Told, tmp_path: Path, target: Path) -> None:
    """A file that lost all its pages, or that is empty, is no ledger with nothing in it."""
    source = tmp_path / "empty.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM")
    key_path(source).write_bytes(SECRET)
    key_path(source).chmod(0o600)
    before = source.read_bytes()

    code, said = told(f"sqlite:///{source}", f"sqlite:///{target}")
    assert (code, "is not a ledger: it is empty" in said) == (2, True)
    assert source.read_bytes() == before
    assert not target.exists()
