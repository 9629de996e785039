"""A file with appends that their store could not take: in order, durable, bounded, read back later.

A SQLite file in WAL mode that one process writes, through one thread that commits in batches: what
was answered survives the death of the process. It is read and emptied by the process that wrote it
or, after its death, by whoever has locked it (`spools`).
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec

from proxy.core.session import SessionKey
from proxy.errors import UNREADABLE, StoreUnavailable
from proxy.stores import Append
from proxy.stores.batches import BatchThread, Delivery, deliver
from proxy.stores.sqlite_file import Connect, connect, create_file, explain, primary_code
from proxy.stores.written import Written

MOST_BYTES: Final = 1024**3
"""Of one file: about a million appends without what was said in them."""
_PAGE_BYTES: Final = 4096
_BUSY_SECONDS: Final = 1.0
_MOST_PER_BATCH: Final = 1024
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = """CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, session TEXT NOT NULL,
    tried INTEGER NOT NULL, refused INTEGER NOT NULL DEFAULT 0, append BLOB NOT NULL)"""
_INDEX = "CREATE INDEX IF NOT EXISTS spool_by_session ON spool (session, tenant)"

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], object]
_Row = tuple[int, str, str, bytes, int]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Append).decode


@dataclass
class Unreadable(StoreUnavailable):
    """What stands in the file is no append. rows: their numbers and sessions."""

    rows: list[tuple[int, SessionKey]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spooled:
    """One append as the file has it. tried: the store was given it and may have written it."""

    number: int
    append: Append
    tried: bool


class Spool:
    """Shared by the calls of a process, from its loop. All raise StoreUnavailable. is_damaged: the
    file is none of SQLite's any more, or not whole: waiting does not help."""

    def __init__(
        self, path: Path, connect: Connect = connect, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self._connect = connect
        self._most_bytes = most_bytes
        self.is_damaged = False
        self._connection: sqlite3.Connection | None = None
        self._thread: BatchThread[tuple[Work, asyncio.Future[object]]] | None = None

    def put(self, append: Append, *, tried: bool) -> "asyncio.Future[int]":
        """Submits at once; its number, once it is on disk. Appends come back in this order."""
        row = (*append.key, int(tried), _encode(append))

        def insert(connection: sqlite3.Connection) -> object:
            sql = "INSERT INTO spool (tenant, session, tried, append) VALUES (?, ?, ?, ?)"
            return connection.execute(sql, row).lastrowid

        return cast("asyncio.Future[int]", self._submit(insert))

    async def rows(self, keys: Iterable[SessionKey], limit: int) -> list[Spooled]:
        """What is left of these sessions, of each its first so many. Raises Unreadable where some
        of them are none."""
        found = cast("list[_Row]", await self._submit(lambda c: _rows(c, keys, limit)))
        rows, damaged = [], Unreadable("")
        for number, tenant, session, append, tried in found:
            try:
                rows.append(Spooled(number, _read(append, self.path), bool(tried)))
            except StoreUnavailable as error:
                damaged.message = error.message
                damaged.rows.append((number, SessionKey(tenant, session)))
        if damaged.rows:
            raise damaged
        return rows

    async def of_session(self, key: SessionKey) -> list[Append]:
        """What is left of one session, in order."""
        sql = "SELECT append FROM spool WHERE tenant = ? AND session = ? ORDER BY id"
        return [_read(append, self.path) for (append,) in await self._select(sql, tuple(key))]

    async def sessions(self) -> list[tuple[SessionKey, int]]:
        """Of which sessions something is left, and how many appends."""
        sql = "SELECT tenant, session, count(*) FROM spool WHERE NOT refused GROUP BY 1, 2"
        found = await self._select(sql, ())
        return [(SessionKey(str(t), str(s)), int(n)) for t, s, n in found]  # type: ignore[call-overload]  # columns

    async def drop(self, numbers: Sequence[int]) -> None:
        """They are in the ledger."""
        await self._change("DELETE FROM spool WHERE id = ?", numbers)

    async def refuse(self, numbers: Sequence[int]) -> None:
        """The ledger will not take them, ever: they stay here for a human, and are not tried."""
        await self._change("UPDATE spool SET refused = 1 WHERE id = ?", numbers)

    async def refused(self) -> int:
        """How many stay for a human."""
        found = await self._select("SELECT count(*) FROM spool WHERE refused", ())
        return int(found[0][0])  # type: ignore[call-overload, no-any-return]  # a count

    async def probe(self) -> None:
        """Raises where nothing can be written."""
        await self._submit(
            lambda c: c.execute("INSERT OR REPLACE INTO probe VALUES (1, zeroblob(2048))")
        )

    async def close(self) -> None:
        """What was put before is written first."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, thread.stop))

    async def _select(self, sql: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        found = await self._submit(lambda c: c.execute(sql, values).fetchall())
        return cast("list[tuple[object, ...]]", found)

    async def _change(self, sql: str, numbers: Sequence[int]) -> None:
        rows = [(number,) for number in numbers]
        await self._submit(lambda c: c.executemany(sql, rows).rowcount)

    def _submit(self, work: Work) -> "asyncio.Future[object]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = Written(loop=loop)
        if self._thread is None:
            self._thread = BatchThread(
                "holdfast-spool",
                lambda jobs: deliver(loop, self._results(jobs)),
                self._drop,
                _MOST_PER_BATCH,
            )
            self._thread.start()
        self._thread.put(((work, future),))
        return future

    def _results(
        self, jobs: Sequence[tuple[Work, "asyncio.Future[object]"]]
    ) -> list[Delivery[object]]:
        """On the thread. Nobody is told anything before the commit."""
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            results: list[Delivery[object]] = [(future, work(connection)) for work, future in jobs]
            connection.execute("COMMIT")
        except Exception as error:  # the thread's boundary: whoever waits must hear of anything
            self._undo()
            if len(jobs) > 1:
                return [result for job in jobs for result in self._results([job])]
            return [(jobs[0][1], self._told(error))]
        return results

    def _told(self, error: Exception) -> Exception:
        match error:
            case sqlite3.Error() if primary_code(error) in _DAMAGED:
                self.is_damaged = True
                return StoreUnavailable(f"{self.path} is damaged ({error})")
            case sqlite3.Error():
                return explain(self.path, error)
            case StoreUnavailable():
                return error
            case _:
                return StoreUnavailable(f"{self.path}: {type(error).__name__}: {error}")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            create_file(self.path)
            opened = self._connect(self.path, _BUSY_SECONDS)
            try:
                opened.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                opened.execute("PRAGMA journal_mode = WAL").fetchone()
                opened.execute("PRAGMA synchronous = NORMAL")
                opened.execute(f"PRAGMA max_page_count = {self._most_bytes // _PAGE_BYTES}")
                opened.execute(_SCHEMA)
                opened.execute(_INDEX)
                opened.execute("CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, room)")
            except BaseException:
                opened.close()
                raise
            self._connection = opened
        return self._connection

    def _undo(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except sqlite3.Error:
                self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _rows(connection: sqlite3.Connection, keys: Iterable[SessionKey], limit: int) -> list[_Row]:
    sql = """SELECT id, tenant, session, append, tried FROM spool
        WHERE session = ? AND tenant = ? AND NOT refused ORDER BY id LIMIT ?"""
    rows: list[_Row] = []
    for tenant, session in keys:
        rows += connection.execute(sql, (session, tenant, limit)).fetchall()
    return rows


def _read(data: object, path: Path) -> Append:
    assert isinstance(data, bytes)
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise StoreUnavailable(
            f"{path} holds what cannot be read ({error}): it was altered, or written by a newer "
            "version of Holdfast"
        ) from error
