"""What is read from the ledger's file: functions of a connection and of what the journal says
beyond the tables, run on the reader's thread in one transaction."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from proxy.core.session import SessionKey
from proxy.stores import DELETED, Balance, OpenHold, Queue, SessionRow, Stored
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import decode_event, decode_head
from proxy.stores.queue import OPEN, OWED, stands_in
from proxy.stores.sqlite_overlay import Overlay
from proxy.stores.sqlite_tables import BALANCE, balance_of

# CAST: bytes as they are, also where someone has put what is not UTF-8.
_LOG = """SELECT seq, CAST(payload AS BLOB), chain FROM events WHERE seq > ?3 AND session_id =
    (SELECT id FROM sessions WHERE session = ?1 AND tenant = ?2) ORDER BY seq"""
_HOLDS = """SELECT tenant, session, call_id, owner, deadline
    FROM holds JOIN sessions ON sessions.id = session_id"""
_LINKS = """SELECT session FROM links JOIN sessions ON sessions.id = session_id
    WHERE links.tenant = ? AND digest = ? ORDER BY ordinal"""
_QUEUE = """SELECT tenant, session, seq, head, updated_at, id
    FROM sessions INDEXED BY sessions_queued
    WHERE queued > 0 AND queued & ? ORDER BY updated_at, id LIMIT ?"""


def read_chain(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey, after_seq: int
) -> tuple[ChainedPayload, ...]:
    rows = connection.execute(_LOG, (key.session, key.tenant, after_seq)).fetchall()
    newer = [row for row in overlay.events.get(key, ()) if row.seq > after_seq]
    return (*(ChainedPayload(seq, payload, chain) for seq, payload, chain in rows), *newer)


def read(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey, after_seq: int
) -> Sequence[Stored]:
    return [
        Stored(row.seq, decode_event(row.payload), row.chain)
        for row in read_chain(connection, overlay, key, after_seq)
    ]


def balances(
    connection: sqlite3.Connection, overlay: Overlay, accounts: Iterable[str]
) -> Mapping[str, Balance]:
    return {
        account: overlay.balances.get(account)
        or balance_of(connection.execute(BALANCE, (account,)).fetchone())
        for account in accounts
    }


def open_holds(
    connection: sqlite3.Connection, overlay: Overlay, deadline_before: float | None
) -> Sequence[OpenHold]:
    before = float("inf") if deadline_before is None else deadline_before
    held: dict[tuple[SessionKey, str], tuple[str, float] | None] = {
        (SessionKey(tenant, session), call_id): (owner, deadline)
        for tenant, session, call_id, owner, deadline in connection.execute(_HOLDS)
    }
    for name, hold in overlay.holds.items():
        held[name] = None if hold is None else (hold.owner, hold.deadline)
    due = [OpenHold(*name, *hold) for name, hold in held.items() if hold and hold[1] <= before]
    return sorted(due, key=lambda h: (h.deadline, h.key.tenant, h.key.session, h.call_id))


def find_links(
    connection: sqlite3.Connection, overlay: Overlay, tenant: str, links: tuple[bytes, ...]
) -> Mapping[bytes, tuple[str, ...]]:
    found: dict[bytes, tuple[str, ...]] = {}
    for digest in links:
        rows = connection.execute(_LINKS, (tenant, digest)).fetchall()
        if rows:
            found[digest] = tuple(session for (session,) in rows)
    return overlay.linked(tenant, found, links)


def list_queue(
    connection: sqlite3.Connection, overlay: Overlay, queue: Queue, limit: int
) -> Sequence[SessionRow]:
    newer = overlay.sessions
    bit = OPEN if queue == "open" else OWED
    found = connection.execute(_QUEUE, (bit, limit + len(newer))).fetchall()
    rows = [(row[4], row[5], shown(*row[:4])) for row in found if row[5] not in newer]
    for number, (key, tip) in newer.items():
        if tip.head is not None and stands_in(queue, tip.head):
            rows.append((tip.head.updated_at, number, SessionRow(key, tip.seq, tip.head)))
    rows.sort(key=lambda row: row[:2])
    return [row for _, _, row in rows[:limit]]


def find_tenants(connection: sqlite3.Connection, overlay: Overlay, session: str) -> Sequence[str]:
    sql = f"SELECT tenant FROM sessions WHERE session = ? AND state <> '{DELETED}'"  # noqa: S608
    tenants = {tenant for (tenant,) in connection.execute(sql, (session,))}
    for key, tip in overlay.sessions.values():
        if key.session == session and tip.head is not None:
            (tenants.discard if tip.head.state == DELETED else tenants.add)(key.tenant)
    return sorted(tenants)


def shown(tenant: str, session: str, seq: int, head: str) -> SessionRow:
    return SessionRow(SessionKey(tenant, session), seq, decode_head(head))
