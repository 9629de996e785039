"""What a store does, step by step: a step is a statement or a change of files. A child process is
killed before and after each of them in turn; what it leaves is opened and audited.

Other than rounds, which sample a load, these are complete: opening, migrating, closing, purging,
deleting and restoring are a few dozen steps each.
"""

import asyncio
import os
import secrets
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any, Final, Literal, cast

from msgspec.structs import replace

from proxy.core.checkpoints import Checkpoints
from proxy.core.session import SessionKey, fold
from proxy.exports import read_export
from proxy.retention import Retention, path_in
from proxy.stores import Append, Charge, Content, SessionDump
from proxy.stores.chain import GENESIS, first_altered
from proxy.stores.sqlite import SqliteStore, key_path
from proxy.stores.sqlite_file import APPLICATION_ID, MIGRATIONS
from proxy.stores.tombstones import begins_after
from proxy.workers.owners import FolderOwners
from tests.fakes import FakeClock
from tests.fakes_stores import NOW, opened, reserved, settled

Side = Literal["before", "after"]
SIDES: Final[tuple[Side, ...]] = ("before", "after")
LEDGER: Final = "ledger.db"
ARCHIVE: Final = "archive"
SESSIONS: Final = 30
_COST: Final = 5
"""Micro-USD of a session: one settled call of `fakes_stores.settled`."""
_WITH_CONTENTS: Final = 6
ACCOUNT: Final = "tenant:t:1d:1"
_FILES: Final = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.chmod")


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a store does. versions: of the schema that it finds; 0: no file is there."""

    name: str
    work: Callable[[Path], Coroutine[Any, Any, None]]
    version: int = len(MIGRATIONS)


def key_of(number: int) -> SessionKey:
    return SessionKey("t", f"s{number}")


def appends_of(number: int) -> list[Append]:
    """A session of a call that is over, with links and contents, and of one that is open where the
    number is odd: such a session is not purged."""
    key, call = key_of(number), f"c{number}"
    hold = Charge(ACCOUNT, 40)
    appends = [
        replace(opened(key), links=(b"l%d" % number,)),
        replace(reserved(call, key, charges=[hold]), contents=(Content(f"{call}.q", b"q" * 500),)),
        replace(
            settled(call, key, charges=[Charge(ACCOUNT, -40, _COST)]),
            contents=(Content(f"{call}.a", b"a" * 500),),
            links=(b"m%d" % number,),
        ),
    ]
    return appends if number % 2 == 0 else [*appends, reserved(f"{call}-open", key)]


async def fill(folder: Path) -> None:
    """A ledger of sessions, closed."""
    store = SqliteStore(folder / LEDGER)
    await store.open()
    for number in range(SESSIONS):
        for append in appends_of(number):
            await store.append(append)
    await store.close()


def lower(folder: Path, version: int) -> None:
    """Rewrites the ledger as an older version would have it."""
    path, aside = folder / LEDGER, folder / "newer.db"
    path.rename(aside)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL").fetchone()
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                old.execute(statement)
        old.execute("ATTACH ? AS newer", (str(aside),))
        tables = old.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            here, there = (
                [row[1] for row in old.execute(f"PRAGMA {db}.table_info({table})")]
                for db in ("main", "newer")
            )
            names = ", ".join(name for name in here if name in there)
            if names:
                into, source = f"main.{table} ({names})", f"newer.{table}"
                old.execute(f"INSERT OR REPLACE INTO {into} SELECT {names} FROM {source}")
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {version}")
    aside.unlink()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


async def _open(folder: Path) -> None:
    """As a start does it: with the key, and the owner's file."""
    owners = FolderOwners(folder / f"{LEDGER}.owners", secrets.token_hex(4))
    store = SqliteStore(folder / LEDGER)
    await store.open()
    owners.claim()
    await store.close()
    owners.leave(settled=True)


async def _append(folder: Path) -> None:
    store = SqliteStore(folder / LEDGER)
    await store.open()
    for append in appends_of(SESSIONS):
        await store.append(append)
    await store.close()


async def _purge(folder: Path) -> None:
    store = SqliteStore(folder / LEDGER)
    await store.open()
    await store.purge(NOW + 10, NOW + 20)
    await store.purge_accounts(NOW + 10)
    await store.close()


