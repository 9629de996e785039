"""The one thread of this process that writes: gathers jobs, decides each, commits them together.

Theory of operation. Each append is decided on what its predecessors in the batch leave; a refused
one raises before anything is written, so that its neighbours do not notice. Nobody is told anything
before the commit: where that fails, every job of the batch fails, the refused ones too (they were
refused on what never became true). Then the loop is woken once for the whole batch.

While nobody else writes to the file, a batch is decided on what is remembered (`sqlite_tables`) and
committed to the journal by one statement, which refuses if another connection has committed
meanwhile. Else, and for what is not an append, there is a transaction: BEGIN IMMEDIATE, so that
what is read in it holds until it commits, the journal is written into the tables, and the batch
after it. Between batches the journal is written into the tables once it has grown, or when nothing
is to do.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence

from proxy.errors import HoldfastError, StoreUnavailable
from proxy.stores import Appended
from proxy.stores.batches import Delivery, deliver
from proxy.stores.chain import Chain
from proxy.stores.effects import Prepared, effects_of
from proxy.stores.sqlite_file import explain, primary_code
from proxy.stores.sqlite_handle import Handle, SqliteFile
from proxy.stores.sqlite_jobs import Done, Maintenance, Probe, Work, WriteJob
from proxy.stores.sqlite_journal import Journal, read
from proxy.stores.sqlite_maintenance import carry_out
from proxy.stores.sqlite_rows import DECIDED, TOLD, Changes
from proxy.stores.sqlite_tables import SqliteTables

log = logging.getLogger(__name__)

APPENDS_IN_JOURNAL = 512
"""More cost less each, but who appends meanwhile waits longer: 5 ms for these."""

_WATCH_BYTES = 256 * 1024
_CONTENT_IN_JOURNAL_BYTES = 64 * 1024

_KEEPS_CONNECTION = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CONSTRAINT,
}
_PROBE = "INSERT INTO meta VALUES ('probe', 1) ON CONFLICT DO UPDATE SET value = value + 1"


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
        self._journal = Journal()
        self._chain = Chain(file.secret)
        self._in_journal = 0
        self._changes = Changes()
        self._unwatched_bytes = _WATCH_BYTES
        self._is_failing = False

    def handle(self, jobs: Sequence[WriteJob]) -> bool:
        """Carries out a batch and delivers each result; never raises, or its thread would be gone.
        True: `rest` has something to do."""
        deliver(self._loop, self._results(jobs))
        if self._in_journal >= APPENDS_IN_JOURNAL:
            self.rest()
        if self._unwatched_bytes >= _WATCH_BYTES:
            self._watch_wal()
        return self._in_journal > 0

    def rest(self) -> None:
        """Writes the journal into the tables. Where that fails the journal stays, and stays
        true."""
        if self._in_journal:
            try:
                connection = self._handle.get()
                connection.execute("BEGIN IMMEDIATE")
                self._empty_journal(connection)
                connection.execute("COMMIT")
            except Exception as error:  # the thread's boundary: without it nobody is answered
                self._undo(error)

    def close(self) -> None:
        """On the writer's thread, at its end: moves journal and WAL into the file and lets go of
        it."""
        self.rest()
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
        results = self._commit_to_journal(jobs, connection)
        if results is None:
            results = self._commit_to_tables(jobs, self._handle.sound())
        if self._is_failing:
            self._is_failing = False
            log.info("the ledger takes writes again")
        return results

    def _commit_to_journal(
        self, jobs: Sequence[WriteJob], connection: sqlite3.Connection
    ) -> list[Delivery[Done]] | None:
        """None, and nothing written, where what is remembered may be untrue."""
        tables = self._tables
        if not tables.is_current(connection):
            return None
        if not all(_is_for_journal(job.work) for job in jobs):
            return None
        results = self._decided(jobs, connection)
        record = tables.take()
        if record is None:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            return results if version == tables.version else None
        size_bytes = self._journal.put(connection, record, tables.version)
        if not size_bytes:
            tables.forget()
            return None
        self._in_journal += len(jobs)
        self._changes.add(record)
        self._unwatched_bytes += size_bytes
        return results

    def _commit_to_tables(
        self, jobs: Sequence[WriteJob], connection: sqlite3.Connection
    ) -> list[Delivery[Done]]:
        connection.execute("BEGIN IMMEDIATE")
        self._empty_journal(connection)
        results = self._decided(jobs, connection)
        self._flush(connection)
        connection.execute("COMMIT")
        return results

    def _empty_journal(self, connection: sqlite3.Connection) -> None:
        """In a transaction. What is remembered of the journal counts while nobody else has
        committed; another process may have written it into the tables already."""
        is_known = self._tables.begin(connection)
        changes = self._changes if is_known else Changes(read(connection))
        changes.write(connection, TOLD)
        connection.execute("DELETE FROM journal")
        self._emptied()

    def _flush(self, connection: sqlite3.Connection) -> None:
        record = self._tables.take()
        if record is not None:
            Changes((record,)).write(connection, DECIDED)
            self._emptied()

    def _emptied(self) -> None:
        self._tables.applied()
        self._in_journal = 0
        self._changes = Changes()
        self._unwatched_bytes = _WATCH_BYTES

    def _decided(
        self, jobs: Sequence[WriteJob], connection: sqlite3.Connection
    ) -> list[Delivery[Done]]:
        self._tables.look_up(
            {job.work.append.key for job in jobs if isinstance(job.work, Prepared)}
        )
        return [(job.future, self._try(job.work, connection)) for job in jobs]

    def _try(self, work: Work, connection: sqlite3.Connection) -> Done | HoldfastError:
        try:
            match work:
                case Prepared():
                    return self._append(work)
                case Probe():
                    return _probe(connection)
                case _:
                    return self._maintain(work, connection)
        except StoreUnavailable:
            raise  # not this job's fault: the whole batch fails
        except HoldfastError as refused:
            return refused

    def _append(self, prepared: Prepared) -> Appended:
        effects = effects_of(prepared, self._tables, self._chain)
        if effects is None:
            tip = self._tables.tip(prepared.append.key)
            return Appended(tip.seq, tip.chain, repeated=True)
        self._tables.write(prepared.append, effects)
        return Appended(effects.seq, effects.chain)

    def _maintain(self, task: Maintenance, connection: sqlite3.Connection) -> int:
        self._flush(connection)
        count = carry_out(task, connection, self._chain)
        if count:
            self._tables.forget()
            self._tables.begin(connection)
        return count

    def _undo(self, error: Exception) -> None:
        """Back to what the file has; the next batch reads it anew."""
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
        """Not after each batch: it is a call of the kernel, and the WAL tells of nothing else."""
        self._unwatched_bytes = 0
        try:
            size_bytes = os.stat(self._file.wal).st_size
        except OSError:
            return
        if self._wal_grown(size_bytes):
            self._empty_wal()


def _is_for_journal(work: Work) -> bool:
    """Not what is large: it would be written twice, and kept by every reader meanwhile."""
    if not isinstance(work, Prepared):
        return False
    contents = work.append.contents
    return not contents or sum([len(one.data) for one in contents]) <= _CONTENT_IN_JOURNAL_BYTES


def _is_of_the_store(error: Exception) -> bool:
    """Whether it would have failed any batch; else one of the jobs is at fault, and only it
    fails."""
    if isinstance(error, sqlite3.IntegrityError):
        return False
    return isinstance(error, sqlite3.Error | StoreUnavailable)


def _probe(connection: sqlite3.Connection) -> int:
    return connection.execute(_PROBE).rowcount
