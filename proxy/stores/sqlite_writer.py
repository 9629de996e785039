"""The one thread of this process that writes: gathers jobs, decides each, commits them together.

Theory of operation. A batch is one transaction, opened with BEGIN IMMEDIATE, so that what is read
in it holds until it commits, whatever other processes do. Each append is decided on the tables as
its predecessors in the batch leave them; a refused one raises before anything is written, so that
its neighbours do not notice. Nobody is told anything before COMMIT: where that fails, all of it is
rolled back and every job of the batch fails, the refused ones too (they were refused on what never
became true). Then the loop is woken once for the whole batch.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from proxy.errors import HoldfastError, StoreUnavailable
from proxy.stores import Appended
from proxy.stores.batches import Delivery, deliver
from proxy.stores.chain import Chain
from proxy.stores.effects import Prepared, effects_of
from proxy.stores.sqlite_file import explain, primary_code
from proxy.stores.sqlite_handle import Handle, SqliteFile
from proxy.stores.sqlite_tables import SqliteTables

log = logging.getLogger(__name__)

SESSIONS_PER_PURGE = 20
"""Few, so that an append never waits long behind a purge."""

_KEEPS_CONNECTION = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CONSTRAINT,
}
_PURGEABLE = """SELECT id FROM sessions WHERE updated_at < ?
    AND NOT EXISTS (SELECT 1 FROM holds WHERE session_id = sessions.id)
    ORDER BY updated_at LIMIT ?"""
_PROBE = "INSERT INTO meta VALUES ('probe', 1) ON CONFLICT DO UPDATE SET value = value + 1"


@dataclass(frozen=True, slots=True)
class Purge:
    """Deletes some of the sessions last touched before then; the result is how many."""

    updated_before: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Writes a row that nobody reads: would a write succeed?"""


Work = Prepared | Purge | Probe
Done = Appended | int


@dataclass(frozen=True, slots=True)
class WriteJob:
    work: Work
    future: "asyncio.Future[Done]"


class SqliteWriter:
    """`handle` runs on the writer's thread. `wal_grown` is told the WAL's size after each batch,
    and says whether to empty it now."""

    def __init__(
        self, file: SqliteFile, loop: asyncio.AbstractEventLoop, wal_grown: Callable[[int], bool]
    ) -> None:
        self._file = file
        self._loop = loop
        self._wal_grown = wal_grown
        self._handle = Handle(file)
        self._tables = SqliteTables()
        self._chain = Chain(file.secret)
        self._is_failing = False

    def handle(self, jobs: Sequence[WriteJob]) -> None:
        """Carries out a batch and delivers each result; never raises, or its thread would be
        gone."""
        deliver(self._loop, self._results(jobs))
        self._watch_wal()

    def close(self) -> None:
        """On the writer's thread, at its end: moves the WAL into the file and lets go of it."""
        if not self._handle.is_open:
            return
        try:
            self._handle.get().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (sqlite3.Error, StoreUnavailable) as error:
            log.warning("the ledger could not be checkpointed at close: %s", error)
        self._handle.drop()

    def _results(self, jobs: Sequence[WriteJob]) -> list[Delivery[Done]]:
        try:
            return self._commit(jobs)
        except Exception as error:  # the thread's boundary: whoever waits must hear of anything
            self._undo(error)
            if len(jobs) > 1 and not _is_of_the_store(error):
                return [result for job in jobs for result in self._results([job])]
            return [(job.future, self._told(error)) for job in jobs]

    def _commit(self, jobs: Sequence[WriteJob]) -> list[Delivery[Done]]:
        connection = self._handle.get()
        connection.execute("BEGIN IMMEDIATE")
        self._tables.begin(connection)
        results: list[Delivery[Done]] = [
            (job.future, self._try(job.work, connection)) for job in jobs
        ]
        self._tables.flush()
        connection.execute("COMMIT")
        if self._is_failing:
            self._is_failing = False
            log.info("the ledger takes writes again")
        return results

    def _try(self, work: Work, connection: sqlite3.Connection) -> Done | HoldfastError:
        try:
            match work:
                case Prepared():
                    return self._append(work)
                case Purge():
                    return self._purge(work, connection)
                case Probe():
                    return _probe(connection)
        except StoreUnavailable:
            raise  # not this job's fault: the whole batch fails
        except HoldfastError as refused:
            return refused
        assert_never(work)

    def _append(self, prepared: Prepared) -> Appended:
        effects = effects_of(prepared, self._tables, self._chain)
        if effects is None:
            tip = self._tables.tip(prepared.append.key)
            return Appended(tip.seq, tip.chain, repeated=True)
        self._tables.write(prepared.append, effects)
        return Appended(effects.seq, effects.chain)

    def _purge(self, purge: Purge, connection: sqlite3.Connection) -> int:
        self._tables.flush()
        ids = connection.execute(_PURGEABLE, (purge.updated_before, SESSIONS_PER_PURGE)).fetchall()
        connection.executemany("DELETE FROM links WHERE session_id = ?", ids)
        connection.executemany("DELETE FROM events WHERE session_id = ?", ids)
        connection.executemany("DELETE FROM sessions WHERE id = ?", ids)
        self._tables.forget()
        self._tables.begin(connection)
        return len(ids)

    def _undo(self, error: Exception) -> None:
        self._handle.rollback()
        self._tables.forget()
        if isinstance(error, sqlite3.Error) and primary_code(error) not in _KEEPS_CONNECTION:
            self._handle.drop()
        if not self._is_failing:
            self._is_failing = True
            unforeseen = None if isinstance(error, sqlite3.Error | StoreUnavailable) else error
            log.error("the ledger takes no writes: %s", self._told(error), exc_info=unforeseen)

    def _told(self, error: Exception) -> Exception:
        """A new error for each waiter: a raised one carries its traceback with it."""
        match error:
            case StoreUnavailable():
                return StoreUnavailable(error.message)
            case sqlite3.Error():
                return explain(self._file.path, error)
            case _:
                return StoreUnavailable(f"the ledger failed: {type(error).__name__}: {error}")

    def _empty_wal(self) -> None:
        """Between two batches, without waiting for other connections: if one reads now, then
        later."""
        try:
            connection = self._handle.get()
            connection.execute("PRAGMA busy_timeout = 0").fetchone()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            milliseconds = round(self._file.busy_seconds * 1000)
            connection.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchone()
        except (sqlite3.Error, StoreUnavailable) as error:
            self._handle.drop()
            log.warning("the ledger's WAL could not be emptied: %s", error)

    def _watch_wal(self) -> None:
        try:
            size_bytes = os.stat(self._file.wal).st_size
        except OSError:
            return
        if self._wal_grown(size_bytes):
            self._empty_wal()


def _is_of_the_store(error: Exception) -> bool:
    """Whether it would have failed any batch; else one of the jobs is at fault, and only it
    fails."""
    if isinstance(error, sqlite3.IntegrityError):
        return False
    return isinstance(error, sqlite3.Error | StoreUnavailable)


def _probe(connection: sqlite3.Connection) -> int:
    return connection.execute(_PROBE).rowcount
