"""Brings the tables up to date with what commits changed: many records, each row once.

One statement for up to 256 rows, because each row that Python hands over alone gives the
interpreter's lock up and has to wait for it again. Sizes are few, so that statements stay
prepared; a row of nulls is nobody's.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec

from proxy.core.links import SESSIONS_PER_LINK
from proxy.core.session import SessionKey
from proxy.stores import Balance
from proxy.stores.codec import decode_head, encode_head
from proxy.stores.effects import Hold, Tip
from proxy.stores.queue import queued_bits
from proxy.stores.sqlite_journal import Record

Row = tuple[object, ...]
Link = tuple[str, bytes]

_SIZES = (4, 16, 64, 256)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[int, int, int]]).decode


class Bulk:
    """A statement over many rows, `r(a, b, …)` in it. width: of a row, in columns."""

    def __init__(self, width: int, sql: str) -> None:
        names = ", ".join("abcdefghijk"[:width])
        one = f"({', '.join('?' * width)})"
        self._nobody = (None,) * width
        self._sql = {
            size: f"WITH r({names}) AS (VALUES {', '.join([one] * size)}) {sql}" for size in _SIZES
        }

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> list[tuple[object, ...]]:
        """What it selects, over all rows. Raises sqlite3.Error."""
        found: list[tuple[object, ...]] = []
        for start in range(0, len(rows), _SIZES[-1]):
            part = rows[start : start + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(part))
            values = [*chain.from_iterable(part), *self._nobody * (size - len(part))]
            found += connection.execute(self._sql[size], values).fetchall()
        return found


_TIPS = Bulk(
    2,
    """SELECT a, b, id, seq, chain, head, token
    FROM r CROSS JOIN sessions ON session = b AND tenant = a""",
)
_SESSIONS = """INSERT OR {} INTO sessions
    SELECT a, b, c, d, e, f, g, h, i, j, k, (SELECT id FROM facets
        WHERE tenant = b AND coalesce(agent, x'') = coalesce(i, x'') AND state = h)
    FROM r WHERE a NOTNULL
    ON CONFLICT (id) DO UPDATE
    SET seq = excluded.seq, chain = excluded.chain, head = excluded.head, token = excluded.token,
        state = excluded.state, agent = excluded.agent, updated_at = excluded.updated_at,
        queued = excluded.queued, facet = excluded.facet"""
_FACETS = Bulk(
    3,
    """INSERT OR IGNORE INTO facets (tenant, state, agent)
    SELECT a, b, c FROM r WHERE a NOTNULL""",
)
_EVENTS = """INSERT OR {} INTO events SELECT a, b, CAST(c AS TEXT), d, e FROM r WHERE a NOTNULL"""
_ACCOUNTS = Bulk(
    9,
    """INSERT OR ROLLBACK INTO accounts SELECT a, b, c, d, e, f, g, h, i FROM r WHERE a NOTNULL
    ON CONFLICT (account) DO UPDATE
    SET spent = excluded.spent, held = excluded.held, tokens = excluded.tokens,
        held_tokens = excluded.held_tokens, steps = excluded.steps,
        tool_calls = excluded.tool_calls, calls = excluded.calls,
        touched_at = max(touched_at, excluded.touched_at)""",
)
_HOLDS = Bulk(
    8, "INSERT OR REPLACE INTO holds SELECT a, b, c, d, e, f, g, h FROM r WHERE a NOTNULL"
)
_CLOSED = Bulk(2, "DELETE FROM holds WHERE (session_id, call_id) IN (SELECT a, b FROM r)")
_GIVEN = Bulk(
    3,
    """SELECT json_group_array(json_array(a, ordinal, session_id))
    FROM r CROSS JOIN links ON tenant = b AND digest = c""",
)
_LINKS = Bulk(
    4,
    """INSERT OR ROLLBACK INTO links SELECT a, b, c, d FROM r WHERE a NOTNULL
    ON CONFLICT (tenant, digest, session_id) DO UPDATE SET ordinal = excluded.ordinal""",
)
_CONTENTS = Bulk(3, "INSERT OR REPLACE INTO contents SELECT a, b, c FROM r WHERE a NOTNULL")
_LOOSE = Bulk(3, "INSERT OR IGNORE INTO loose_links SELECT a, b, c FROM r WHERE a NOTNULL")
UNLINK = Bulk(  # by its whole key: without the join SQLite reads all links of a tenant
    3,
    """DELETE FROM links WHERE (tenant, digest, session_id) IN
    (SELECT tenant, digest, session_id
     FROM r CROSS JOIN links ON tenant = a AND digest = b AND session_id = c)""",
)


@dataclass(frozen=True, slots=True)
class Manner:
    """What is to happen to a row that is there already, though it cannot be."""

    sessions: Bulk
    events: Bulk


def _manner(verb: str) -> Manner:
    return Manner(Bulk(11, _SESSIONS.format(verb)), Bulk(5, _EVENTS.format(verb)))


DECIDED = _manner("ROLLBACK")
"""Of appends that nobody has been told of yet: whoever altered the tables is found out."""

TOLD = _manner("REPLACE")
"""Of commits that were told: they are true, whatever somebody has put in their place since."""


class Changes:
    """What records changed, merged: the last word on each row. links: whom each digest was given
    to, a number or, newest last, several."""

    __slots__ = ("balances", "contents", "events", "holds", "links", "loose", "sessions", "touched")

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.sessions: dict[int, tuple[str, str, Tip]] = {}
        self.balances: dict[str, Balance] = {}
        self.touched: dict[str, float] = {}
        self.events: list[tuple[int, int, bytes, bytes, bytes | None]] = []
        self.holds: dict[tuple[int, str], Hold | None] = {}
        self.links: dict[Link, int | tuple[int, ...]] = {}
        self.loose: list[tuple[int, str, bytes]] = []
        self.contents: list[tuple[int, str, bytes]] = []
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        self.sessions.update(record.sessions)
        self.balances.update(record.balances)
        for account in record.balances:
            self.touched[account] = max(record.at, self.touched.get(account, 0.0))
        self.events += record.events
        self.loose += record.loose
        self.contents += record.contents
        for number, call_id, hold in record.holds:
            self.holds[number, call_id] = hold
        for tenant, digest, number in record.links:
            given = self.links.setdefault((tenant, digest), number)
            if given != number:
                before = given if isinstance(given, tuple) else (given,)
                others = [other for other in before if other != number]
                self.links[tenant, digest] = (*others, number)[-SESSIONS_PER_LINK:]

    def write(self, connection: sqlite3.Connection, manner: Manner) -> None:
        """In a transaction. Raises sqlite3.Error; then it must be rolled back."""
        sessions, balances, holds = self.sessions, self.balances, self.holds
        rows = [_session_row(number, *session) for number, session in sessions.items()]
        _FACETS.run(connection, [*{(row[1], row[7], row[8]): None for row in rows}])
        manner.sessions.run(connection, rows)
        manner.events.run(connection, self.events)
        _ACCOUNTS.run(connection, [_account_row(*b, self.touched[b[0]]) for b in balances.items()])
        held = [_hold_row(name, hold) for name, hold in holds.items() if hold is not None]
        _HOLDS.run(connection, held)
        _CLOSED.run(connection, [name for name, hold in holds.items() if hold is None])
        if self.links:
            _write_links(connection, self.links)
        _LOOSE.run(connection, self.loose)
        _CONTENTS.run(connection, self.contents)


def read_tips(
    connection: sqlite3.Connection, keys: Sequence[SessionKey]
) -> list[tuple[object, ...]]:
    """(tenant, session, id, seq, chain, head, token) of those that the tables have."""
    return _TIPS.run(connection, keys)


def tip_of(row: Sequence[object]) -> Tip:
    """What a row of `read_tips` says."""
    seq, chain, head, token = row[3:]
    return Tip(seq, chain, decode_head(head), token)  # type: ignore[arg-type]  # as they are


def hold_of(row: tuple[str, float, int, str, int, str] | None) -> Hold | None:
    """What a row of `holds` says, from its owner on."""
    if row is None:
        return None
    owner, deadline, cost, accounts, tokens, trees = row
    return Hold(
        owner, deadline, cost, tuple(json.loads(accounts)), tokens, tuple(json.loads(trees))
    )


def _write_links(connection: sqlite3.Connection, links: dict[Link, int | tuple[int, ...]]) -> None:
    """Most digests are new, and given to one session."""
    before: dict[Link, list[tuple[int, int]]] = {}
    names = [*links]
    asked = [(n, *name) for n, name in enumerate(names)]
    for (found,) in _GIVEN.run(connection, asked):
        for n, ordinal, number in _decode(found):  # type: ignore[arg-type]  # text of ours
            before.setdefault(names[n], []).append((ordinal, number))
    put: list[Row] = [(*name, n, 1) for name, n in links.items() if type(n) is int]
    if before or len(put) < len(links):
        put = [row for row in put if row[:2] not in before]
        gone: list[Row] = []
        for name, given in links.items():
            if name in before or isinstance(given, tuple):
                newest = given if isinstance(given, tuple) else (given,)
                _line_up(name, sorted(before.get(name, ())), newest, put, gone)
        UNLINK.run(connection, gone)
    _LINKS.run(connection, put)


def _line_up(
    name: Link,
    line: list[tuple[int, int]],
    newest: tuple[int, ...],
    put: list[Row],
    gone: list[Row],
) -> None:
    """A digest goes to the end of the line of those it was given to; the first of more than eight
    leaves. line: (ordinal, number), oldest first."""
    if line and (line[-1][1],) == newest:
        return  # resent history links the same session again and again
    last = line[-1][0] if line else 0
    put += [(*name, number, last + place) for place, number in enumerate(newest, 1)]
    others = [number for _, number in line if number not in newest]
    excess = max(len(others) + len(newest) - SESSIONS_PER_LINK, 0)
    gone += [(*name, number) for number in others[:excess]]


def _session_row(number: int, tenant: str, session: str, tip: Tip) -> Row:
    head = tip.head
    assert head is not None  # `Effects.head` never is
    shown = (encode_head(head), tip.token, head.state, head.agent, head.updated_at)
    return (number, tenant, session, tip.seq, tip.chain, *shown, queued_bits(head))


def _account_row(account: str, balance: Balance, at: float) -> Row:
    counts = msgspec.structs.astuple(balance.counts)
    return (account, balance.spent_micro_usd, balance.held_micro_usd, *counts, at)


def _hold_row(name: tuple[int, str], hold: Hold) -> Row:
    accounts, trees = _encode(hold.accounts).decode(), _encode(hold.trees).decode()
    return (*name, hold.owner, hold.deadline, hold.cost_micro_usd, accounts, hold.tokens, trees)
