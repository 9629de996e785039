"""Sessions and accounts read whole from the ledger's file, to be restored in another store."""

import sqlite3
from collections.abc import Sequence
from typing import cast

from proxy.core.session import SessionKey
from proxy.stores import AccountRow, Content, Hold, SessionDump
from proxy.stores import sqlite_queries as queries
from proxy.stores.effects import Tip
from proxy.stores.sqlite_contents import read_contents
from proxy.stores.sqlite_journal import unpack_links
from proxy.stores.sqlite_overlay import Overlay
from proxy.stores.sqlite_rows import hold_of, read_tips, tip_of
from proxy.stores.sqlite_tables import balance_of

_KEYS = """SELECT session, tenant FROM sessions WHERE (session, tenant) > (?, ?)
    ORDER BY session, tenant LIMIT ?"""
_FIRST_KEYS = "SELECT session, tenant FROM sessions ORDER BY session, tenant LIMIT ?"
_HOLDS = """SELECT call_id, owner, deadline, cost, accounts, tokens, trees FROM holds
    WHERE session_id = ?"""
_GIVEN = "SELECT links FROM events WHERE session_id = ? AND links NOTNULL"
_LOOSE = "SELECT digest FROM loose_links WHERE session_id = ?"
_ACCOUNTS = """SELECT account, touched_at, spent, held, tokens, held_tokens, steps, tool_calls,
    calls FROM accounts WHERE account > ? ORDER BY account LIMIT ?"""


def list_keys(
    connection: sqlite3.Connection, overlay: Overlay, after: SessionKey | None, limit: int
) -> Sequence[SessionKey]:
    if after is None:
        rows = connection.execute(_FIRST_KEYS, (limit,)).fetchall()
    else:
        rows = connection.execute(_KEYS, (after.session, after.tenant, limit)).fetchall()
    last = (after.session, after.tenant) if after is not None else ("", "")
    newer = ((key.session, key.tenant) for key, _ in overlay.sessions.values())
    keys = sorted({*rows, *(name for name in newer if after is None or name > last)})
    return [SessionKey(tenant, session) for session, tenant in keys[:limit]]


def dump(connection: sqlite3.Connection, overlay: Overlay, key: SessionKey) -> SessionDump | None:
    number, tip = _tip(connection, overlay, key)
    if tip is None or tip.head is None:
        return None
    contents = read_contents(connection, overlay, key, None)
    return SessionDump(
        key,
        tip.seq,
        tip.chain,
        tip.token,
        tip.head,
        queries.read_chain(connection, overlay, key, 0),
        _holds(connection, overlay, key, number),
        _links(connection, overlay, key, number),
        tuple(Content(name, data) for name, data in sorted(contents.items())),
    )


def dump_accounts(
    connection: sqlite3.Connection, overlay: Overlay, after: str, limit: int
) -> Sequence[AccountRow]:
    found: dict[str, AccountRow] = {
        name: (name, balance_of(tuple(counts)), touched_at)
        for name, touched_at, *counts in connection.execute(_ACCOUNTS, (after, limit))
    }
    for name, balance in overlay.balances.items():
        if name > after:
            at = max(overlay.touched[name], found[name][2] if name in found else 0.0)
            found[name] = (name, balance, at)
    return [found[name] for name in sorted(found)[:limit]]


def _tip(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey
) -> tuple[int, Tip | None]:
    for number, (newer, tip) in overlay.sessions.items():
        if newer == key:
            return number, tip
    for row in read_tips(connection, (key,)):
        return cast(int, row[2]), tip_of(row)
    return 0, None


def _holds(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey, number: int
) -> tuple[tuple[str, Hold], ...]:
    rows = connection.execute(_HOLDS, (number,)).fetchall()
    held: dict[str, Hold | None] = {row[0]: hold_of(row[1:]) for row in rows}
    held |= {call_id: hold for (of, call_id), hold in overlay.holds.items() if of == key}
    return tuple((call_id, hold) for call_id, hold in sorted(held.items()) if hold is not None)


def _links(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey, number: int
) -> tuple[bytes, ...]:
    """Those that still lead to it: a digest given to more than eight sessions left the oldest."""
    given = {d for (packed,) in connection.execute(_GIVEN, (number,)) for d in unpack_links(packed)}
    given |= {digest for (digest,) in connection.execute(_LOOSE, (number,))}
    given |= overlay.given(key)
    found = queries.find_links(connection, overlay, key.tenant, tuple(given))
    return tuple(sorted(digest for digest, to in found.items() if key.session in to))
