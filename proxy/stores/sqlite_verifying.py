"""Every session of a ledger's file as it is there, to be verified: read beside whoever writes it, a
few sessions at a time and each row once, so that memory stays flat over any number of them."""

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from proxy.core.session import SessionKey
from proxy.stores.chain import ChainedPayload
from proxy.stores.sqlite_file import check_key, explain
from proxy.stores.sqlite_overlay import Overlay, Overlays
from proxy.stores.sqlite_reading import Moment, open_to_read
from proxy.stores.verification import SessionLog, digest_of

_PER_PAGE = 200
_ALL = 2**63 - 1
_SESSIONS = """SELECT id, tenant, session, seq, chain FROM sessions WHERE id > ?
    ORDER BY id LIMIT ?"""
# CAST: bytes as they are, also where someone has put what is not UTF-8.
_EVENTS = """SELECT session_id, seq, CAST(payload AS BLOB), chain FROM events
    WHERE session_id > ? AND session_id <= ? ORDER BY session_id, seq"""
_CONTENTS = """SELECT session_id, name, CAST(data AS BLOB) FROM contents
    WHERE session_id > ? AND session_id <= ? ORDER BY session_id"""

Found = tuple[SessionKey, tuple[int, bytes]]


class Stray:
    """Events whose session has no row: somebody deleted it. number: the session's in the file."""

    def __init__(self, number: int, first: ChainedPayload) -> None:
        self.number = number
        self.first = first


def read_logs(path: Path, secret: bytes) -> Iterator[SessionLog | Stray]:
    """Each as it is when its turn comes. Raises StoreUnavailable, saying what to do; also where the
    ledger was chained with another key."""
    try:
        connection = open_to_read(path)
        try:
            check_key(connection, path, secret)
            connection.text_factory = _text
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
    found: dict[int, Found] = {
        number: (SessionKey(str(tenant), str(session)), _place(seq, chain))
        for number, tenant, session, seq, chain in rows
    }
    for number, (key, tip) in overlay.sessions.items():
        if last < number <= end:
            found[number] = key, (tip.seq, tip.chain)
    return found, end


def _page(
    connection: sqlite3.Connection,
    overlay: Overlay,
    found: dict[int, Found],
    between: tuple[int, int],
) -> Iterator[SessionLog | Stray]:
    contents: dict[int, dict[str, bytes]] = {}
    for number, name, data in connection.execute(_CONTENTS, between):
        contents.setdefault(number, {})[str(name)] = digest_of(data)
    by_session = groupby(connection.execute(_EVENTS, between), itemgetter(0))
    for number, rows in by_session:
        log = [_row(*row[1:]) for row in rows]
        if number not in found:
            yield Stray(number, log[0])
            continue
        yield _log(overlay, found.pop(number), log, contents.pop(number, {}))
    for number, one in found.items():
        yield _log(overlay, one, [], contents.pop(number, {}))


def _log(
    overlay: Overlay, found: Found, rows: list[ChainedPayload], contents: dict[str, bytes]
) -> SessionLog:
    key, tip = found
    rows += overlay.events.get(key, ())
    for name, data in overlay.contents.get(key, {}).items():
        contents[name] = digest_of(data)
    return SessionLog(key, rows, tip, contents)


def _row(seq: object, payload: object, chain: object) -> ChainedPayload:
    number, at = _place(seq, chain)
    return ChainedPayload(number, payload if isinstance(payload, bytes) else b"", at)


def _place(seq: object, chain: object) -> tuple[int, bytes]:
    """Whatever somebody has put there: what is of another type is not what was written."""
    return seq if isinstance(seq, int) else -1, chain if isinstance(chain, bytes) else b""


def _text(data: bytes) -> str:
    """What is not UTF-8 is not what was written either; but it is no reason to stop."""
    return data.decode(errors="replace")
