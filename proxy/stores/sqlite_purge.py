"""What is deleted: sessions with all that is theirs but for a tombstone, and idle accounts."""

import sqlite3
from collections.abc import Sequence
from typing import cast

import msgspec

from proxy.core.session import SessionKey
from proxy.stores import DELETED, WAITING, DeletionReason
from proxy.stores.chain import Chain
from proxy.stores.sqlite_jobs import Delete, Purge
from proxy.stores.sqlite_journal import Record, unpack_links
from proxy.stores.sqlite_rows import DECIDED, UNLINK, Bulk, Changes, Row, read_tips, tip_of
from proxy.stores.tombstones import bury, may_be_deleted

SESSIONS_PER_PURGE = 20
"""Few, so that an append never waits long behind a purge."""

ACCOUNTS_PER_PURGE = 200

_TIP = "tenant, session, id, seq, chain, head, token, facet, state"
_UNHELD = "NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id)"
_OLD = f"""SELECT {_TIP} FROM sessions INDEXED BY sessions_by_update
    WHERE state <> '{DELETED}' AND updated_at < ? AND {_UNHELD}
    AND facet NOT IN (SELECT id FROM facets WHERE state IN {WAITING})
    ORDER BY updated_at LIMIT ?"""  # noqa: S608 - constants
_GRAVES = f"""SELECT {_TIP} FROM sessions INDEXED BY sessions_by_facet
    WHERE facet IN (SELECT id FROM facets WHERE state = '{DELETED}') AND updated_at < ?
    AND {_UNHELD} LIMIT ?"""  # noqa: S608 - constants
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
)
_GONE = Bulk(1, "DELETE FROM sessions WHERE id IN (SELECT a FROM r)")
_NOBODYS = Bulk(
    1,
    """DELETE FROM facets WHERE id IN
    (SELECT other.id FROM r CROSS JOIN facets ON facets.id = a CROSS JOIN facets AS other
     ON other.tenant = facets.tenant
     AND coalesce(other.agent, x'') = coalesce(facets.agent, x''))
    AND NOT EXISTS (SELECT 1 FROM sessions INDEXED BY sessions_by_facet WHERE facet = facets.id)""",
)
_HELD = "SELECT EXISTS (SELECT 1 FROM holds WHERE session_id = ?)"
_IDLE = "touched_at < ? AND held = 0 AND held_tokens = 0 AND calls = 0"
_ACCOUNTS = f"SELECT account FROM accounts WHERE {_IDLE} LIMIT ?"  # noqa: S608 - a constant
_ACCOUNT = f"DELETE FROM accounts WHERE account = ?2 AND {_IDLE.replace('?', '?1')}"  # noqa: S608


def purge_sessions(connection: sqlite3.Connection, chain: Chain, purge: Purge) -> int:
    """Deletes some of those last touched before then and without open holds; how many."""
    before, most = purge.updated_before, SESSIONS_PER_PURGE
    live = connection.execute(_OLD, (before, most)).fetchall()
    graves = connection.execute(_GRAVES, (before, most - len(live))).fetchall()
    _erase(connection, [*live, *graves])
    if graves:
        forget_before(connection, before)
        _GONE.run(connection, [(row[2],) for row in graves])
    _bury(connection, chain, live, purge.at, "retention")
    _NOBODYS.run(connection, [*{(row[7],) for row in (*live, *graves)}])
    return len(live) + len(graves)


def delete_session(connection: sqlite3.Connection, chain: Chain, delete: Delete) -> int:
    """Deletes one session; 0 where there is none. Raises SeqConflict, SessionBusy."""
    for row in read_tips(connection, (delete.key,)):
        (is_held,) = connection.execute(_HELD, (row[2],)).fetchone()
        tip, seq = tip_of(row), delete.expected_seq
        if may_be_deleted(delete.key, tip, holds=bool(is_held), expected_seq=seq):
            _erase(connection, [row])
            _bury(connection, chain, [row], delete.at, delete.reason)
            return 1
    return 0


def _erase(connection: sqlite3.Connection, tips: Sequence[Row]) -> None:
    """All that is theirs but for their own rows. tips: as of `read_tips`, more may follow."""
    tenants = {row[2]: row[0] for row in tips}
    ids = [(number,) for number in tenants]
    for number, given in _GIVEN.run(connection, ids):
        digests = [d for part in str(given or "").split(",") for d in _unpacked(part)]
        UNLINK.run(connection, [(tenants[number], digest, number) for digest in digests])
    for bulk in _OF_SESSIONS:
        bulk.run(connection, ids)


def _bury(
    connection: sqlite3.Connection,
    chain: Chain,
    tips: Sequence[Row],
    at: float,
    reason: DeletionReason,
) -> None:
    record = Record()
    for row in tips:
        key, number = SessionKey(str(row[0]), str(row[1])), cast(int, row[2])
        event, tip = bury(chain, key, tip_of(row[:7]), at, reason)
        record.sessions[number] = (*key, tip)
        record.events.append((number, event.seq, event.payload, event.chain, None))
    Changes((record,)).write(connection, DECIDED)


def idle_accounts(connection: sqlite3.Connection, touched_before: float) -> Sequence[str]:
    """Some of those that nothing is held on and nothing was charged to since; a look at all of
    them, so that the writer need not."""
    found = connection.execute(_ACCOUNTS, (touched_before, ACCOUNTS_PER_PURGE))
    return [account for (account,) in found]


def forget_before(connection: sqlite3.Connection, touched_at: float) -> None:
    """Notes that sessions last touched then may have left nothing, not even a tombstone: what
    accounts have more than the events say may be theirs."""
    sql = "UPDATE meta SET value = max(value, ?) WHERE name = 'forgotten'"
    connection.execute(sql, (touched_at,))


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
