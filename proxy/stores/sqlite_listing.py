"""Listings of sessions from the ledger's file, by any filter, in milliseconds of a million.

Theory of operation. Tenant, agent and state of a session are its facet, a row of `facets`: there
are few of them. A filter asks for some facets; an index has the sessions of each by the time at
which they were last touched. So a page is merged from the facets that it asks for: the one with the
newest session first, until none of the others has one that is newer than what was found. Where
there is no filter, or so many facets that something is found soon anyway, the sessions are read by
time.
"""

import sqlite3
from collections.abc import Sequence
from heapq import nlargest
from typing import cast

from proxy.core.session import SessionKey
from proxy.stores import DELETED, SessionHead, SessionRow
from proxy.stores.codec import decode_cursor, encode_cursor
from proxy.stores.sessions import Listing
from proxy.stores.sqlite_overlay import Overlay
from proxy.stores.sqlite_queries import shown
from proxy.stores.sqlite_rows import Bulk

_SOON = 10_000
"""So many of the newest sessions are looked through first, for what is not rare; then as many of
those that are wanted, whatever their age, for what is. 2 ms each. Of a million sessions, a page of
a hundred is found by either."""

_MOST_FACETS = 20_000
"""Merged at once: a look at each takes 2 µs."""

_LAST = (float("inf"), 2**63 - 1)
_BY_UPDATE = f"""SELECT updated_at, id, facet FROM sessions INDEXED BY sessions_by_update
    WHERE state <> '{DELETED}' AND (updated_at, id) < (?, ?)
    ORDER BY updated_at DESC, id DESC LIMIT ?"""  # noqa: S608 - constants
_WANTED_BY_UPDATE = f"""SELECT updated_at, id FROM ({_BY_UPDATE})
    WHERE facet IN (SELECT id FROM facets WHERE {{}}) LIMIT ?"""  # noqa: S608 - constants
_WANTED = """SELECT updated_at, id FROM sessions INDEXED BY sessions_by_facet
    WHERE facet IN (SELECT id FROM facets WHERE {}) AND (updated_at, id) < (?, ?) LIMIT ?"""
_NEWEST = """SELECT id, (SELECT max(updated_at) FROM sessions INDEXED BY sessions_by_facet
    WHERE facet = facets.id AND updated_at <= ?) AS newest
    FROM facets WHERE {} ORDER BY newest DESC"""
_OF_FACET = """SELECT updated_at, id FROM sessions INDEXED BY sessions_by_facet
    WHERE facet = ? AND (updated_at, id) < (?, ?) AND updated_at >= ?
    ORDER BY updated_at DESC, id DESC LIMIT ?"""
_ROWS = Bulk(
    1,
    """SELECT tenant, session, seq, head, updated_at, id
    FROM r CROSS JOIN sessions ON id = a""",
)
_IDLE = """SELECT tenant, session FROM sessions INDEXED BY sessions_by_facet
    WHERE facet IN (SELECT id FROM facets WHERE state IN ({})) AND updated_at < ?
    AND NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id) LIMIT ?"""

Place = tuple[float, int]
Asked = tuple[str, list[str]]
"""Terms over `facets`, and their values."""


def list_sessions(
    connection: sqlite3.Connection, overlay: Overlay, listing: Listing
) -> tuple[Sequence[SessionRow], str | None]:
    limit = max(listing.limit, 1)
    after = None if listing.cursor is None else decode_cursor(listing.cursor)
    newer = overlay.sessions
    # Rows that the journal knows better are left out; there may be as many of them as it knows.
    found = _page(connection, listing, after, limit + 1 + len(newer))
    rows = [(row[4], row[5], shown(*row[:4])) for row in found if row[5] not in newer]
    for number, (key, tip) in newer.items():
        head = tip.head
        if head is not None and _is_wanted(listing, key, head):
            place = (head.updated_at, number)
            if after is None or place < after:
                rows.append((*place, SessionRow(key, tip.seq, head)))
    rows.sort(key=lambda row: row[:2], reverse=True)
    more = encode_cursor(*rows[limit - 1][:2]) if len(rows) > limit else None
    return [row for _, _, row in rows[:limit]], more


def list_idle(
    connection: sqlite3.Connection,
    overlay: Overlay,
    updated_before: float,
    limit: int,
    states: Sequence[str],
) -> Sequence[SessionKey]:
    newer = {key for key, _ in overlay.sessions.values()}
    sql = _IDLE.format(", ".join("?" * len(states)))
    rows = connection.execute(sql, (*states, updated_before, limit + len(newer)))
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


def _page(
    connection: sqlite3.Connection, listing: Listing, after: Place | None, limit: int
) -> list[tuple[str, str, int, str, float, int]]:
    wanted = {"state": listing.state, "agent": listing.agent, "tenant": listing.tenant}
    values = [value for value in wanted.values() if value is not None]
    terms = [f"{name} = ?" for name, value in wanted.items() if value is not None]
    if listing.state is None:
        terms.append(f"state <> '{DELETED}'")
    asked, place = " AND ".join(terms), after or _LAST
    if values:
        places = _places(connection, (asked, values), place, limit)
    else:
        places = connection.execute(_BY_UPDATE, (*place, limit)).fetchall()
    rows = _ROWS.run(connection, [place[1:2] for place in places])
    return cast(list[tuple[str, str, int, str, float, int]], rows)  # as the table has them


def _places(connection: sqlite3.Connection, asked: Asked, after: Place, limit: int) -> list[Place]:
    """Found among the newest, among all that are wanted where these are few, or facet by facet."""
    terms, values = asked
    soon = _WANTED_BY_UPDATE.format(terms)
    if DELETED not in values:  # tombstones are not in that index
        places = connection.execute(soon, (*after, _SOON, *values, limit)).fetchall()
        if len(places) == limit:
            return places
    all_ = connection.execute(_WANTED.format(terms), (*values, *after, _SOON)).fetchall()
    if len(all_) < _SOON:
        return nlargest(limit, all_)
    sql = f"SELECT count(*) FROM facets WHERE {terms}"  # noqa: S608 - constants
    (facets,) = connection.execute(sql, values).fetchone()
    if facets <= _MOST_FACETS or DELETED in values:
        return _merged(connection, asked, after, limit)
    return connection.execute(soon, (*after, -1, *values, limit)).fetchall()


def _merged(connection: sqlite3.Connection, asked: Asked, after: Place, limit: int) -> list[Place]:
    """The newest of all facets that are asked for."""
    terms, values = asked
    best: list[Place] = []
    found = connection.execute(_NEWEST.format(terms), (after[0], *values)).fetchall()
    for facet, newest in found:
        oldest = best[-1][0] if len(best) == limit else float("-inf")
        if newest is None or newest < oldest:
            break
        more = connection.execute(_OF_FACET, (facet, *after, oldest, limit)).fetchall()
        best = nlargest(limit, best + more) if best else more
    return best


def _is_wanted(listing: Listing, key: SessionKey, head: SessionHead) -> bool:
    return (
        (head.state != DELETED if listing.state is None else listing.state == head.state)
        and listing.agent in (None, head.agent)
        and listing.tenant in (None, key.tenant)
    )
