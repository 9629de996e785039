"""A SQLite database that is thrown away, for what is looked up or summed and outgrows memory."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self


class Scratch:
    """A context manager; one thread's. Nothing of it has to reach the disk, and all of it is one
    transaction. tables: SQL that makes them."""

    def __init__(self, tables: str) -> None:
        self._folder = TemporaryDirectory(prefix="holdfast-scratch-")
        self._database = sqlite3.connect(Path(self._folder.name) / "scratch", isolation_level=None)
        self._database.executescript(f"""PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
            PRAGMA cache_size = -8000; {tables}; BEGIN""")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._database.close()
        self._folder.cleanup()
