"""One thread's connection to the ledger's file, opened when needed and again after it broke."""

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores.sqlite_file import Connect, connect, prepare_file, tune


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """What all connections to one ledger have in common. `connect` is the seam for tests."""

    path: Path
    secret: bytes
    busy_seconds: float = 5.0
    connect: Connect = connect

    @property
    def wal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")


class Handle:
    """Used by one thread only. Notices when the file was removed or replaced under it: SQLite would
    go on writing into a file that has no name."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)

    def get(self) -> sqlite3.Connection:
        """Raises StoreUnavailable, sqlite3.Error."""
        inode = self._current_inode()
        if self._connection is not None and inode == self._inode:
            return self._connection
        self.drop()
        connection = self._file.connect(self._file.path, self._file.busy_seconds)
        try:
            prepare_file(connection, self._file.path, self._file.secret)
            tune(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, inode
        return connection

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
            status = os.stat(path)
        except OSError as error:
            raise StoreUnavailable(
                f"the ledger {path} is gone ({error.strerror}): put it back, or restart to begin a "
                "new one"
            ) from error
        return status.st_dev, status.st_ino
