"""Sessions and accounts of another store, taken into the ledger's file."""

import sqlite3

from proxy.errors import SeqConflict
from proxy.stores import SessionDump
from proxy.stores.effects import Tip
from proxy.stores.sqlite_jobs import Restore, RestoreAccounts
from proxy.stores.sqlite_journal import Record, pack_links
from proxy.stores.sqlite_purge import forget_before
from proxy.stores.sqlite_rows import DECIDED, Changes, read_tips, tip_of

_NEW = "SELECT coalesce(max(id), 0) + 1 FROM sessions"
_FORGOTTEN = "DELETE FROM accounts WHERE account = ?"  # its touched_at may be later than is true


def restore_session(connection: sqlite3.Connection, restore: Restore) -> int:
    """Raises SeqConflict where something is under its id."""
    dump = restore.dump
    for row in read_tips(connection, (dump.key,)):
        raise SeqConflict(tip_of(row).seq)
    (number,) = connection.execute(_NEW).fetchone()
    Changes((_record(number, dump),)).write(connection, DECIDED)
    return 1


def restore_accounts(connection: sqlite3.Connection, restore: RestoreAccounts) -> int:
    connection.executemany(_FORGOTTEN, [(name,) for name, _, _ in restore.rows])
    changes = Changes()
    for name, balance, at in restore.rows:
        changes.balances[name], changes.touched[name] = balance, at
    changes.write(connection, DECIDED)
    # Sessions charged to them may have been forgotten by the other store.
    forget_before(connection, max([at for _, _, at in restore.rows], default=0.0))
    return len(restore.rows)


def _record(number: int, dump: SessionDump) -> Record:
    """What one append would have written that made all of it. The last event tells its links."""
    tip = Tip(dump.seq, dump.chain, dump.head, dump.token)
    record = Record(sessions={number: (*dump.key, tip)}, at=dump.head.updated_at)
    record.events = [(number, row.seq, row.payload, row.chain, None) for row in dump.rows]
    record.holds = [(number, call_id, hold) for call_id, hold in dump.holds]
    record.links = [(dump.key.tenant, digest, number) for digest in dump.links]
    record.contents = [(number, one.name, one.data) for one in dump.contents]
    if dump.links and record.events:
        record.events[-1] = (*record.events[-1][:4], pack_links(dump.links))
    else:
        record.loose = [(number, dump.key.tenant, digest) for digest in dump.links]
    return record