async def _delete(folder: Path) -> None:
    store = SqliteStore(folder / LEDGER)
    await store.open()
    await store.delete(key_of(0), NOW + 20)
    await store.close()


async def _restore(folder: Path) -> None:
    store = SqliteStore(folder / LEDGER)
    await store.open()
    dump = await store.dump(key_of(0))
    assert dump is not None
    await store.restore(_renamed(dump))
    await store.close()


async def _archive(folder: Path) -> None:
    """Retention, that writes what it deletes into files first."""
    store = SqliteStore(folder / LEDGER)
    await store.open()
    kept = Checkpoints(archive=str(folder / ARCHIVE))
    clock = FakeClock(now=NOW + 30 * 86_400)
    retention = Retention(store, clock, lambda: kept, lambda: 3_600.0)
    clock.advance(4 * 3_600)  # or it might have jumped
    await retention.look_after()
    await store.close()


def _renamed(dump: SessionDump) -> SessionDump:
    """Of another session, whose chain cannot verify; nothing but the store is looked at here."""
    return replace(dump, key=SessionKey("t", "restored"), links=(b"r",))


DEEDS: Final = (
    Deed("begin a ledger", _open, 0),
    Deed("open one", _open),
    Deed("append and close", _append),
    Deed("purge", _purge),
    Deed("delete", _delete),
    Deed("restore", _restore),
    Deed("archive", _archive),
    *(Deed(f"migrate from {n}", _open, n) for n in range(1, len(MIGRATIONS))),
)


_MORE: Final = {
    "append and close": {key_of(SESSIONS)},
    "restore": {SessionKey("t", "restored")},
}
_DELETES: Final = ("purge", "delete", "restore", "archive")
"""After these logs do not add up to accounts, which is as it should be."""


def prepared(deed: Deed, folder: Path) -> Path:
    """A folder in which it can be done."""
    ledger = folder / "ready"
    ledger.mkdir()
    if deed.version:
        asyncio.run(fill(ledger))
        if deed.version < len(MIGRATIONS):
            lower(ledger, deed.version)
    return ledger


