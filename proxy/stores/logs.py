"""Every session of any ledger, to be verified: a file is read beside its writer, any other store is
asked."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores import SessionDump, Store
from proxy.stores.sqlite_reading import is_sqlite
from proxy.stores.sqlite_verifying import Stray, read_logs
from proxy.stores.urls import known_key, open_store
from proxy.stores.verification import SessionLog, digest_of

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


def logs_of(url: str, env: Mapping[str, str]) -> tuple[bytes, Iterator[SessionLog | Stray]]:
    """The key of a ledger, and its sessions one by one. Raises StoreUnavailable, here or there."""
    key = key_of(url, env)
    return key, logs_with(url, key)


def key_of(url: str, env: Mapping[str, str]) -> bytes:
    """The key of a ledger that is there. Raises StoreUnavailable where one of both is not."""
    if url.startswith("memory:"):
        raise StoreUnavailable("a ledger in memory is gone with its process")
    path = _file_of(url)
    if path is not None and not path.exists():
        raise StoreUnavailable(f"there is no ledger at {path}")
    try:
        return known_key(url, env)
    except ValueError as error:
        raise StoreUnavailable(str(error)) from error


def logs_with(url: str, key: bytes) -> Iterator[SessionLog | Stray]:
    """The sessions of a ledger one by one. Raises StoreUnavailable."""
    path = _file_of(url)
    return _asked(open_store(url, key)) if path is None else read_logs(path, key)


def _file_of(url: str) -> Path | None:
    return Path(url.removeprefix(_SQLITE)).expanduser() if url.startswith(_SQLITE) else None


def _asked(store: Store) -> Iterator[SessionLog]:
    with asyncio.Runner() as runner:
        runner.run(store.open())
        try:
            after = None
            while keys := runner.run(store.list_keys(after, _PER_PAGE)):
                for after in keys:
                    if (dump := runner.run(store.dump(after))) is not None:
                        yield _log(dump)
        finally:
            runner.run(store.close())


def _log(dump: SessionDump) -> SessionLog:
    contents = {content.name: digest_of(content.data) for content in dump.contents}
    return SessionLog(dump.key, dump.rows, (dump.seq, dump.chain), contents)
