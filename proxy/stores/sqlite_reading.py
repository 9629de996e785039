"""A ledger's file read beside whoever writes it: nothing in it is migrated, locked or written, and
the key of its chain is not needed."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from proxy.core.events import AnyEvent
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import sqlite_queries as queries
from proxy.stores.sqlite_file import APPLICATION_ID, check_readable, explain
from proxy.stores.sqlite_overlay import Overlay, Overlays

_PER_PAGE = 500
_BUSY_SECONDS = 5.0
_PAGE = "SELECT id, tenant, session FROM sessions WHERE id > ? ORDER BY id LIMIT ?"
_MAGIC = b"SQLite format 3\0"


def is_sqlite(path: Path) -> bool:
    """Whether a file is a SQLite database, by what it begins with. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_sessions(path: Path) -> Iterator[tuple[SessionKey, Sequence[AnyEvent]]]:
    """Every session with its log, one at a time, each as it is when its turn comes.

    Raises StoreUnavailable, saying what to do."""
    try:
        # A transaction for each, so that the writer's WAL does not grow as long as we read.
        connection = open_to_read(path)
        try:
            overlays = Overlays()
            for key in _keys(connection, overlays):
                yield key, _log(connection, overlays, key)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(path, error) from error


def check_begun(path: Path) -> None:
    """Whether there is a ledger in a file, of whichever version. Raises StoreUnavailable."""
    try:
        with closing(sqlite3.connect(_uri(path), uri=True, timeout=_BUSY_SECONDS)) as connection:
            (number,) = connection.execute("PRAGMA application_id").fetchone()
    except sqlite3.Error as error:
        raise explain(path, error) from error
    if number != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is not a ledger: it is empty, or another program's")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Raises StoreUnavailable, sqlite3.Error."""
    connection = sqlite3.connect(_uri(path), uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        check_readable(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _uri(path: Path) -> str:
    """Beside a file SQLite would begin a WAL even to read it. Where nobody can, as on a backup's
    volume, and none was left, the file alone is all of the ledger."""
    wal = path.with_name(f"{path.name}-wal")
    is_left = path.exists() and not wal.exists()
    is_still = is_left and os.statvfs(path).f_flag & os.ST_RDONLY
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_still else ''}"


def _keys(connection: sqlite3.Connection, overlays: Overlays) -> Iterator[SessionKey]:
    last, is_more = -1, True
    while is_more:
        with Moment(connection, overlays) as overlay:
            rows = connection.execute(_PAGE, (last, _PER_PAGE)).fetchall()
            found = [(number, SessionKey(tenant, session)) for number, tenant, session in rows]
            is_more = len(rows) == _PER_PAGE
            last = found[-1][0] if found else last
            if not is_more:  # and those that are not in the tables yet
                found += [(n, key) for n, (key, _) in overlay.sessions.items() if n > last]
        for _, key in found:
            yield key


def _log(connection: sqlite3.Connection, overlays: Overlays, key: SessionKey) -> Sequence[AnyEvent]:
    with Moment(connection, overlays) as overlay:
        return [stored.event for stored in queries.read(connection, overlay, key, 0)]


def as_text(data: bytes) -> str:
    """For verifying. What is not UTF-8 is not what was written; but it is no reason to stop."""
    return data.decode(errors="replace")


class Moment:
    """One transaction: tables and journal as they were together."""

    def __init__(self, connection: sqlite3.Connection, overlays: Overlays) -> None:
        self._connection = connection
        self._overlays = overlays

    def __enter__(self) -> Overlay:
        self._connection.execute("BEGIN")
        try:
            return self._overlays.read(self._connection)
        except BaseException:
            self._connection.rollback()
            raise

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
