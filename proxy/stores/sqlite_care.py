"""Carries out on the tables what is no append: deleting, and taking in from another store."""

import sqlite3
from typing import assert_never

from proxy.stores.chain import Chain
from proxy.stores.sqlite_jobs import Care, Delete, Purge, PurgeAccounts, Restore, RestoreAccounts
from proxy.stores.sqlite_purge import delete_session, purge_accounts, purge_sessions
from proxy.stores.sqlite_restore import restore_accounts, restore_session


def carry_out(care: Care, connection: sqlite3.Connection, chain: Chain) -> int:
    """In a transaction in which the tables have all that was committed; how many it changed.
    Raises what is refused before anything is written."""
    match care:
        case Purge():
            return purge_sessions(connection, chain, care)
        case PurgeAccounts():
            return purge_accounts(connection, care.accounts, care.touched_before)
        case Delete():
            return delete_session(connection, chain, care)
        case Restore():
            return restore_session(connection, care)
        case RestoreAccounts():
            return restore_accounts(connection, care)
    assert_never(care)
