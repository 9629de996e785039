"""The writer's view of the tables inside one transaction: what was read, and what is to be written.

What was read stays valid from one transaction to the next until another connection commits
(`PRAGMA data_version`): a process that has the file for itself reads each session and account
once. Rows are written together at the end of the batch: one per session and account, however many
appends.
"""

import json
import sqlite3
from dataclasses import dataclass, field

import msgspec

from proxy.core.links import SESSIONS_PER_LINK
from proxy.core.session import SessionKey
from proxy.stores import Append, Balance, Counts
from proxy.stores.codec import decode_head, encode_head
from proxy.stores.effects import NO_SESSION, Effects, Hold, Tip

_REMEMBERED = 10_000

BALANCE = """SELECT spent, held, tokens, held_tokens, steps, tool_calls, calls
    FROM accounts WHERE account = ?"""

_TIP = "SELECT id, seq, chain, head, token FROM sessions WHERE session = ? AND tenant = ?"
_HOLD = """SELECT owner, deadline, cost, accounts, tokens, trees FROM holds
    WHERE call_id = ?3 AND session_id =
    (SELECT id FROM sessions WHERE session = ?1 AND tenant = ?2)"""
_PUT_SESSION = """INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE
    SET seq = excluded.seq, chain = excluded.chain, head = excluded.head, token = excluded.token,
        state = excluded.state, agent = excluded.agent, updated_at = excluded.updated_at"""
_PUT_ACCOUNT = """INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account) DO UPDATE
    SET spent = excluded.spent, held = excluded.held, tokens = excluded.tokens,
        held_tokens = excluded.held_tokens, steps = excluded.steps,
        tool_calls = excluded.tool_calls, calls = excluded.calls"""
# The newest link of a digest is left as it is: resent history links the same session again and
# again.
_PUT_LINK = """INSERT INTO links VALUES (?1, ?2, ?3,
    (SELECT coalesce(max(ordinal), 0) + 1 FROM links WHERE tenant = ?1 AND digest = ?2))
    ON CONFLICT DO UPDATE SET ordinal = excluded.ordinal WHERE ordinal < excluded.ordinal - 1
    RETURNING ordinal"""
_CAP_LINKS = f"""DELETE FROM links WHERE tenant = ?1 AND digest = ?2 AND ordinal <=
    (SELECT ordinal FROM links WHERE tenant = ?1 AND digest = ?2
     ORDER BY ordinal DESC LIMIT 1 OFFSET {SESSIONS_PER_LINK})"""  # noqa: S608 (a constant)


@dataclass(slots=True)
class _Pending:
    """Rows to write at the end of the batch. A hold of None is to be deleted."""

    sessions: set[SessionKey] = field(default_factory=set)
    accounts: set[str] = field(default_factory=set)
    events: list[tuple[int, int, str, bytes]] = field(default_factory=list)
    holds: dict[tuple[int, str], Hold | None] = field(default_factory=dict)
    closed: list[tuple[SessionKey, str]] = field(default_factory=list)
    links: list[tuple[str, bytes, int]] = field(default_factory=list)


