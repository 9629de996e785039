"""The SQLite file: how it is created, opened, migrated, and what its errors mean to an operator.

Durability: WAL with synchronous=NORMAL. A commit survives the death of the process (kill -9),
because the WAL is in the kernel's hands by then. A power cut or a kernel crash may lose the
commits since the last checkpoint; the file itself stays whole, and the chain verifies up to where
it ends.
"""

import hmac
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores.volumes import READ_ONLY, advice, fault_of

log = logging.getLogger(__name__)

APPLICATION_ID = 0x484F4C44  # "HOLD"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # `id` keeps rows of one session together in every other table and off the text keys.
        """CREATE TABLE sessions (
            id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL,
            seq INTEGER NOT NULL, chain BLOB NOT NULL, head TEXT NOT NULL, token BLOB NOT NULL,
            state TEXT NOT NULL, agent TEXT, updated_at REAL NOT NULL,
            UNIQUE (session, tenant))""",
        # Covers every filter of a listing, so that a rare state is found without reading all rows.
        "CREATE INDEX sessions_by_update ON sessions (updated_at, id, state, agent, tenant)",
        # With a rowid, so that a batch is appended to a page or two; clustered by session, each of
        # its rows dirtied a page of its own (32 sessions: 9.8 KB of WAL an append instead of 2.1).
        """CREATE TABLE events (
            session_id INTEGER NOT NULL, seq INTEGER NOT NULL,
            payload TEXT NOT NULL, chain BLOB NOT NULL,
            UNIQUE (session_id, seq))""",
        """CREATE TABLE accounts (
            account TEXT PRIMARY KEY, spent INTEGER NOT NULL, held INTEGER NOT NULL
            ) WITHOUT ROWID""",
        """CREATE TABLE holds (
            session_id INTEGER NOT NULL, call_id TEXT NOT NULL,
            owner TEXT NOT NULL, deadline REAL NOT NULL, cost INTEGER NOT NULL,
            accounts TEXT NOT NULL,
            PRIMARY KEY (session_id, call_id)) WITHOUT ROWID""",
        """CREATE TABLE links (
            tenant TEXT NOT NULL, digest BLOB NOT NULL, session_id INTEGER NOT NULL,
            ordinal INTEGER NOT NULL,
            PRIMARY KEY (tenant, digest, session_id)) WITHOUT ROWID""",
        "CREATE INDEX links_by_session ON links (session_id)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    ),
    (
        *(
            f"ALTER TABLE accounts ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0"
            for name in ("tokens", "held_tokens", "steps", "tool_calls", "calls")
        ),
        "ALTER TABLE holds ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE holds ADD COLUMN trees TEXT NOT NULL DEFAULT '[]'",
    ),
    (
        # What commits changed that the tables do not have yet: see sqlite_journal.
        "CREATE TABLE journal (id INTEGER PRIMARY KEY, name BLOB NOT NULL, record BLOB NOT NULL)",
        # When something was last charged to it. Of those that are there: not before now.
        "ALTER TABLE accounts ADD COLUMN touched_at REAL NOT NULL DEFAULT 0",
        """UPDATE accounts SET touched_at = max(CAST(strftime('%s') AS REAL),
            (SELECT coalesce(max(updated_at), 0) FROM sessions))""",
    ),
    (
        # An index of links by session was half of what a link cost, to find them once, at the end.
        # An event says what its append gave; `loose_links` has what no event tells.
        "ALTER TABLE events ADD COLUMN links BLOB",
        """CREATE TABLE loose_links (
            session_id INTEGER NOT NULL, tenant TEXT NOT NULL, digest BLOB NOT NULL,
            PRIMARY KEY (session_id, tenant, digest)) WITHOUT ROWID""",
        "INSERT INTO loose_links SELECT session_id, tenant, digest FROM links",
        "DROP INDEX links_by_session",
    ),
    (
        # 1: something stands before a human; 2: a webhook is owed. Few rows have either.
        "ALTER TABLE sessions ADD COLUMN queued INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX sessions_queued ON sessions (updated_at, id) WHERE queued > 0",
    ),
    (
        # With a rowid for what events have one, and because a table without one puts all but the
        # first kilobyte of a row on pages of its own.
        """CREATE TABLE contents (
            session_id INTEGER NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
            UNIQUE (session_id, name))""",
    ),
    (
        # What a listing asks for has a number, and an index has that and the time: a filter is a
        # few such numbers, however rare what it asks for. `sessions_by_update` had the texts of
        # each row; a rare state was found by reading all of it (100 ms of a million sessions).
        """CREATE TABLE facets (
            id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, agent TEXT, state TEXT NOT NULL)""",
        "CREATE UNIQUE INDEX facets_by_name ON facets (tenant, coalesce(agent, x''), state)",
        """INSERT INTO facets (tenant, agent, state)
            SELECT DISTINCT tenant, agent, state FROM sessions""",
        "ALTER TABLE sessions ADD COLUMN facet INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX sessions_by_update",
        """UPDATE sessions SET facet = (SELECT id FROM facets WHERE tenant = sessions.tenant
            AND coalesce(agent, x'') = coalesce(sessions.agent, x'') AND state = sessions.state)""",
        "CREATE INDEX sessions_by_facet ON sessions (facet, updated_at)",
        # Tombstones are newer than what they are left of: a listing would read all of them first.
        """CREATE INDEX sessions_by_update ON sessions (updated_at, id, facet)
            WHERE state <> 'deleted'""",
    ),
)
"""MIGRATIONS[n] takes a file from version n to n + 1; `PRAGMA user_version` says where it is."""

Connect = Callable[[Path, float], sqlite3.Connection]

