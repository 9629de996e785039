"""Moves the WAL back into the database beside the writer, never in its way.

SQLite's automatic checkpoint runs inside a commit and stalls everyone behind it. Here a thread
with a connection of its own runs PASSIVE checkpoints, which wait for nobody, each time the WAL has
grown by `EVERY_BYTES`. A passive checkpoint that ends in a quiet moment lets the next commit begin
the WAL anew. Under unbroken load there is no such moment: above `MOST_BYTES` the writer empties it
between two batches, when a passive checkpoint has just done most of the work.
"""

import logging
import sqlite3
from collections.abc import Sequence

from proxy.errors import StoreUnavailable
from proxy.stores.batches import BatchThread
from proxy.stores.sqlite_handle import Handle, SqliteFile

log = logging.getLogger(__name__)

EVERY_BYTES = 4 * 1024 * 1024
MOST_BYTES = 16 * 1024 * 1024  # emptying 64 MB stalled appends for 40 ms, 16 MB for 18


class Checkpointer:
    """`wal_grown` is called on the writer's thread."""

    def __init__(
        self, file: SqliteFile, every_bytes: int = EVERY_BYTES, most_bytes: int = MOST_BYTES
    ) -> None:
        self._file = file
        self._handle = Handle(file)
        self._every_bytes = every_bytes
        self._most_bytes = most_bytes
        self._thread = BatchThread(
            "holdfast-checkpoint", self._checkpoint, self._handle.drop, most=1
        )
        self._done_bytes = 0
        self._empty_above_bytes = most_bytes
        self._is_running = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Waits for a checkpoint that runs now."""
        self._thread.stop()

    def wal_grown(self, size_bytes: int) -> bool:
        """Starts a checkpoint where one is due; True: the writer should empty the WAL now."""
        if size_bytes < self._done_bytes:
            self._done_bytes = 0  # the WAL was begun anew
            self._empty_above_bytes = self._most_bytes
        if self._is_running:
            return False
        if size_bytes >= self._empty_above_bytes:
            self._empty_above_bytes = size_bytes + self._most_bytes  # in case a long read keeps it
            return True
        if size_bytes - self._done_bytes >= self._every_bytes:
            self._is_running = True
            self._thread.put((size_bytes,))
        return False

    def _checkpoint(self, sizes_bytes: Sequence[int]) -> None:
        try:
            self._handle.get().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (sqlite3.Error, StoreUnavailable) as error:
            self._handle.drop()
            log.warning("the ledger could not be checkpointed: %s", error)
        self._done_bytes = sizes_bytes[-1]
        self._is_running = False
