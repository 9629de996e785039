"""A ledger read by somebody who is not its writer."""

# ruff: noqa: ASYNC240 - a test has its loop for itself

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores.sqlite import SqliteStore, key_path
from proxy.stores.sqlite_reading import is_sqlite, read_sessions
from tests.fakes_stores import KEY, OTHER, SECRET, opened, reserved, settled


def names(path: Path) -> list[tuple[SessionKey, list[str]]]:
    return [(key, [type(e).__name__ for e in log]) for key, log in read_sessions(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def filled(path: Path) -> SqliteStore:
    store = SqliteStore(path, SECRET)
    await store.open()
    for append in (opened(), reserved("c1"), opened(OTHER), settled("c1")):
        await store.append(append)
    return store


async def test_every_session_is_read_while_another_process_writes(path: Path) -> None:
    """The journal holds what the tables do not have yet."""
    store = await filled(path)
    try:
        assert names(path) == [
            (KEY, ["SessionOpened", "StepReserved", "StepSettled"]),
            (OTHER, ["SessionOpened"]),
        ]
    finally:
        await store.close()


async def test_what_is_in_the_tables_and_what_is_not_are_one(path: Path) -> None:
    """A third session after the first two were written into the tables, and one more event."""
    store = await filled(path)
    third = SessionKey("team-a", "s3")
    try:
        await store.close()
        await store.open()
        await store.append(opened(third))
        await store.append(reserved("c2", OTHER))

        assert names(path)[1:] == [
            (OTHER, ["SessionOpened", "StepReserved"]),
            (third, ["SessionOpened"]),
        ]
    finally:
        await store.close()


async def test_more_sessions_than_a_page_has(path: Path) -> None:
    store = SqliteStore(path, SECRET)
    await store.open()
    keys = [SessionKey("t", f"s{n}") for n in range(1203)]
    for key in keys:
        store.append(opened(key))
    await store.close()

    assert [key for key, _ in names(path)] == keys


async def test_reading_needs_no_key_and_changes_nothing(path: Path) -> None:
    """A copy is read on somebody else's machine, who has no business with its key."""
    await (await filled(path)).close()
    before = path.read_bytes()

    assert len(names(path)) == 2
    assert path.read_bytes() == before
    assert not key_path(path).exists()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE theirs (x)", "is the database of another program"),
        ("PRAGMA user_version = 0", "is not a ledger"),
    ],
)
def test_another_programs_file_is_told(path: Path, statement: str, said: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(StoreUnavailable, match=said):
        names(path)


@pytest.mark.parametrize(("version", "said"), [(1, "older version"), (99, "newer version")])
async def test_a_ledger_of_another_version_is_told(path: Path, version: int, said: str) -> None:
    """It is not brought up to date by somebody who only reads."""
    await (await filled(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")

    with pytest.raises(StoreUnavailable, match=said):
        names(path)


def test_a_file_that_is_not_there_or_damaged_is_told(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        names(path)
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(StoreUnavailable, match=r"ledger\.db is unavailable"):
        names(path)


async def test_a_sqlite_file_is_known_by_its_beginning(path: Path) -> None:
    await (await filled(path)).close()
    assert is_sqlite(path)
    path.write_text("{}")
    assert not is_sqlite(path)
