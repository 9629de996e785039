"""When the ledger's WAL is checkpointed, seen from within the sidecar; or that it never is.

It stands between SQLite and whoever calls it, so that it need not know who that is.
"""

import sqlite3
from collections.abc import Iterable
from functools import partial
from time import perf_counter
from typing import Final, Literal

Checkpoints = Literal["watched", "never"]
_STATEMENT: Final = "PRAGMA wal_checkpoint"
_NOTHING: Final = "SELECT 0, 0, 0"


def observe(checkpoints: Checkpoints) -> list[tuple[float, float]]:
    """From now on, for all connections of the process that are made later: begin and end of each
    checkpoint, on the clock that all processes of a machine share. "never": none is carried out."""
    ran: list[tuple[float, float]] = []

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Iterable[object] = (), /) -> sqlite3.Cursor:  # type: ignore[override]  # parameters by position only
            if not sql.startswith(_STATEMENT):
                return super().execute(sql, parameters)  # type: ignore[arg-type]  # as it came
            began = perf_counter()
            cursor = super().execute(_NOTHING if checkpoints == "never" else sql)
            ran.append((began, perf_counter()))
            return cursor

    sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]  # the same call
    return ran
