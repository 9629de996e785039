"""What retention deletes, a little at a time: sessions with all that is theirs, idle accounts."""

import sqlite3
from collections.abc import Sequence

import msgspec

from proxy.stores import WAITING
from proxy.stores.sqlite_journal import unpack_links
from proxy.stores.sqlite_rows import UNLINK, Bulk

SESSIONS_PER_PURGE = 20
"""Few, so that an append never waits long behind a purge."""

ACCOUNTS_PER_PURGE = 200

_SESSIONS = f"""SELECT id, tenant FROM sessions WHERE updated_at < ? AND state NOT IN {WAITING}
    AND NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id)
    ORDER BY updated_at LIMIT ?"""  # noqa: S608 - a constant
_GIVEN = Bulk(
    1,
    """SELECT a, (SELECT group_concat(hex(links)) FROM events WHERE session_id = a)
    FROM r WHERE a NOTNULL""",
)
_OF_SESSIONS = (
    Bulk(
        1,
        """DELETE FROM links WHERE (tenant, digest, session_id) IN
        (SELECT tenant, digest, session_id FROM loose_links
         WHERE session_id IN (SELECT a FROM r))""",
    ),
    Bulk(1, "DELETE FROM loose_links WHERE session_id IN (SELECT a FROM r)"),
    Bulk(1, "DELETE FROM contents WHERE session_id IN (SELECT a FROM r)"),
    Bulk(1, "DELETE FROM events WHERE session_id IN (SELECT a FROM r)"),
    Bulk(1, "DELETE FROM sessions WHERE id IN (SELECT a FROM r)"),
)
_IDLE = "touched_at < ? AND held = 0 AND held_tokens = 0 AND calls = 0"
_ACCOUNTS = f"SELECT account FROM accounts WHERE {_IDLE} LIMIT ?"  # noqa: S608 - a constant
_ACCOUNT = f"DELETE FROM accounts WHERE account = ?2 AND {_IDLE.replace('?', '?1')}"  # noqa: S608


def purge_sessions(connection: sqlite3.Connection, updated_before: float) -> int:
    """Deletes some of those last touched before then and without open holds; how many."""
    found = connection.execute(_SESSIONS, (updated_before, SESSIONS_PER_PURGE)).fetchall()
    tenants: dict[object, str] = dict(found)
    ids = [(number,) for number in tenants]
    for number, given in _GIVEN.run(connection, ids):
        digests = [d for part in str(given or "").split(",") for d in _unpacked(part)]
        UNLINK.run(connection, [(tenants[number], digest, number) for digest in digests])
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


def _unpacked(links: str) -> tuple[bytes, ...]:
    """None of what cannot be read: it was altered, and is to go anyway."""
    try:
        return unpack_links(bytes.fromhex(links))
    except (ValueError, msgspec.MsgspecError):
        return ()
