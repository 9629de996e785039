"""What retention deletes, a little at a time: sessions with all that is theirs, idle accounts."""

import sqlite3
from collections.abc import Sequence

from proxy.stores.sqlite_rows import Bulk

SESSIONS_PER_PURGE = 20
"""Few, so that an append never waits long behind a purge."""

ACCOUNTS_PER_PURGE = 200

_SESSIONS = """SELECT id FROM sessions WHERE updated_at < ?
    AND NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id)
    ORDER BY updated_at LIMIT ?"""
_OF_SESSIONS = tuple(
    Bulk(1, f"DELETE FROM {table} WHERE {name} IN (SELECT a FROM r)")  # noqa: S608 - constants
    for table, name in (("links", "session_id"), ("events", "session_id"), ("sessions", "id"))
)
_IDLE = "touched_at < ? AND held = 0 AND held_tokens = 0 AND calls = 0"
_ACCOUNTS = f"SELECT account FROM accounts WHERE {_IDLE} LIMIT ?"  # noqa: S608 - a constant
_ACCOUNT = f"DELETE FROM accounts WHERE account = ?2 AND {_IDLE.replace('?', '?1')}"  # noqa: S608


def purge_sessions(connection: sqlite3.Connection, updated_before: float) -> int:
    """Deletes some of those last touched before then and without open holds; how many."""
    ids = connection.execute(_SESSIONS, (updated_before, SESSIONS_PER_PURGE)).fetchall()
    for bulk in _OF_SESSIONS:
        bulk.run(connection, ids)
    return len(ids)


def idle_accounts(connection: sqlite3.Connection, touched_before: float) -> Sequence[str]:
    """Some of those that nothing is held on and nothing was charged to since; a look at all of
    them, so that the writer need not."""
    found = connection.execute(_ACCOUNTS, (touched_before, ACCOUNTS_PER_PURGE))
    return [account for (account,) in found]


def purge_accounts(
    connection: sqlite3.Connection, accounts: Sequence[str], touched_before: float
) -> int:
    """Deletes those of them that are still idle; how many."""
    return connection.executemany(_ACCOUNT, [(touched_before, a) for a in accounts]).rowcount
