"""What is kept beside the log, in the ledger's file."""

import sqlite3
from collections.abc import Mapping, Sequence

from proxy.core.session import SessionKey
from proxy.stores.sqlite_overlay import Overlay

_AT_ONCE = 500
_ALL = """SELECT name, data FROM contents WHERE session_id =
    (SELECT id FROM sessions WHERE session = ? AND tenant = ?)"""


def read_contents(
    connection: sqlite3.Connection,
    overlay: Overlay,
    key: SessionKey,
    names: Sequence[str] | None,
) -> Mapping[str, bytes]:
    """Those of these names, None: all, in tables and journal together."""
    newer = overlay.contents.get(key, {})
    if names is None:
        rows = connection.execute(_ALL, (key.session, key.tenant))
        return {**dict(rows), **newer}
    found: dict[str, bytes] = {}
    missing = [name for name in names if name not in newer]
    for start in range(0, len(missing), _AT_ONCE):
        part = missing[start : start + _AT_ONCE]
        sql = f"{_ALL} AND name IN ({', '.join('?' * len(part))})"
        found.update(connection.execute(sql, (key.session, key.tenant, *part)).fetchall())
    found.update({name: newer[name] for name in names if name in newer})
    return found