_OPENING_TRIES = 20
_MIGRATING_MS = 120_000
"""A ledger of a million sessions takes a tenth of it."""

_ADVICE: dict[int, str] = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked: end its transaction (a sqlite3 shell, a "
    "backup); writing goes on by itself",
    sqlite3.SQLITE_FULL: "the disk is full: free some space; writing goes on by itself",
    sqlite3.SQLITE_READONLY: "it cannot be written: check the owner and permissions of the file "
    "and its directory, and that the volume is not mounted read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that its directory exists, and the owner "
    "and permissions of both",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database: give another path, or move the file away",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a backup, or move it away to begin a new one",
    sqlite3.SQLITE_CONSTRAINT: "its tables contradict each other, so it was altered: "
    "`holdfast verify` tells where",
    sqlite3.SQLITE_IOERR: "the disk reports an error: check the volume, and that it is a local one",
}
_OF_THE_VOLUME = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_ADVICE[sqlite3.SQLITE_LOCKED] = _ADVICE[sqlite3.SQLITE_BUSY]
_ADVICE[sqlite3.SQLITE_PERM] = _ADVICE[sqlite3.SQLITE_READONLY]


def explain(path: Path, error: sqlite3.Error) -> StoreUnavailable:
    """What went wrong and what to do about it."""
    code = primary_code(error)
    advice = _ADVICE.get(code)
    fault = fault_of(path)
    if code in _OF_THE_VOLUME or (code == sqlite3.SQLITE_READONLY and fault == READ_ONLY):
        advice = fault or advice
    detail = f"{advice} ({error})" if advice else str(error)
    return StoreUnavailable(f"the ledger {path} is unavailable: {detail}")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 where the error is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection that begins and commits only when told to. The file must exist.

    SQLite serialises its use; each is used by one thread only, but a test may reach into it.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )


def create_file(path: Path) -> None:
    """An empty file that only its owner can read; SQLite gives the WAL the same mode.

    Never opens one that exists: closing it would release the POSIX locks of this whole process.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        if path.exists():
            return  # another process was first
        raise StoreUnavailable(
            f"the ledger {path} cannot be created: "
            + advice(error, "check the owner and the permissions of its directory")
        ) from error


def prepare_file(connection: sqlite3.Connection, path: Path, secret: bytes) -> None:
    """Makes the file ours: WAL, current schema, this key. Raises StoreUnavailable if it cannot
    be."""
    _check_origin(connection, path)
    if _is_current(connection):
        check_key(connection, path, secret)
        return
    _switch_to_wal(connection)
    (busy_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    if busy_ms:  # another process may be migrating a large ledger
        connection.execute(f"PRAGMA busy_timeout = {_MIGRATING_MS}").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    try:
        _check_origin(connection, path)  # again: another process may have been here
        _migrate(connection, path)
        if connection.execute("SELECT 1 FROM meta WHERE name = 'key'").fetchone() is None:
            connection.execute("INSERT INTO meta VALUES ('key', ?)", (_mark_of(secret),))
        check_key(connection, path, secret)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    finally:
        connection.execute(f"PRAGMA busy_timeout = {busy_ms}").fetchone()


def check_readable(connection: sqlite3.Connection, path: Path) -> None:
    """Whether a file is a ledger as this version writes it. Raises StoreUnavailable."""
    _check_origin(connection, path)
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is not a ledger: it is empty")
    if _pragma(connection, "user_version") != len(MIGRATIONS):
        raise StoreUnavailable(
            f"the ledger {path} is of an older version of Holdfast: `holdfast serve --store` opens "
            "it and brings it up to date"
        )


def tune(connection: sqlite3.Connection) -> None:
    """Per connection: no checkpoint but ours; a WAL begun anew is cut, so its size tells its
    content."""
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA temp_store = MEMORY")  # what a statement could undo: not to a file
    connection.execute("PRAGMA secure_delete = FAST").fetchone()  # no page is written to be blanked
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA journal_size_limit = 0").fetchone()


def _is_current(connection: sqlite3.Connection) -> bool:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return mode == "wal" and _pragma(connection, "user_version") == len(MIGRATIONS)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA page_size = 2048")  # of a new file: half the WAL of a lone append
    for attempt in range(_OPENING_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # The switch does not wait for others that open the file now; a transaction does.
            if primary_code(error) != sqlite3.SQLITE_BUSY or attempt == _OPENING_TRIES - 1:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")


def _check_origin(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"the ledger {path} was written by a newer version of Holdfast (schema {version}, "
            f"this one knows {len(MIGRATIONS)}): upgrade Holdfast, or give another path"
        )
    is_used = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    if is_used and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreUnavailable(
            f"{path} is the database of another program: give another path for the ledger"
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version == 0:
        log.info("a new ledger is begun: no call was made before", extra={"ledger": str(path)})
    elif version < len(MIGRATIONS):
        told = {"ledger": str(path), "from_schema": version, "to_schema": len(MIGRATIONS)}
        log.info("the ledger is of an older version and is brought up to date", extra=told)
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:  # of an older one nobody knows what it has forgotten
        connection.execute("INSERT INTO meta VALUES ('forgotten', 0)")
    if version < len(MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def check_key(connection: sqlite3.Connection, path: Path, secret: bytes) -> None:
    """One file, one key: with another the chain would break in the middle."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()
    if row is None or row[0] != _mark_of(secret):
        raise StoreUnavailable(
            f"the ledger {path} was chained with another key: restore its key file or "
            "HOLDFAST_CHAIN_KEY, or move the ledger away to begin a new one"
        )


def _mark_of(secret: bytes) -> bytes:
    """Tells keys apart without telling anything about them."""
    return hmac.digest(secret, b"holdfast chain key", "sha256")[:8]


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
