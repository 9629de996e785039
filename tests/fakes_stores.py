"""Appends as the ledger makes them, and stores to give them to."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.stores import Append, Appended, Balance, Charge, Store, Stored
from proxy.stores.delegating import DelegatingStore
from proxy.stores.memory import MemoryStore
from proxy.stores.open_on_failure import OpenOnFailure
from proxy.stores.redis import RedisStore
from proxy.stores.spools import Spools
from proxy.stores.sqlite import SqliteStore
from proxy.stores.sqlite_file import connect
from tests.fakes_redis import url_for

SECRET = b"a key for tests, 32 bytes long.."
KEY = SessionKey("team-a", "s1")
OTHER = SessionKey("team-b", "s1")
NOW = 1_800_000_000.0

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(SECRET),
    "sqlite": lambda folder: SqliteStore(folder / "ledger.db", SECRET),
    "open on failure": lambda folder: OpenOnFailure(
        SqliteStore(folder / "ledger.db", SECRET),
        Spools(folder / "spools", "here"),
        lambda: True,
        lambda: 3600.0,
    ),
    "redis": lambda folder: RedisStore(url_for("redis", folder), SECRET),
    "valkey": lambda folder: RedisStore(url_for("valkey", folder), SECRET),
    "cluster": lambda folder: RedisStore(url_for("cluster", folder), SECRET),
}
"""Every store, made for a folder of its own. All of them pass the contract."""


def opened(key: SessionKey = KEY, at: float = NOW) -> Append:
    return Append(key, (SessionOpened(at),))


def reserved(
    call_id: str,
    key: SessionKey = KEY,
    *,
    charges: Sequence[Charge] = (),
    expected_seq: int | None = None,
    deadline: float = NOW + 600,
    at: float = NOW,
) -> Append:
    event = StepReserved(at, call_id=call_id, step=1, owner="here", deadline=deadline)
    return Append(key, (event,), expected_seq=expected_seq, charges=tuple(charges))


def settled(
    call_id: str, key: SessionKey = KEY, *, charges: Sequence[Charge] = (), at: float = NOW
) -> Append:
    event = StepSettled(at, call_id=call_id, cost_micro_usd=5)
    return Append(key, (event,), charges=tuple(charges), closes=(call_id,))


async def outcome(store: Store, append: Append) -> Appended | HoldfastError:
    """What an append came to, as a value."""
    try:
        return await store.append(append)
    except HoldfastError as error:
        return error


async def outcomes(store: Store, appends: Sequence[Append]) -> list[Appended | HoldfastError]:
    """What appends made at the same time came to, in the order in which they were made."""
    return await asyncio.gather(*(outcome(store, append) for append in appends))


class Going(DelegatingStore):
    """A store that a test can take away: each append from then on is lost before it was written, or
    (`after`) written with its answer lost."""

    def __init__(self, primary: Store) -> None:
        super().__init__(primary)
        self.away: Literal["", "before", "after"] = ""
        self.given: list[Append] = []

    def append(self, append: Append) -> Awaitable[Appended]:
        self.given.append(append)
        return self._append(append, self.away)

    async def _append(self, append: Append, away: str) -> Appended:
        if away == "before":
            raise StoreUnavailable("gone")
        appended = await self._primary.append(append)
        if away == "after":
            raise StoreUnavailable("no answer")
        return appended

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        self._look()
        return await self._primary.read(key, after_seq)

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        self._look()
        return await self._primary.balances(accounts)

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        self._look()
        return await self._primary.find_links(tenant, links)

    async def open(self) -> None:
        self._look()
        await self._primary.open()

    async def writable(self) -> bool:
        return not self.away and await self._primary.writable()

    def _look(self) -> None:
        if self.away == "before":
            raise StoreUnavailable("gone")


class Disk:
    """A disk that a test can fill, write-protect and repair, through the seam of `SqliteStore`."""

    def __init__(self) -> None:
        self._connections: list[sqlite3.Connection] = []
        self._pragma = "PRAGMA query_only = 0"

    def connect(self, path: Path, busy_seconds: float) -> sqlite3.Connection:
        connection = connect(path, busy_seconds)
        connection.execute(self._pragma)
        self._connections.append(connection)
        return connection

    def fill(self) -> None:
        """No page more: SQLite reports SQLITE_FULL, as for ENOSPC."""
        self._set("PRAGMA max_page_count = 1")  # it takes the present size for less than that

    def protect(self) -> None:
        self._set("PRAGMA query_only = 1")

    def repair(self) -> None:
        self._set("PRAGMA query_only = 0")
        self._set("PRAGMA max_page_count = 4294967294")

    def _set(self, pragma: str) -> None:
        self._pragma = pragma
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):  # closed meanwhile
                connection.execute(pragma)
