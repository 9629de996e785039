"""Carries out on the tables what is no append: deleting, and taking in from another store."""

import sqlite3
from typing import assert_never

from proxy.stores.chain import Chain
from proxy.stores.sqlite_jobs import (
    Delete,
    Maintenance,
    Purge,
    PurgeAccounts,
    Restore,
    RestoreAccounts,
)
from proxy.stores.sqlite_purge import delete_session, purge_accounts, purge_sessions
from proxy.stores.sqlite_restore import restore_accounts, restore_session


def carry_out(task: Maintenance, connection: sqlite3.Connection, chain: Chain) -> int:
    """In a transaction in which the tables have all that was committed; how many it changed.
    Raises what is refused before anything is written."""
    match task:
        case Purge():
            return purge_sessions(connection, chain, task)
        case PurgeAccounts():
            return purge_accounts(connection, task.accounts, task.touched_before)
        case Delete():
            return delete_session(connection, chain, task)
        case Restore():
            return restore_session(connection, task)
        case RestoreAccounts():
            return restore_accounts(connection, task)
    assert_never(task)
