"""A whole ledger taken into another store: every session with its chain as it is, every account.

It can be interrupted at any moment and begun again: a session is restored whole or not at all, one
that is there already has to be the same, and accounts are set to what they were.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from proxy.core.session import SessionKey
from proxy.errors import SeqConflict
from proxy.stores import Store
from proxy.stores.chain import Chain
from proxy.stores.logs import reader_of
from proxy.stores.redis_url import is_redis
from proxy.stores.spools import SPOOL
from proxy.stores.sqlite_verifying import Stray
from proxy.stores.urls import spools_folder
from proxy.stores.verification import first_fault
from proxy.workers.owners import living, owners_folder

_PER_PAGE = 256
_AT_ONCE = 16
_LEASE_SECONDS = 2.0
_MOST_NAMED = 20


class Counted(msgspec.Struct):
    """What is in a ledger."""

    sessions: int = 0
    events: int = 0
    contents: int = 0
    accounts: int = 0
    holds: int = 0

    def add(self, events: int, contents: int) -> None:
        self.sessions += 1
        self.events += events
        self.contents += contents


class Migrated(msgspec.Struct):
    """source: what there was. target: what is there now. present: how many sessions were there
    already, as an earlier attempt left them. faults: sentences; none where all is there."""

    source: Counted = msgspec.field(default_factory=Counted)
    target: Counted = msgspec.field(default_factory=Counted)
    present: int = 0
    faults: list[str] = msgspec.field(default_factory=list)

    def wrong(self, fault: str) -> None:
        if len(self.faults) < _MOST_NAMED:
            self.faults.append(fault)


async def serving(url: str) -> Sequence[str]:
    """The processes that serve a ledger now. Raises StoreUnavailable."""
    if not is_redis(url):
        folder = owners_folder(url)
        return living(folder) if folder is not None else ()
    # Imported where it is needed: its parser is an extra.
    from proxy.stores.redis_fleet import RedisFleet
    from proxy.stores.redis_servers import Servers

    fleet, name = RedisFleet(Servers(url)), f"migrate-{secrets.token_hex(8)}"
    await fleet.open()
    try:
        left = await fleet.claim(name, _LEASE_SECONDS) or {}
        await fleet.leave(name, settled=True)
        return sorted(other for other, seconds in left.items() if seconds > 0 and other != name)
    finally:
        await fleet.close()


def spooled(url: str, env: Mapping[str, str]) -> Path | None:
    """Where calls wait on this machine that the store could not take and has not got yet."""
    folder = spools_folder(url, env)
    return folder if folder is not None and any(folder.glob(f"*{SPOOL}")) else None


async def migrate(source: Store, target: Store, told: Callable[[int], None]) -> Migrated:
    """Takes all of one open store into another. told: how many sessions are done. Raises
    StoreUnavailable; then it can be begun again."""
    migrated = Migrated()
    after: SessionKey | None = None
    while keys := await source.list_keys(after, _PER_PAGE):
        rest = iter(keys)
        while some := list(islice(rest, _AT_ONCE)):
            await asyncio.gather(*(_take(source, target, key, migrated) for key in some))
        after = keys[-1]
        told(migrated.source.sessions)
    await _take_accounts(source, target, migrated)
    held = await source.open_holds()
    migrated.source.holds = len(held)
    migrated.target.holds = len(await target.open_holds())
    return migrated


async def _take(source: Store, target: Store, key: SessionKey, migrated: Migrated) -> None:
    dump = await source.dump(key)
    if dump is None:
        return
    migrated.source.add(len(dump.rows), len(dump.contents))
    try:
        await target.restore(dump)
    except SeqConflict:
        if await target.dump(key) == dump:
            migrated.present += 1
        else:
            migrated.wrong(f"session {key.session} of {key.tenant} is there, and is another one")


async def _take_accounts(source: Store, target: Store, migrated: Migrated) -> None:
    after = ""
    while rows := await source.dump_accounts(after, _PER_PAGE):
        await target.restore_accounts(rows)
        there = await target.balances([name for name, _, _ in rows])
        migrated.source.accounts += len(rows)
        for name, balance, _ in rows:
            if there[name] != balance:
                migrated.wrong(f"account {name} has another balance there")
        after = rows[-1][0]
    migrated.target.accounts = await _count_accounts(target)


async def _count_accounts(store: Store) -> int:
    count, after = 0, ""
    while rows := await store.dump_accounts(after, _PER_PAGE):
        count, after = count + len(rows), rows[-1][0]
    return count


def verify(url: str, key: bytes, migrated: Migrated) -> None:
    """Looks at all that is in the target, and whether it is as much as there was. Not on an event
    loop. Raises StoreUnavailable."""
    chain = Chain(key)
    for log in reader_of(url, key).logs():
        if isinstance(log, Stray):
            migrated.wrong(f"events of session number {log.number} are there without it")
            continue
        migrated.target.add(len(log.rows), len(log.contents))
        if (fault := first_fault(chain, log)) is not None:
            name = f"session {fault.key.session} of {fault.key.tenant}"
            migrated.wrong(f"{name}: event {fault.seq} {fault.what}: {fault.detail}")
    for field in Counted.__struct_fields__:
        there, was = getattr(migrated.target, field), getattr(migrated.source, field)
        if there != was:
            migrated.wrong(f"{there} {field} are there, and {was} were in the source")
