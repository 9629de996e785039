"""The accounts of a ledger's file as they are there, to be verified beside whoever writes it."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from proxy.stores import AccountRow, Hold
from proxy.stores.account_sums import AccountFault, figures
from proxy.stores.derived import usd
from proxy.stores.sqlite_dumps import dump_accounts
from proxy.stores.sqlite_file import explain
from proxy.stores.sqlite_overlay import Overlay, Overlays
from proxy.stores.sqlite_queries import balances
from proxy.stores.sqlite_reading import Moment, as_text, open_to_read
from proxy.stores.sqlite_rows import hold_of
from proxy.stores.sqlite_tables import balance_of

_PER_PAGE = 1_000
_OPEN = """SELECT account FROM accounts WHERE held <> 0 OR held_tokens <> 0 OR calls <> 0"""
_HOLDS = """SELECT tenant, session, call_id, owner, deadline, cost, accounts, tokens, trees
    FROM holds JOIN sessions ON sessions.id = session_id"""
_FORGOTTEN = "SELECT value FROM meta WHERE name = 'forgotten'"

Held = tuple[int, int, int]
"""Micro-USD, tokens, calls."""


def read_accounts(path: Path) -> Iterator[AccountRow]:
    """Each as it is when its turn comes. Raises StoreUnavailable."""
    try:
        with closing(open_to_read(path)) as connection:
            connection.text_factory = as_text
            overlays, after, is_more = Overlays(), "", True
            while is_more:
                with Moment(connection, overlays) as overlay:
                    rows = dump_accounts(connection, overlay, after, _PER_PAGE)
                yield from map(_sound, rows)
                is_more = len(rows) == _PER_PAGE
                after = rows[-1][0] if rows else after
    except sqlite3.Error as error:
        raise explain(path, error) from error


def forgotten(path: Path) -> float | None:
    """When the newest session was last touched of which not even a tombstone is left; None where
    the ledger does not say so. Raises StoreUnavailable."""
    try:
        with closing(open_to_read(path)) as connection:
            row = connection.execute(_FORGOTTEN).fetchone()
    except sqlite3.Error as error:
        raise explain(path, error) from error
    return float(row[0]) if row is not None and isinstance(row[0], int | float) else None


def held_faults(path: Path) -> Iterator[AccountFault]:
    """Accounts on which something else is held than by calls in flight, all at one moment. Raises
    StoreUnavailable."""
    try:
        with closing(open_to_read(path)) as connection, Moment(connection, Overlays()) as overlay:
            connection.text_factory = as_text
            said = _held_by_holds(connection, overlay)
            there = _held_on_accounts(connection, overlay, said.keys())
    except sqlite3.Error as error:
        raise explain(path, error) from error
    for name in sorted(there):
        if there[name] == said.get(name, (0, 0, 0)):
            continue
        (has, tokens, calls), (says, other_tokens, other_calls) = there[name], said[name]
        detail = f"it has {usd(has)} USD, calls in flight hold {usd(says)} USD"
        if has == says:
            detail = f"it has {tokens} tokens of {calls} calls, in flight are {other_tokens} tokens"
            detail += f" of {other_calls} calls"
        yield AccountFault(name, "held altered", detail)


def _held_by_holds(connection: sqlite3.Connection, overlay: Overlay) -> defaultdict[str, Held]:
    held: dict[tuple[str, str, str], Hold | None] = {}
    for tenant, session, call_id, *row in connection.execute(_HOLDS):
        try:
            held[tenant, session, call_id] = hold_of(tuple(row))
        except (ValueError, TypeError):
            continue  # it is told with its session
    held |= {(*key, call_id): hold for (key, call_id), hold in overlay.holds.items()}
    sums: defaultdict[str, Held] = defaultdict(lambda: (0, 0, 0))
    for hold in held.values():
        if hold is None:
            continue
        for name in hold.accounts:
            sums[name] = _plus(sums[name], (hold.cost_micro_usd, 0, 0))
        for name in hold.trees:
            sums[name] = _plus(sums[name], (hold.cost_micro_usd, hold.tokens, 1))
    return sums


def _held_on_accounts(
    connection: sqlite3.Connection, overlay: Overlay, names: Iterable[str]
) -> dict[str, Held]:
    found = {name for (name,) in connection.execute(_OPEN)}
    there = balances(connection, overlay, {*found, *overlay.balances, *names})
    return {
        name: (one.held_micro_usd, one.counts.held_tokens, one.counts.calls)
        for name, one in there.items()
    }


def _plus(one: Held, other: Held) -> Held:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _sound(row: AccountRow) -> AccountRow:
    """Whatever somebody has put there: what is no number is less than any sum."""
    name, balance, at = row
    there: Sequence[object] = figures(balance)
    return name, balance_of(tuple(f if isinstance(f, int) else -1 for f in there)), at