class SqliteTables:
    """See `effects.Tables`. Used by the writer's thread, inside BEGIN IMMEDIATE only."""

    def __init__(self) -> None:
        self._tips: dict[SessionKey, tuple[int, Tip]] = {}
        self._balances: dict[str, Balance] = {}
        self._open: dict[tuple[SessionKey, str], Hold | None] = {}
        self._next_id: int | None = None
        self._seen: tuple[sqlite3.Connection, int] | None = None
        self._pending = _Pending()
        self._connection: sqlite3.Connection

    def begin(self, connection: sqlite3.Connection) -> None:
        """Starts on a new transaction; forgets what another connection may have changed since."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        known = len(self._tips) + len(self._balances) + len(self._open)
        if (connection, version) != self._seen or known > _REMEMBERED:
            self.forget()
        self._seen = (connection, version)
        self._connection = connection

    def forget(self) -> None:
        """After a failed transaction, and after writes that went past this view."""
        self._tips.clear()
        self._balances.clear()
        self._open.clear()
        self._next_id = None
        self._seen = None
        self._pending = _Pending()

    def tip(self, key: SessionKey) -> Tip:
        known = self._tips.get(key)
        if known is not None:
            return known[1]
        row = self._connection.execute(_TIP, (key.session, key.tenant)).fetchone()
        if row is None:
            return NO_SESSION
        number, seq, chain, head, token = row
        tip = Tip(seq, chain, decode_head(head), token)
        self._tips[key] = (number, tip)
        return tip

    def balance(self, account: str) -> Balance:
        balance = self._balances.get(account)
        if balance is None:
            row = self._connection.execute(BALANCE, (account,)).fetchone()
            balance = self._balances[account] = balance_of(row)
        return balance

    def hold(self, key: SessionKey, call_id: str) -> Hold | None:
        if (key, call_id) not in self._open:
            row = self._connection.execute(_HOLD, (key.session, key.tenant, call_id)).fetchone()
            self._open[key, call_id] = _hold_of(row)
        return self._open[key, call_id]

    def write(self, append: Append, effects: Effects) -> None:
        """Takes the effects into the view; `flush` writes them."""
        key, pending = append.key, self._pending
        known = self._tips.get(key)
        number = known[0] if known is not None else self._new_id()
        self._tips[key] = (number, Tip(effects.seq, effects.chain, effects.head, append.token))
        pending.sessions.add(key)
        self._balances.update(effects.balances)
        pending.accounts.update(effects.balances)
        pending.events.extend(
            (number, row.seq, row.payload.decode(), row.chain) for row in effects.rows
        )
        for call_id, hold in effects.opened.items():
            pending.holds[number, call_id] = self._open[key, call_id] = hold
        for call_id in effects.closed:
            pending.holds[number, call_id] = None
            pending.closed.append((key, call_id))
            self._open[key, call_id] = None  # the table does not know it until `flush`
        pending.links.extend((key.tenant, digest, number) for digest in append.links)

    def flush(self) -> None:
        """Writes everything pending. Raises sqlite3.Error; then the transaction must be rolled
        back."""
        pending, self._pending = self._pending, _Pending()
        run = self._connection.executemany
        if pending.sessions:
            run(_PUT_SESSION, [self._session_row(key) for key in pending.sessions])
        if pending.events:
            run("INSERT INTO events VALUES (?, ?, ?, ?)", pending.events)
        if pending.accounts:
            run(_PUT_ACCOUNT, [self._account_row(account) for account in pending.accounts])
        if pending.holds:
            self._write_holds(pending.holds)
        for link in pending.links:
            self._write_link(link)
        for call in pending.closed:
            self._open.pop(call, None)

    def _write_holds(self, holds: dict[tuple[int, str], Hold | None]) -> None:
        opened = [(*name, *_hold_row(hold)) for name, hold in holds.items() if hold is not None]
        closed = [name for name, hold in holds.items() if hold is None]
        run = self._connection.executemany
        run("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", opened)
        run("DELETE FROM holds WHERE session_id = ? AND call_id = ?", closed)

    def _write_link(self, link: tuple[str, bytes, int]) -> None:
        row = self._connection.execute(_PUT_LINK, link).fetchone()
        if row is not None and row[0] > SESSIONS_PER_LINK:
            self._connection.execute(_CAP_LINKS, link[:2])

    def _session_row(self, key: SessionKey) -> tuple[object, ...]:
        number, tip = self._tips[key]
        head = tip.head
        assert head is not None  # `Effects.head` never is
        columns = (encode_head(head), tip.token, head.state, head.agent, head.updated_at)
        return (number, key.tenant, key.session, tip.seq, tip.chain, *columns)

    def _account_row(self, account: str) -> tuple[str | int, ...]:
        balance = self._balances[account]
        counts = msgspec.structs.astuple(balance.counts)
        return (account, balance.spent_micro_usd, balance.held_micro_usd, *counts)

    def _new_id(self) -> int:
        if self._next_id is None:
            (largest,) = self._connection.execute("SELECT max(id) FROM sessions").fetchone()
            self._next_id = (largest or 0) + 1
        self._next_id += 1
        return self._next_id - 1


def balance_of(row: tuple[int, ...] | None) -> Balance:
    """What a row of BALANCE says; nothing is on an account that was never charged."""
    if row is None:
        return Balance()
    spent, held, *counts = row
    return Balance(spent, held, Counts(*counts))


def _hold_row(hold: Hold) -> tuple[str, float, int, str, int, str]:
    accounts, trees = json.dumps(hold.accounts), json.dumps(hold.trees)
    return hold.owner, hold.deadline, hold.cost_micro_usd, accounts, hold.tokens, trees


def _hold_of(row: tuple[str, float, int, str, int, str] | None) -> Hold | None:
    if row is None:
        return None
    owner, deadline, cost, accounts, tokens, trees = row
    return Hold(
        owner, deadline, cost, tuple(json.loads(accounts)), tokens, tuple(json.loads(trees))
    )
