"""Every session of a ledger's file as it is there, to be verified: read beside whoever writes it, a
few sessions at a time and each row once, so that memory stays flat over any number of them."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from proxy.core.recording import digest_of
from proxy.core.session import SessionKey
from proxy.errors import UNREADABLE
from proxy.stores import Hold, SessionHead
from proxy.stores.chain import ChainedPayload
from proxy.stores.queue import queued_bits
from proxy.stores.sqlite_file import check_key, explain
from proxy.stores.sqlite_overlay import Overlay, Overlays
from proxy.stores.sqlite_reading import Moment, as_text, open_to_read
from proxy.stores.sqlite_rows import hold_of
from proxy.stores.verification import SessionLog

_PER_PAGE = 200
_ALL = 2**63 - 1
_SESSIONS = """SELECT s.id, s.tenant, s.session, s.seq, s.chain, s.head, s.state, s.agent,
        s.updated_at, s.queued, f.tenant, f.state, f.agent
    FROM sessions AS s LEFT JOIN facets AS f ON f.id = s.facet
    WHERE s.id > ? ORDER BY s.id LIMIT ?"""
# CAST: bytes as they are, also where someone has put what is not UTF-8.
_EVENTS = """SELECT session_id, seq, CAST(payload AS BLOB), chain FROM events
    WHERE session_id > ? AND session_id <= ? ORDER BY session_id, seq"""
_CONTENTS = """SELECT session_id, name, CAST(data AS BLOB) FROM contents
    WHERE session_id > ? AND session_id <= ? ORDER BY session_id"""
_HOLDS = """SELECT session_id, call_id, owner, deadline, cost, accounts, tokens, trees FROM holds
    WHERE session_id > ? AND session_id <= ? ORDER BY session_id"""
_NO_HOLD = Hold("", 0.0, -1, ())
"""Of what nobody wrote."""
_decode_head = msgspec.json.Decoder(SessionHead).decode

Row = Sequence[object]
Holds = dict[str, Hold]


class Found(msgspec.Struct):
    """A session's row, and what is new of it in the journal."""

    key: SessionKey
    tip: tuple[int, bytes]
    head: SessionHead
    odd: str = ""


class Stray(NamedTuple):
    """Events whose session has no row: somebody deleted it. number: the session's in the file."""

    number: int
    first: ChainedPayload


def read_logs(path: Path, secret: bytes) -> Iterator[SessionLog | Stray]:
    """Each as it is when its turn comes. Raises StoreUnavailable, saying what to do; also where the
    ledger was chained with another key."""
    try:
        connection = open_to_read(path)
        try:
            check_key(connection, path, secret)
            connection.text_factory = as_text
            overlays, last = Overlays(), -1
            while last < _ALL:
                # A transaction for each page, so that the writer's WAL does not grow with us.
                with Moment(connection, overlays) as overlay:
                    found, last_of_page = _sessions(connection, overlay, last)
                    yield from _page(connection, overlay, found, (last, last_of_page))
                last = last_of_page
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(path, error) from error


def _sessions(
    connection: sqlite3.Connection, overlay: Overlay, last: int
) -> tuple[dict[int, Found], int]:
    """The next ones, as tables and journal have them together, and the number they go up to."""
    rows = connection.execute(_SESSIONS, (last, _PER_PAGE)).fetchall()
    end = rows[-1][0] if len(rows) == _PER_PAGE else _ALL
    found: dict[int, Found] = {row[0]: _found(row[1:]) for row in rows}
    for number, (key, tip) in overlay.sessions.items():
        if last < number <= end:
            odd = found[number].odd if number in found else ""
            found[number] = Found(key, (tip.seq, tip.chain), tip.head or SessionHead(), odd)
    return found, end


def _found(row: Row) -> Found:
    tenant, session, seq, chain, text, *columns = row
    key, tip = SessionKey(str(tenant), str(session)), _place(seq, chain)
    try:
        head = _decode_head(str(text))
    except UNREADABLE:
        return Found(key, tip, SessionHead(), "it cannot be read")
    return Found(key, tip, head, _odd(key, head, columns))


def _odd(key: SessionKey, head: SessionHead, columns: Row) -> str:
    """What listings are found by is what they show."""
    state, agent, updated_at, queued, *facet = columns
    if (state, agent) != (head.state, head.agent):
        return f"it shows {head.state} of agent {head.agent}, but is found as {state} of {agent}"
    if facet != [key.tenant, state, agent]:
        return f"it shows {state} of agent {agent}, but is found among others"
    if updated_at != head.updated_at:
        return f"it shows that it was updated at {head.updated_at}, but is found as of {updated_at}"
    if queued != queued_bits(head):
        return "what waits for a human is shown, but not found in the queue, or the other way round"
    return ""


def _page(
    connection: sqlite3.Connection,
    overlay: Overlay,
    found: dict[int, Found],
    between: tuple[int, int],
) -> Iterator[SessionLog | Stray]:
    contents: dict[int, dict[str, bytes]] = {}
    for number, name, data in connection.execute(_CONTENTS, between):
        contents.setdefault(number, {})[str(name)] = digest_of(data)
    holds, newer = _holds(connection, between), _newer(overlay)

    def log(number: int, rows: list[ChainedPayload]) -> SessionLog:
        one = found.pop(number)
        held: Mapping[str, Hold | None] = {
            **holds.get(number, {}),
            **newer.get(one.key, {}),
        }
        return _log(overlay, one, rows, contents.pop(number, {}), held)

    for number, rows in groupby(connection.execute(_EVENTS, between), itemgetter(0)):
        events = [_row(*row[1:]) for row in rows]
        yield log(number, events) if number in found else Stray(number, events[0])
    for number in [*found]:
        yield log(number, [])


def _holds(connection: sqlite3.Connection, between: tuple[int, int]) -> dict[int, Holds]:
    found: defaultdict[int, Holds] = defaultdict(dict)
    for number, call_id, *row in connection.execute(_HOLDS, between):
        try:
            hold = hold_of(tuple(row))
        except (ValueError, TypeError):
            hold = None
        found[number][str(call_id)] = hold or _NO_HOLD
    return found


def _newer(overlay: Overlay) -> dict[SessionKey, dict[str, Hold | None]]:
    """What the journal says of holds; None where one was closed."""
    found: defaultdict[SessionKey, dict[str, Hold | None]] = defaultdict(dict)
    for (key, call_id), hold in overlay.holds.items():
        found[key][call_id] = hold
    return found


def _log(
    overlay: Overlay,
    one: Found,
    rows: list[ChainedPayload],
    contents: dict[str, bytes],
    held: Mapping[str, Hold | None],
) -> SessionLog:
    rows += overlay.events.get(one.key, ())
    for name, data in overlay.contents.get(one.key, {}).items():
        contents[name] = digest_of(data)
    open_ = {call_id: hold for call_id, hold in held.items() if hold is not None}
    return SessionLog(one.key, rows, one.tip, contents, one.head, open_, one.odd)


def _row(seq: object, payload: object, chain: object) -> ChainedPayload:
    number, at = _place(seq, chain)
    return ChainedPayload(number, payload if isinstance(payload, bytes) else b"", at)


def _place(seq: object, chain: object) -> tuple[int, bytes]:
    """Whatever somebody has put there: what is of another type is not what was written."""
    return seq if isinstance(seq, int) else -1, chain if isinstance(chain, bytes) else b""
