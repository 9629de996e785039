"""All that is in any ledger, to be verified: a file is read beside its writer, any other store is
asked."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from proxy.core.recording import digest_of
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import AccountRow, SessionDump, Store
from proxy.stores.account_sums import AccountFault
from proxy.stores.redis_keys import account_key, tag
from proxy.stores.redis_url import is_redis, parse_url
from proxy.stores.sqlite_account_reading import forgotten, held_faults, read_accounts
from proxy.stores.sqlite_reading import is_sqlite
from proxy.stores.sqlite_verifying import Stray, read_logs
from proxy.stores.urls import known_key, open_store
from proxy.stores.verification import SessionLog

_SQLITE = "sqlite:///"
_PER_PAGE = 500


def url_of(ledger: str) -> str:
    """A store URL, given that or the path of a SQLite file. Raises StoreUnavailable."""
    if "://" in ledger:
        return ledger
    try:
        if is_sqlite(path := Path(ledger).expanduser()):
            return f"{_SQLITE}{path}"
    except OSError as error:
        reason = f"{ledger} cannot be read: {error.strerror or error}"
        raise StoreUnavailable(f"{reason}; give the path of a ledger, or a store URL") from error
    raise StoreUnavailable(f"{ledger} is not a SQLite database, so it is no ledger")


class LedgerReader(Protocol):
    """Reads a ledger beside whoever writes it. All raise StoreUnavailable."""

    def logs(self) -> Iterator[SessionLog | Stray]:
        """Every session, each as it is when its turn comes."""

    def accounts(self) -> Iterator[AccountRow]:
        """Every account, likewise."""

    def held_faults(self) -> Iterator[AccountFault]:
        """Accounts that hold something else than calls in flight do, where all of that can be seen
        at one moment."""

    def forgotten(self) -> float | None:
        """See `AccountSums`."""

    def is_late(self, key: SessionKey, account: str) -> bool:
        """Whether a session's calls are charged to it some time after their events are written."""


def reader_of(url: str, key: bytes) -> LedgerReader:
    """Of a ledger that is there. Raises StoreUnavailable."""
    path = file_of(url)
    return _StoreReader(url, key) if path is None else _FileReader(path, key)


def key_of(url: str, env: Mapping[str, str]) -> bytes:
    """The key of a ledger that is there. Raises StoreUnavailable where one of both is not."""
    if url.startswith("memory:"):
        raise StoreUnavailable("a ledger in memory is gone with its process")
    path = file_of(url)
    if path is not None and not path.exists():
        raise StoreUnavailable(f"there is no ledger at {path}")
    try:
        return known_key(url, env)
    except ValueError as error:
        raise StoreUnavailable(str(error)) from error


def file_of(url: str) -> Path | None:
    """The file of a ledger in SQLite."""
    return Path(url.removeprefix(_SQLITE)).expanduser() if url.startswith(_SQLITE) else None


class _FileReader:
    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._key = key

    def logs(self) -> Iterator[SessionLog | Stray]:
        return read_logs(self._path, self._key)

    def accounts(self) -> Iterator[AccountRow]:
        return read_accounts(self._path)

    def held_faults(self) -> Iterator[AccountFault]:
        return held_faults(self._path)

    def forgotten(self) -> float | None:
        return forgotten(self._path)

    def is_late(self, key: SessionKey, account: str) -> bool:
        return False


class _StoreReader:
    def __init__(self, url: str, key: bytes) -> None:
        self._url, self._key = url, key
        self._is_cluster = is_redis(url) and parse_url(url).kind == "cluster"

    def logs(self) -> Iterator[SessionLog]:
        with _opened(open_store(self._url, self._key)) as (store, runner):
            after = None
            while keys := runner.run(store.list_keys(after, _PER_PAGE)):
                for after in keys:
                    if (dump := runner.run(store.dump(after))) is not None:
                        yield _log(dump)

    def accounts(self) -> Iterator[AccountRow]:
        with _opened(open_store(self._url, self._key)) as (store, runner):
            after = ""
            while rows := runner.run(store.dump_accounts(after, _PER_PAGE)):
                yield from rows
                after = rows[-1][0]

    def held_faults(self) -> Iterator[AccountFault]:
        return iter(())

    def forgotten(self) -> float | None:
        return None

    def is_late(self, key: SessionKey, account: str) -> bool:
        """In a cluster, what lies in another slot than the session."""
        own = f"{tag('', key.tenant)}:"
        return self._is_cluster and not account_key("", account).startswith(own)


@contextmanager
def _opened(store: Store) -> Iterator[tuple[Store, asyncio.Runner]]:
    with asyncio.Runner() as runner:
        runner.run(store.open())
        try:
            yield store, runner
        finally:
            runner.run(store.close())


def _log(dump: SessionDump) -> SessionLog:
    contents = {content.name: digest_of(content.data) for content in dump.contents}
    tip = (dump.seq, dump.chain)
    return SessionLog(dump.key, dump.rows, tip, contents, dump.head, dict(dump.holds))
