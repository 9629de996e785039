"""What one commit writes: a row of `journal` in which is all that its appends changed.

Theory of operation. A commit costs what it touches: each page is copied into the WAL. With a row
for each session, event, account, hold and link, a batch of 32 calls touched 175 pages, and they
were half of its cost. So a batch is one row at the end of one table, and the tables are brought up
to date for some hundred appends together (`sqlite_rows`), each session and account once however
often it changed. Until then the journal is what happened beyond the tables: it is durable, every
process reads it (`sqlite_overlay`), and whoever cannot go on from what it remembers writes it into
the tables first, rows of a process that died included.

A row is committed by one statement, which is one hand-over of the interpreter's lock: a writer
that gives it up for each of its rows waits for it each time, where the event loop is busy. The
statement itself looks whether another connection has committed since the batch was decided.
"""

import sqlite3
from collections.abc import Iterator
from itertools import count
from secrets import token_bytes

import msgspec

from proxy.errors import UNREADABLE, StoreUnavailable
from proxy.stores import Balance
from proxy.stores.effects import Hold, Tip


class Record(msgspec.Struct, array_like=True):
    """What a batch changed, by the sessions' numbers. holds: in order, None where one was closed.
    events: (number, seq, payload, chain, what `pack_links` made of the links its append gave).
    links: (tenant, digest, number) in order. at: of the newest event or head. loose: (number,
    tenant, digest) of an append without an event. contents: (number, name, data)."""

    sessions: dict[int, tuple[str, str, Tip]] = {}
    balances: dict[str, Balance] = {}
    events: list[tuple[int, int, bytes, bytes, bytes | None]] = []
    holds: list[tuple[int, str, Hold | None]] = []
    links: list[tuple[str, bytes, int]] = []
    at: float = 0.0
    loose: list[tuple[int, str, bytes]] = []
    contents: list[tuple[int, str, bytes]] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode

pack_links = msgspec.msgpack.Encoder().encode
unpack_links = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode

_PUT = """INSERT INTO journal (name, record) SELECT ?1, ?2
    WHERE (SELECT data_version FROM pragma_data_version) = ?3"""


class Journal:
    """Used by the writer's thread. A record's name is given to no other, so that who has read it
    knows it again."""

    def __init__(self) -> None:
        self._names = _names()

    def put(self, connection: sqlite3.Connection, record: Record, version: int) -> int:
        """Commits it if the connection's data_version is still that; returns its size in bytes, 0
        where it is another. Raises sqlite3.Error."""
        data = _encode(record)
        # Not `execute`: it gives up the interpreter's lock once more, for lastrowid.
        done = connection.executemany(_PUT, ((next(self._names), data, version),))
        return len(data) if done.rowcount else 0


def read(connection: sqlite3.Connection) -> list[Record]:
    """All records, oldest first."""
    rows = connection.execute("SELECT record FROM journal ORDER BY id").fetchall()
    return [decode(data) for (data,) in rows]


def decode(data: bytes) -> Record:
    """Raises StoreUnavailable for what no version of ours wrote."""
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise StoreUnavailable(
            f"the ledger's journal cannot be read ({error}): it was altered; restore a backup, or "
            "move the ledger away to begin a new one"
        ) from error


def _names() -> Iterator[bytes]:
    process = token_bytes(8)
    return (process + number.to_bytes(8, "big") for number in count())
