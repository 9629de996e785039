"""What the journal says beyond the tables, for those who read: both together are the ledger.

A reader sees journal and tables as they were at one moment, in one transaction; a record is in
either of them, never in both. Records are read once each: the next reader goes on from there until
the journal has been written into the tables.
"""

import sqlite3
from collections.abc import Mapping

from proxy.core.session import SessionKey
from proxy.stores import Balance
from proxy.stores.chain import ChainedPayload
from proxy.stores.effects import Hold, Tip, relinked
from proxy.stores.sqlite_journal import Record, decode

Names = list[tuple[int, bytes]]


class Overlay:
    """Used by the reader's thread. What is not in it is as the tables have it."""

    def __init__(self) -> None:
        self.names: Names = []
        self.sessions: dict[int, tuple[SessionKey, Tip]] = {}
        self.events: dict[SessionKey, list[ChainedPayload]] = {}
        self.contents: dict[SessionKey, dict[str, bytes]] = {}
        self.balances: dict[str, Balance] = {}
        self.touched: dict[str, float] = {}
        self.holds: dict[tuple[SessionKey, str], Hold | None] = {}
        self._links: dict[tuple[str, bytes], list[str]] = {}

    def add(self, record: Record) -> None:
        sessions = self.sessions
        for number, (tenant, session, tip) in record.sessions.items():
            sessions[number] = (SessionKey(tenant, session), tip)
        for number, seq, payload, chain, _ in record.events:
            rows = self.events.setdefault(sessions[number][0], [])
            rows.append(ChainedPayload(seq, payload, chain))
        for number, name, data in record.contents:
            self.contents.setdefault(sessions[number][0], {})[name] = data
        self.balances.update(record.balances)
        for account in record.balances:
            self.touched[account] = max(record.at, self.touched.get(account, 0.0))
        for number, call_id, hold in record.holds:
            self.holds[sessions[number][0], call_id] = hold
        for tenant, digest, number in record.links:
            self._links.setdefault((tenant, digest), []).append(sessions[number][0].session)

    def given(self, key: SessionKey) -> set[bytes]:
        """The digests that the journal gave to a session."""
        return {
            digest
            for (tenant, digest), sessions in self._links.items()
            if tenant == key.tenant and key.session in sessions
        }

    def linked(
        self, tenant: str, found: Mapping[bytes, tuple[str, ...]], links: tuple[bytes, ...]
    ) -> dict[bytes, tuple[str, ...]]:
        """The sessions of each digest, those that the tables name first."""
        after = dict(found)
        for digest in links:
            for session in self._links.get((tenant, digest), ()):
                after[digest] = relinked(after.get(digest, ()), session)
        return after


class Overlays:
    """One connection's."""

    def __init__(self) -> None:
        self._overlay = Overlay()

    def read(self, connection: sqlite3.Connection) -> Overlay:
        """As of the transaction. Raises sqlite3.Error, StoreUnavailable."""
        names: Names = connection.execute("SELECT id, name FROM journal ORDER BY id").fetchall()
        known = self._overlay.names
        if names[: len(known)] != known:
            self._overlay, known = Overlay(), []
        if len(names) > len(known):
            sql = "SELECT record FROM journal WHERE id >= ? ORDER BY id"
            rows = connection.execute(sql, names[len(known)][:1]).fetchall()
            records = [decode(data) for (data,) in rows]  # all or none: none is added twice
            for record in records:
                self._overlay.add(record)
        self._overlay.names = names
        return self._overlay
