"""What is read from the ledger's file: functions of a connection and of what the journal says
beyond the tables, run on the reader's thread in one transaction."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.session import SessionKey
from proxy.stores import DELETED, Balance, OpenHold, Queue, SessionHead, SessionRow, Stored
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import decode_cursor, decode_event, decode_head, encode_cursor
from proxy.stores.queue import stands_in
from proxy.stores.sqlite_overlay import Overlay
from proxy.stores.sqlite_rows import OPEN, OWED
from proxy.stores.sqlite_tables import BALANCE, balance_of

# CAST: bytes as they are, also where someone has put what is not UTF-8.
_LOG = """SELECT seq, CAST(payload AS BLOB), chain FROM events WHERE seq > ?3 AND session_id =
    (SELECT id FROM sessions WHERE session = ?1 AND tenant = ?2) ORDER BY seq"""
_HOLDS = """SELECT tenant, session, call_id, owner, deadline
    FROM holds JOIN sessions ON sessions.id = session_id"""
_IDLE = """SELECT tenant, session FROM sessions WHERE updated_at < ? AND state IN ({})
    AND NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id) LIMIT ?"""
_LINKS = """SELECT session FROM links JOIN sessions ON sessions.id = session_id
    WHERE links.tenant = ? AND digest = ? ORDER BY ordinal"""
_PAGE = """SELECT tenant, session, seq, head, updated_at, id
    FROM sessions INDEXED BY sessions_by_update
    WHERE {} ORDER BY updated_at DESC, id DESC LIMIT ?"""
_QUEUE = """SELECT tenant, session, seq, head, updated_at, id
    FROM sessions INDEXED BY sessions_queued
    WHERE queued > 0 AND queued & ? ORDER BY updated_at, id LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Listing:
    """The parameters of `Store.list_sessions`."""

    state: str | None
    agent: str | None
    tenant: str | None
    limit: int
    cursor: str | None


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


def list_sessions(
    connection: sqlite3.Connection, overlay: Overlay, listing: Listing
) -> tuple[Sequence[SessionRow], str | None]:
    limit = max(listing.limit, 1)
    after = None if listing.cursor is None else decode_cursor(listing.cursor)
    newer = overlay.sessions
    # Rows that the journal knows better are left out; there may be as many of them as it knows.
    found = _page(connection, listing, after, limit + 1 + len(newer))
    rows = [(row[4], row[5], _shown(*row[:4])) for row in found if row[5] not in newer]
    for number, (key, tip) in newer.items():
        head = tip.head
        if head is not None and _is_wanted(listing, key, head):
            place = (head.updated_at, number)
            if after is None or place < after:
                rows.append((*place, SessionRow(key, tip.seq, head)))
    rows.sort(key=lambda row: row[:2], reverse=True)
    more = encode_cursor(*rows[limit - 1][:2]) if len(rows) > limit else None
    return [row for _, _, row in rows[:limit]], more


def list_queue(
    connection: sqlite3.Connection, overlay: Overlay, queue: Queue, limit: int
) -> Sequence[SessionRow]:
    newer = overlay.sessions
    bit = OPEN if queue == "open" else OWED
    found = connection.execute(_QUEUE, (bit, limit + len(newer))).fetchall()
    rows = [(row[4], row[5], _shown(*row[:4])) for row in found if row[5] not in newer]
    for number, (key, tip) in newer.items():
        if tip.head is not None and stands_in(queue, tip.head):
            rows.append((tip.head.updated_at, number, SessionRow(key, tip.seq, tip.head)))
    rows.sort(key=lambda row: row[:2])
    return [row for _, _, row in rows[:limit]]


def list_idle(
    connection: sqlite3.Connection,
    overlay: Overlay,
    updated_before: float,
    limit: int,
    states: Sequence[str],
) -> Sequence[SessionKey]:
    newer = {key for key, _ in overlay.sessions.values()}
    sql = _IDLE.format(", ".join("?" * len(states)))
    rows = connection.execute(sql, (updated_before, *states, limit + len(newer)))
    found = [key for row in rows if (key := SessionKey(*row)) not in newer]
    for number, (key, tip) in overlay.sessions.items():
        head = tip.head
        is_idle = head is not None and head.state in states and head.updated_at < updated_before
        if is_idle and not _is_held(connection, overlay, key, number):
            found.append(key)
    return found[:limit]


def _is_held(
    connection: sqlite3.Connection, overlay: Overlay, key: SessionKey, number: int
) -> bool:
    sql = "SELECT call_id, 1 FROM holds WHERE session_id = ?"
    held: dict[str, object] = dict(connection.execute(sql, (number,)).fetchall())
    held |= {call_id: hold for (of, call_id), hold in overlay.holds.items() if of == key}
    return any(held.values())


def find_tenants(connection: sqlite3.Connection, overlay: Overlay, session: str) -> Sequence[str]:
    sql = f"SELECT tenant FROM sessions WHERE session = ? AND state <> '{DELETED}'"  # noqa: S608
    tenants = {tenant for (tenant,) in connection.execute(sql, (session,))}
    tenants.update(key.tenant for key, _ in overlay.sessions.values() if key.session == session)
    return sorted(tenants)


def _page(
    connection: sqlite3.Connection,
    listing: Listing,
    after: tuple[float, int] | None,
    limit: int,
) -> list[tuple[str, str, int, str, float, int]]:
    wanted = {"state": listing.state, "agent": listing.agent, "tenant": listing.tenant}
    values: list[object] = [value for value in wanted.values() if value is not None]
    terms = [f"{name} = ?" for name, value in wanted.items() if value is not None]
    if listing.state is None:
        terms.append(f"state <> '{DELETED}'")
    if after is not None:
        terms.append("(updated_at, id) < (?, ?)")
        values.extend(after)
    sql = _PAGE.format(" AND ".join(terms) or "TRUE")
    return connection.execute(sql, (*values, limit)).fetchall()


def _shown(tenant: str, session: str, seq: int, head: str) -> SessionRow:
    return SessionRow(SessionKey(tenant, session), seq, decode_head(head))


def _is_wanted(listing: Listing, key: SessionKey, head: SessionHead) -> bool:
    return (
        (head.state != DELETED if listing.state is None else listing.state == head.state)
        and listing.agent in (None, head.agent)
        and listing.tenant in (None, key.tenant)
    )
