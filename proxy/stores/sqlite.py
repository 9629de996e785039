"""The default store: one SQLite file in WAL mode, shared by every process that opens it.

Three threads, so that the event loop never waits for the disk: one writes (`sqlite_writer`), one
reads, one checkpoints. All truth is in the tables; a process keeps nothing that another could make
untrue. What a crash and a power cut can lose is said in `sqlite_file`. The file must be on a local
disk: WAL needs shared memory.
"""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import (
    LIVE,
    AccountRow,
    Append,
    Appended,
    Balance,
    DeletionReason,
    OpenHold,
    Queue,
    SessionDump,
    SessionRow,
    Stored,
)
from proxy.stores import sqlite_dumps as dumps
from proxy.stores import sqlite_listing as listing
from proxy.stores import sqlite_queries as queries
from proxy.stores.chain import ChainedPayload, load_or_create_key
from proxy.stores.effects import prepare
from proxy.stores.sessions import Listing
from proxy.stores.sqlite_contents import read_contents
from proxy.stores.sqlite_file import Connect, connect, create_file
from proxy.stores.sqlite_handle import SqliteFile
from proxy.stores.sqlite_jobs import Delete, Probe, Purge, PurgeAccounts, Restore, RestoreAccounts
from proxy.stores.sqlite_overlay import Overlay
from proxy.stores.sqlite_purge import ACCOUNTS_PER_PURGE, SESSIONS_PER_PURGE, idle_accounts
from proxy.stores.sqlite_threads import Query, Result, Threads

BUSY_SECONDS = 5.0


class SqliteStore:
    """See `Store`. Without a secret, the key is the file `<path>.key` beside the ledger, created
    if it is not there. busy_seconds: how long a locked file is waited for."""

    def __init__(
        self,
        path: Path,
        secret: bytes | None = None,
        *,
        busy_seconds: float = BUSY_SECONDS,
        connect: Connect = connect,
    ) -> None:
        self._path = path
        self._secret = secret
        self._busy_seconds = busy_seconds
        self._connect = connect
        self._threads: Threads | None = None

    async def open(self) -> None:
        """Raises StoreUnavailable, saying what to do, if the file cannot be written."""
        loop = asyncio.get_running_loop()
        threads = Threads(await loop.run_in_executor(None, self._create), loop)
        try:
            await threads.write(Probe())
        except BaseException:
            await loop.run_in_executor(None, threads.stop)
            raise
        self._threads = threads

    async def close(self) -> None:
        """Everything appended before is written first; what comes after is refused."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.hand_over()
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, threads.stop))

    def append(self, append: Append) -> "asyncio.Future[Appended]":
        done = self._opened().write(prepare(append))
        return cast("asyncio.Future[Appended]", done)  # what an append is answered with

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        return await self._read(partial(queries.read, key=key, after_seq=after_seq))

    async def read_chain(self, key: SessionKey) -> Sequence[ChainedPayload]:
        """The log as it was chained, for `first_altered`."""
        return await self._read(partial(queries.read_chain, key=key, after_seq=0))

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        wanted = None if names is None else tuple(names)
        return await self._read(partial(read_contents, key=key, names=wanted))

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        return await self._read(partial(queries.balances, accounts=tuple(accounts)))

    async def open_holds(self, deadline_before: float | None = None) -> Sequence[OpenHold]:
        return await self._read(partial(queries.open_holds, deadline_before=deadline_before))

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        return await self._read(partial(queries.find_links, tenant=tenant, links=tuple(links)))

    async def list_sessions(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        asked = Listing(state, agent, tenant, limit, cursor)
        return await self._read(partial(listing.list_sessions, listing=asked))

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        return await self._read(partial(queries.list_queue, queue=queue, limit=limit))

    async def find_tenants(self, session: str) -> Sequence[str]:
        return await self._read(partial(queries.find_tenants, session=session))

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str] = LIVE
    ) -> Sequence[SessionKey]:
        before, states = updated_before, tuple(states)
        query = partial(listing.list_idle, updated_before=before, limit=limit, states=states)
        return await self._read(query)

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        return await self._read(partial(dumps.list_keys, after=after, limit=limit))

    async def dump(self, key: SessionKey) -> SessionDump | None:
        return await self._read(partial(dumps.dump, key=key))

    async def restore(self, dump: SessionDump) -> None:
        await self._opened().write(Restore(dump))

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        return await self._read(partial(dumps.dump_accounts, after=after, limit=limit))

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        await self._opened().write(RestoreAccounts(rows))

    async def writable(self) -> bool:
        try:
            await self._opened().write(Probe())
        except StoreUnavailable:
            return False
        return True

    async def delete(
        self,
        key: SessionKey,
        at: float,
        *,
        reason: DeletionReason = "request",
        expected_seq: int | None = None,
    ) -> bool:
        return bool(await self._opened().write(Delete(key, at, reason, expected_seq)))

    async def purge(self, updated_before: float, at: float) -> int:
        """A few sessions at a time: appends get through between them."""
        total = 0
        while True:
            purged = await self._opened().write(Purge(updated_before, at))
            assert isinstance(purged, int)
            total += purged
            if purged < SESSIONS_PER_PURGE:
                return total

    async def purge_accounts(self, touched_before: float) -> int:
        """Some hundred at a time, found by the reader."""
        total = 0
        while True:
            found = await self._read(partial(_idle_accounts, touched_before=touched_before))
            purged = await self._opened().write(PurgeAccounts(found, touched_before))
            assert isinstance(purged, int)
            total += purged
            if not purged or len(found) < ACCOUNTS_PER_PURGE:
                return total

    async def _read(self, query: Query[Result]) -> Result:
        answer = await self._opened().read(query)
        return cast(Result, answer)  # the reader's thread hands through what the query returned

    def _opened(self) -> Threads:
        if self._threads is None:
            raise StoreUnavailable("the store is closed")
        return self._threads

    def _create(self) -> SqliteFile:
        create_file(self._path)
        secret = self._secret or load_or_create_key(key_path(self._path), self._path)
        return SqliteFile(self._path, secret, self._busy_seconds, self._connect)


def _idle_accounts(
    connection: sqlite3.Connection, _: Overlay, touched_before: float
) -> Sequence[str]:
    return idle_accounts(connection, touched_before)


def key_path(path: Path) -> Path:
    """Where the key of the ledger at `path` is kept."""
    return path.with_name(f"{path.name}.key")
