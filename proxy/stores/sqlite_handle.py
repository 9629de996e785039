"""One thread's connection to the ledger's file, opened when needed and again after it broke."""

import logging
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores.sqlite_file import Connect, connect, prepare_file, tune

log = logging.getLogger(__name__)

_NO_FILE = (0, 0)
_REPLACED = "another file is in the place of the ledger: calls are booked in that from now on"
_WAL_REMOVED = (
    "the ledger's WAL was removed while it was in use; what was in it is in the ledger now: "
    "leave the files beside a ledger alone while it is served"
)


@dataclass(slots=True)
class Saved:
    """How often a WAL that had lost its name was written into the file."""

    times: int = 0


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """What all connections to one ledger have in common. `connect` is the seam for tests."""

    path: Path
    secret: bytes
    busy_seconds: float = 5.0
    connect: Connect = connect
    saved: Saved = field(default_factory=Saved)

    @property
    def wal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")


class Handle:
    """Used by one thread only. Notices when the file or its WAL was removed or replaced under it:
    SQLite would go on writing into a file that has no name, which ends with the process.

    cache_kib: of pages, at most."""

    def __init__(self, file: SqliteFile, cache_kib: int = 2_000) -> None:
        self._file = file
        self._cache_kib = cache_kib
        self._connection: sqlite3.Connection | None = None
        self._inode = self._wal_inode = _NO_FILE
        self._saved = 0
        self._path, self._wal = str(file.path), str(file.wal)  # a Path costs more than its stat

    def get(self) -> sqlite3.Connection:
        """Raises StoreUnavailable, sqlite3.Error."""
        inode, saved = self._current_inode(), self._file.saved
        if self._connection is not None and inode == self._inode:
            if self._saved == saved.times:
                return self._connection
        elif self._inode not in (_NO_FILE, inode):
            log.warning(_REPLACED, extra={"ledger": str(self._file.path)})
        self.drop()
        connection = self._file.connect(self._file.path, self._file.busy_seconds)
        try:
            prepare_file(connection, self._file.path, self._file.secret)
            tune(connection)
            connection.execute(f"PRAGMA cache_size = -{self._cache_kib}")
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, inode
        self._wal_inode, self._saved = _inode_of(self._wal), saved.times
        return connection

    def sound(self) -> sqlite3.Connection:
        """As `get`, and what it writes to has a name: where the WAL has none any more, what is in
        it goes into the file first. Not each time: a look at a file is a call of the kernel, for
        which the interpreter's lock is given up."""
        connection = self.get()
        wal = _inode_of(self._wal)
        if wal == self._wal_inode:
            return connection
        if wal == _NO_FILE:
            self._save_wal(connection)
        self._file.saved.times += 1  # all connections of this process begin anew
        return self.get()

    def _save_wal(self, connection: sqlite3.Connection) -> None:
        """What was committed to a WAL that has no name any more goes into the file. Raises
        StoreUnavailable where somebody reads now; then the next one tries."""
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(
                f"{self._file.wal} was removed while it was in use; what was in it is being "
                "written into the ledger"
            )
        log.warning(_WAL_REMOVED, extra={"ledger": str(self._file.path)})

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def rollback(self) -> None:
        """Ends a failed transaction; where even that fails, the connection goes."""
        if self._connection is not None:
            try:
                self._connection.rollback()
            except sqlite3.Error:
                self.drop()

    def drop(self) -> None:
        """Closes the connection; `get` opens another."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _current_inode(self) -> tuple[int, int]:
        path = self._file.path
        try:
            status = os.stat(self._path)
        except OSError as error:
            raise StoreUnavailable(
                f"the ledger {path} is gone ({error.strerror}): put it back, or restart to begin a "
                "new one"
            ) from error
        if status.st_size == 0 and self._connection is not None:
            raise StoreUnavailable(
                f"the ledger {path} was emptied while it was in use: put a backup in its place, "
                "or move it away and restart to begin a new one"
            )
        return status.st_dev, status.st_ino


def _inode_of(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return _NO_FILE
    return status.st_dev, status.st_ino
