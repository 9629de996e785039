"""What is read from the ledger's file: functions of a connection, run on the reader's thread."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.session import SessionKey
from proxy.stores import Balance, OpenHold, SessionRow, Stored
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import decode_cursor, decode_event, decode_head, encode_cursor
from proxy.stores.sqlite_tables import BALANCE, balance_of

# CAST: bytes as they are, also where someone has put what is not UTF-8.
_LOG = """SELECT seq, CAST(payload AS BLOB), chain FROM events WHERE seq > ?3 AND session_id =
    (SELECT id FROM sessions WHERE session = ?1 AND tenant = ?2) ORDER BY seq"""
_HOLDS = """SELECT tenant, session, call_id, owner, deadline
    FROM holds JOIN sessions ON sessions.id = session_id WHERE deadline <= ?
    ORDER BY deadline, tenant, session, call_id"""
_LINKS = """SELECT session FROM links JOIN sessions ON sessions.id = session_id
    WHERE links.tenant = ? AND digest = ? ORDER BY ordinal"""
_PAGE = """SELECT tenant, session, seq, head, updated_at, id
    FROM sessions INDEXED BY sessions_by_update
    WHERE {} ORDER BY updated_at DESC, id DESC LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Listing:
    """The parameters of `Store.list_sessions`."""

    state: str | None
    agent: str | None
    tenant: str | None
    limit: int
    cursor: str | None


def read_chain(
    connection: sqlite3.Connection, key: SessionKey, after_seq: int
) -> tuple[ChainedPayload, ...]:
    rows = connection.execute(_LOG, (key.session, key.tenant, after_seq)).fetchall()
    return tuple(ChainedPayload(seq, payload, chain) for seq, payload, chain in rows)


def read(connection: sqlite3.Connection, key: SessionKey, after_seq: int) -> Sequence[Stored]:
    return [
        Stored(row.seq, decode_event(row.payload), row.chain)
        for row in read_chain(connection, key, after_seq)
    ]


def balances(connection: sqlite3.Connection, accounts: Iterable[str]) -> Mapping[str, Balance]:
    return {a: balance_of(connection.execute(BALANCE, (a,)).fetchone()) for a in accounts}


def open_holds(connection: sqlite3.Connection, deadline_before: float | None) -> Sequence[OpenHold]:
    before = float("inf") if deadline_before is None else deadline_before
    rows = connection.execute(_HOLDS, (before,)).fetchall()
    return [OpenHold(SessionKey(tenant, session), *hold) for tenant, session, *hold in rows]


def find_links(
    connection: sqlite3.Connection, tenant: str, links: Sequence[bytes]
) -> Mapping[bytes, tuple[str, ...]]:
    found: dict[bytes, tuple[str, ...]] = {}
    for digest in links:
        rows = connection.execute(_LINKS, (tenant, digest)).fetchall()
        if rows:
            found[digest] = tuple(session for (session,) in rows)
    return found


def list_sessions(
    connection: sqlite3.Connection, listing: Listing
) -> tuple[Sequence[SessionRow], str | None]:
    wanted = {"state": listing.state, "agent": listing.agent, "tenant": listing.tenant}
    values: list[object] = [value for value in wanted.values() if value is not None]
    terms = [f"{name} = ?" for name, value in wanted.items() if value is not None]
    if listing.cursor is not None:
        terms.append("(updated_at, id) < (?, ?)")
        values.extend(decode_cursor(listing.cursor))
    limit = max(listing.limit, 1)
    sql = _PAGE.format(" AND ".join(terms) or "TRUE")
    rows = connection.execute(sql, (*values, limit + 1)).fetchall()
    more = encode_cursor(*rows[limit - 1][4:]) if len(rows) > limit else None
    page = [
        SessionRow(SessionKey(tenant, session), seq, decode_head(head))
        for tenant, session, seq, head, _, _ in rows[:limit]
    ]
    return page, more


def find_tenants(connection: sqlite3.Connection, session: str) -> Sequence[str]:
    sql = "SELECT tenant FROM sessions WHERE session = ? ORDER BY tenant"
    return [tenant for (tenant,) in connection.execute(sql, (session,))]
