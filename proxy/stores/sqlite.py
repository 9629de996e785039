"""The default store: one SQLite file in WAL mode, shared by every process that opens it.

Three threads, so that the event loop never waits for the disk: one writes (`sqlite_writer`), one
reads, one checkpoints. All truth is in the tables; a process keeps nothing that another could make
untrue. What a crash and a power cut can lose is said in `sqlite_file`. The file must be on a local
disk: WAL needs shared memory.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import Append, Appended, Balance, OpenHold, Queue, SessionRow, Stored
from proxy.stores import sqlite_queries as queries
from proxy.stores.batches import BatchThread, deliver
from proxy.stores.chain import ChainedPayload, load_or_create_key
from proxy.stores.effects import prepare
from proxy.stores.sqlite_checkpoint import Checkpointer
from proxy.stores.sqlite_contents import read_contents
from proxy.stores.sqlite_file import Connect, connect, create_file, explain
from proxy.stores.sqlite_handle import Handle, SqliteFile
from proxy.stores.sqlite_jobs import Done, Probe, Purge, PurgeAccounts, Work, WriteJob
from proxy.stores.sqlite_overlay import Overlay, Overlays
from proxy.stores.sqlite_purge import ACCOUNTS_PER_PURGE, SESSIONS_PER_PURGE, idle_accounts
from proxy.stores.sqlite_writer import SqliteWriter
from proxy.stores.written import Written

BUSY_SECONDS = 5.0
MOST_PER_BATCH = 1024

Result = TypeVar("Result")
Query = Callable[[sqlite3.Connection, Overlay], Result]


@dataclass(frozen=True, slots=True)
class _ReadJob:
    query: Query[object]
    future: "asyncio.Future[object]"


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
        self._threads: _Threads | None = None

    async def open(self) -> None:
        """Raises StoreUnavailable, saying what to do, if the file cannot be written."""
        loop = asyncio.get_running_loop()
        threads = _Threads(await loop.run_in_executor(None, self._create), loop)
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
        listing = queries.Listing(state, agent, tenant, limit, cursor)
        return await self._read(partial(queries.list_sessions, listing=listing))

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        return await self._read(partial(queries.list_queue, queue=queue, limit=limit))

    async def find_tenants(self, session: str) -> Sequence[str]:
        return await self._read(partial(queries.find_tenants, session=session))

    async def writable(self) -> bool:
        try:
            await self._opened().write(Probe())
        except StoreUnavailable:
            return False
        return True

    async def purge(self, updated_before: float) -> int:
        """A few sessions at a time: appends get through between them."""
        total = 0
        while True:
            purged = await self._opened().write(Purge(updated_before))
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

    def _opened(self) -> "_Threads":
        if self._threads is None:
            raise StoreUnavailable("the store is closed")
        return self._threads

    def _create(self) -> SqliteFile:
        create_file(self._path)
        secret = self._secret or load_or_create_key(key_path(self._path))
        return SqliteFile(self._path, secret, self._busy_seconds, self._connect)


def _idle_accounts(
    connection: sqlite3.Connection, _: Overlay, touched_before: float
) -> Sequence[str]:
    return idle_accounts(connection, touched_before)


def key_path(path: Path) -> Path:
    """Where the key of the ledger at `path` is kept."""
    return path.with_name(f"{path.name}.key")


class _Threads:
    """The three threads of an open store. `write` and `read` are called on the loop."""

    def __init__(self, file: SqliteFile, loop: asyncio.AbstractEventLoop) -> None:
        self._file = file
        self._loop = loop
        self._checkpointer = Checkpointer(file)
        writer = SqliteWriter(file, loop, self._checkpointer.wal_grown)
        self._waiting: list[WriteJob] = []
        self._writing = BatchThread(
            "holdfast-writer", writer.handle, writer.close, MOST_PER_BATCH, writer.rest
        )
        self._connection = Handle(file)
        self._overlays = Overlays()
        self._reading = BatchThread(
            "holdfast-reader", self._answer, self._connection.drop, MOST_PER_BATCH
        )
        self._checkpointer.start()
        self._writing.start()
        self._reading.start()

    def write(self, work: Work) -> "asyncio.Future[Done]":
        future: Written[Done] = Written(loop=self._loop)
        if not self._waiting:
            self._loop.call_soon(self.hand_over)
        self._waiting.append(WriteJob(work, future))
        return future

    def hand_over(self) -> None:
        """Gives the writer what one turn of the loop has gathered: it is woken once for all."""
        jobs, self._waiting = self._waiting, []
        if jobs:
            self._writing.put(jobs)

    def read(self, query: Query[object]) -> "asyncio.Future[object]":
        future: asyncio.Future[object] = self._loop.create_future()
        self._reading.put((_ReadJob(query, future),))
        return future

    def stop(self) -> None:
        """Blocks until all that was put is done. The writer ends last: it empties the WAL."""
        self._reading.stop()
        self._checkpointer.stop()
        self._writing.stop()

    def _answer(self, jobs: Sequence[_ReadJob]) -> None:
        deliver(self._loop, [(job.future, self._result(job.query)) for job in jobs])

    def _result(self, query: Query[object]) -> object:
        try:
            connection = self._connection.get()
            connection.execute("BEGIN")
            try:
                return query(connection, self._overlays.read(connection))
            finally:
                connection.rollback()
        except sqlite3.Error as error:
            self._connection.drop()
            return explain(self._file.path, error)
        except Exception as error:  # the thread's boundary: raised again where it is awaited
            return error