def steps_of(deed: Deed, ready: Path) -> int:
    """How many it has."""
    reading, writing = os.pipe()
    where = ready.with_name("counted")
    copytree(ready, where)
    status = _child(where, deed, None, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    rmtree(where)
    assert status == 0, f"{deed.name}: {status}"
    return int(text)


def die_at(deed: Deed, ready: Path, step: int, side: Side) -> list[str]:
    """What is not as it must be once it has died there, was opened again and done again."""
    where = ready.with_name("dying")
    copytree(ready, where)
    status = _child(where, deed, (step, side), None)
    faults = [] if status == -signal.SIGKILL else [f"it ended with {status}"]
    try:
        faults += asyncio.run(audit(where, deed))
    except Exception as error:  # whatever it is, it is a fault of this step
        faults.append(f"{type(error).__name__}: {error}")
    rmtree(where)
    return [f"{deed.name}, {side} step {step}: {fault}" for fault in faults]


def killed_at(deed: Deed, folder: Path, most: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """For each step, the faults of both sides; at most so many steps, evenly spread."""
    ready = prepared(deed, folder)
    count = steps_of(deed, ready)
    steps: Sequence[int] = range(count)
    if most is not None and count > most:
        steps = [n * count // most for n in range(most)]
    for step in steps:
        yield step, [fault for side in SIDES for fault in die_at(deed, ready, step, side)]


def _child(folder: Path, deed: Deed, die: tuple[int, Side] | None, told: int | None) -> int:
    """Its exit code; that of a signal is negative."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            counting = _Counting(die)
            counting.begin()
            asyncio.run(deed.work(folder))
            if told is not None:
                os.write(told, str(counting.done).encode())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class _Counting:
    """Counts the steps of this process, of whatever thread, and ends it at one of them."""

    def __init__(self, die: tuple[int, Side] | None) -> None:
        self.done = 0
        self._die = die
        self._is_audited = False

    def begin(self) -> None:
        sqlite3.connect = partial(sqlite3.connect, factory=_connection_of(self))  # type: ignore[assignment]  # the same call
        sys.addaudithook(self._audited)

    def step(self, run: Callable[[], object]) -> object:
        self._at("before")
        done = run()
        self._at("after")
        self.done += 1
        return done

    def _at(self, side: Side) -> None:
        if self._die == (self.done, side):
            os.kill(os.getpid(), signal.SIGKILL)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Told before it happens."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if (event in _FILES or writes) and not self._is_audited:
            self._is_audited = True  # what is done here is no step
            self.step(lambda: None)
            self._is_audited = False


def _connection_of(counting: _Counting) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if sql.lstrip().startswith(("SELECT", "ROLLBACK")):
                return super().execute(sql, parameters)
            return cast(
                "sqlite3.Cursor",
                counting.step(lambda: super(Connection, self).execute(sql, parameters)),
            )

        def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
            return cast(
                "sqlite3.Cursor",
                counting.step(lambda: super(Connection, self).executemany(sql, parameters)),
            )

    return Connection


async def audit(folder: Path, deed: Deed) -> list[str]:
    """Of a ledger that was left in the middle of that: every session is whole or deleted as a
    whole, accounts are what logs say, and the deed can be done (again)."""
    store = SqliteStore(folder / LEDGER)
    await store.open()
    faults = await _wrong(store, folder, deed)
    await store.close()
    if deed.name not in _MORE:  # what they add would be there already
        await deed.work(folder)
        await store.open()
        faults += [f"done again: {fault}" for fault in await _wrong(store, folder, deed)]
        await store.close()
    return faults


async def _wrong(store: SqliteStore, folder: Path, deed: Deed) -> list[str]:
    secret = key_path(folder / LEDGER).read_bytes()
    faults, spent = [], 0
    keys = await store.list_keys(None, 1_000)
    wanted = {key_of(number) for number in range(SESSIONS if deed.version else 0)}
    if not wanted <= set(keys) <= wanted | _MORE.get(deed.name, set()):
        faults.append(f"it has {len(keys)} sessions")
    for key in keys:
        faults += await _wrong_in(store, key, secret, deed, folder)
        spent += fold(stored.event for stored in await store.read(key)).cost_micro_usd
    balance = (await store.balances([ACCOUNT])).get(ACCOUNT)
    told = 0 if balance is None else balance.spent_micro_usd
    if deed.name not in _DELETES and told != spent:
        faults.append(f"the account has {told}, the logs {spent}")
    return faults


def _wrong_in_archive(folder: Path, key: SessionKey) -> list[str]:
    """What was deleted has to be there."""
    path = path_in(str(folder / ARCHIVE), key, 3)
    if not path.exists():
        return [f"{key.session} was deleted and is not in the archive"]
    _, dump = read_export([path.read_bytes()])
    is_whole = (len(dump.rows), len(dump.contents), len(dump.links)) == (3, 2, 2)
    return [] if is_whole else [f"{key.session} is not whole in the archive"]


async def _wrong_in(
    store: SqliteStore, key: SessionKey, secret: bytes, deed: Deed, folder: Path
) -> list[str]:
    rows = await store.read_chain(key)
    if key.session == "restored":
        return [] if len(rows) == 3 else [f"it was restored with {len(rows)} events"]
    start = begins_after(rows[0]) if rows else (0, GENESIS)
    if first_altered(secret, key, rows, start=start) is not None:
        return [f"{key.session}: its chain is broken"]
    number = int(key.session[1:])
    contents = len(await store.read_contents(key)) if deed.version >= _WITH_CONTENTS else 2
    links = len(await store.find_links("t", [b"l%d" % number]))
    may_be_gone = (deed.name, number) == ("delete", 0)
    may_be_gone |= deed.name in ("purge", "archive") and number % 2 == 0
    is_whole = (len(rows), contents, links) == (3 + number % 2, 2, 1)
    is_gone = (len(rows), contents, links, start[0]) == (1, 0, 0, 3)
    if is_gone and deed.name == "archive":
        return _wrong_in_archive(folder, key)
    if is_whole or (is_gone and may_be_gone) or number == SESSIONS:
        return []
    return [f"{key.session}: {len(rows)} events, {contents} contents, {links} links"]
