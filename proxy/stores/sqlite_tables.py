"""The writer's view of the ledger: what was read, and what the batch under way changes.

What was read stays valid until another connection commits (`PRAGMA data_version`): a process that
has the file for itself reads each session and account once, and decides on what it remembers. What
was written lives in the journal at first, so it is remembered at least until the tables have it.
"""

import sqlite3
from collections.abc import Iterable

from proxy.core.session import SessionKey
from proxy.stores import NO_COUNTS, Append, Balance, Counts
from proxy.stores.effects import NO_SESSION, Effects, Hold, Tip
from proxy.stores.sqlite_journal import Record, pack_links
from proxy.stores.sqlite_rows import hold_of, read_tips, tip_of

_REMEMBERED = 10_000
_INT64 = 2**63

BALANCE = """SELECT spent, held, tokens, held_tokens, steps, tool_calls, calls
    FROM accounts WHERE account = ?"""

_HOLD = """SELECT owner, deadline, cost, accounts, tokens, trees FROM holds
    WHERE call_id = ?3 AND session_id =
    (SELECT id FROM sessions WHERE session = ?1 AND tenant = ?2)"""


class SqliteTables:
    """See `effects.Tables`. Used by the writer's thread."""

    def __init__(self) -> None:
        self._tips: dict[SessionKey, tuple[int, Tip]] = {}
        self._balances: dict[str, Balance] = {}
        self._open: dict[tuple[SessionKey, str], Hold | None] = {}
        self._closed: list[tuple[SessionKey, str]] = []
        self._next_id: int | None = None
        self._record = Record()
        self._connection: sqlite3.Connection | None = None
        self.version = 0

    def is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether there is something to decide on without a look at the file: it holds if
        `version` is still the connection's data_version."""
        known = len(self._tips) + len(self._balances) + len(self._open)
        return connection is self._connection and known <= _REMEMBERED

    def begin(self, connection: sqlite3.Connection) -> bool:
        """Starts on a new transaction, in which the journal is written into the tables first;
        forgets what another connection may have changed since. True: none has."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        is_known = connection is self._connection and version == self.version
        if not is_known or not self.is_current(connection):
            self.forget()
        self._connection, self.version = connection, version
        return is_known

    def forget(self) -> None:
        """After a failed transaction, and after writes that went past this view."""
        self._tips.clear()
        self._balances.clear()
        self._open.clear()
        self._closed.clear()
        self._next_id = None
        self._connection = None
        self._record = Record()

    def look_up(self, keys: Iterable[SessionKey]) -> None:
        """Reads the ends of their logs together: one statement, not one for each that is new."""
        unknown = [key for key in keys if key not in self._tips]
        if not unknown:
            return
        for key in unknown:
            self._tips[key] = (0, NO_SESSION)
        for row in read_tips(self._at(), unknown):
            tenant, session, number = row[:3]
            assert isinstance(number, int)
            self._tips[SessionKey(str(tenant), str(session))] = (number, tip_of(row))

    def tip(self, key: SessionKey) -> Tip:
        known = self._tips.get(key)
        if known is None:
            self.look_up((key,))
            known = self._tips[key]
        return known[1]

    def balance(self, account: str) -> Balance:
        balance = self._balances.get(account)
        if balance is None:
            row = self._at().execute(BALANCE, (account,)).fetchone()
            balance = self._balances[account] = balance_of(row)
        return balance

    def hold(self, key: SessionKey, call_id: str) -> Hold | None:
        if (key, call_id) not in self._open:
            row = self._at().execute(_HOLD, (key.session, key.tenant, call_id)).fetchone()
            if row is None:
                return None  # not remembered: who closes twice is rare, and would fill the memory
            self._open[key, call_id] = hold_of(row)
        return self._open[key, call_id]

    def write(self, append: Append, effects: Effects) -> None:
        """Takes the effects into the view and into the batch's record. OverflowError for a number
        that no column takes; then the batch has to be forgotten."""
        key, record = append.key, self._record
        number = self._tips[key][0] or self._new_id()  # it was decided on its tip
        tip = Tip(effects.seq, effects.chain, effects.head, append.token)
        self._tips[key] = (number, tip)
        record.sessions[number] = (key.tenant, key.session, tip)
        record.at = max(record.at, effects.head.updated_at)
        for row in effects.rows:
            record.events.append((number, row.seq, row.payload, row.chain, None))
        if effects.balances:
            for balance in effects.balances.values():
                if balance.counts is not NO_COUNTS:
                    _check_counts(balance.counts)
            self._balances.update(effects.balances)
            record.balances.update(effects.balances)
        if effects.opened or effects.closed:
            self._write_holds(key, number, effects)
        if append.links:
            self._write_links(key.tenant, number, append)
        for content in append.contents:
            record.contents.append((number, content.name, content.data))

    def _write_links(self, tenant: str, number: int, append: Append) -> None:
        record = self._record
        record.links += [(tenant, digest, number) for digest in append.links]
        if append.events:
            record.events[-1] = (*record.events[-1][:4], pack_links(append.links))
        else:
            record.loose += [(number, tenant, digest) for digest in append.links]

    def _write_holds(self, key: SessionKey, number: int, effects: Effects) -> None:
        holds = self._record.holds
        for call_id, hold in effects.opened.items():
            _check_hold(hold)
            self._open[key, call_id] = hold
            holds.append((number, call_id, hold))
        for call_id in effects.closed:
            self._open[key, call_id] = None  # the table does not know it yet
            self._closed.append((key, call_id))
            holds.append((number, call_id, None))

    def take(self) -> Record | None:
        """What the batch changed, for the journal or the tables; None where nothing."""
        record = self._record
        if not record.sessions:
            return None
        self._record = Record()
        return record

    def applied(self) -> None:
        """The tables have all that was taken."""
        for call in self._closed:
            if call in self._open and self._open[call] is None:
                del self._open[call]
        self._closed.clear()

    def _at(self) -> sqlite3.Connection:
        assert self._connection is not None  # only asked after `begin`
        return self._connection

    def _new_id(self) -> int:
        if self._next_id is None:
            (largest,) = self._at().execute("SELECT max(id) FROM sessions").fetchone()
            self._next_id = (largest or 0) + 1
        self._next_id += 1
        return self._next_id - 1


def balance_of(row: tuple[int, ...] | None) -> Balance:
    """What a row of BALANCE says; nothing is on an account that was never charged."""
    if row is None:
        return Balance()
    spent, held, *counts = row
    return Balance(spent, held, Counts(*counts))


def _check_hold(hold: Hold) -> None:
    if not (-_INT64 <= hold.cost_micro_usd < _INT64 and -_INT64 <= hold.tokens < _INT64):
        raise OverflowError("a hold of more than 64 bits")


def _check_counts(counts: Counts) -> None:
    for count in (
        counts.tokens,
        counts.held_tokens,
        counts.steps,
        counts.tool_calls,
        counts.calls,
    ):
        if not -_INT64 <= count < _INT64:
            raise OverflowError("a count of more than 64 bits")
