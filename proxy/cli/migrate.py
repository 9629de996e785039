"""`holdfast migrate SOURCE TARGET`: a whole ledger taken into another store."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from proxy.cli.tables import plain
from proxy.errors import StoreUnavailable
from proxy.migration import Migrated, migrate, serving, spooled, verify
from proxy.stores.logs import file_of, key_of, url_of
from proxy.stores.redis_url import is_redis
from proxy.stores.sqlite_reading import check_begun
from proxy.stores.urls import KEY_VARIABLE, lay_key, open_store, secret_beside

_CANNOT = 2
_TOLD_EACH = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Takes every session, with its chain as it is, and every account of a ledger into another "
        "store, under the same key, and verifies what is there then. Nobody may serve either of "
        "them. What was interrupted goes on if it is begun again; the source stays as it is."
    )
    parser.add_argument("source", metavar="SOURCE", help="a store URL, or a SQLite file")
    parser.add_argument("target", metavar="TARGET", help="a store URL")


def run(args: argparse.Namespace) -> int:
    """0; 1 where something is not there as it was; 2 where it could not be done."""
    try:
        source, target = url_of(args.source), args.target
        key = key_of(source, os.environ)
        _check(source, target)
        lay_key(target, key, os.environ)
        migrated = asyncio.run(_migrate(source, target, key))
        if not migrated.faults:
            print("all is there; verifying it …", file=sys.stderr)
            verify(target, key, migrated)
    except (StoreUnavailable, ValueError) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return _CANNOT
    return _tell(migrated, source, target)


def _check(source: str, target: str) -> None:
    if target.startswith("memory:"):
        raise ValueError("a ledger in memory would be gone with this process")
    if (file := file_of(source)) is not None:
        check_begun(file)
    paths = [secret_beside(url) for url in (source, target)]
    same_file = paths[0] is not None and paths[1] is not None and _real(paths[0]) == _real(paths[1])
    if source == target or same_file:
        raise ValueError("source and target are the same ledger")
    if (folder := spooled(source, os.environ)) is not None:
        raise StoreUnavailable(
            f"calls wait in {folder} that {source} could not take: serve it once more, until it "
            "has them"
        )


def _real(path: Path) -> Path:
    return path.expanduser().resolve()


async def _migrate(source: str, target: str, key: bytes) -> Migrated:
    await _nobody_serves(source, target)
    stores = open_store(source, key), open_store(target, key)
    try:
        for store in stores:
            await store.open()
        migrated = await migrate(*stores, _told)
    finally:
        for store in stores:
            await store.close()
    await _nobody_serves(source, target)  # what began meanwhile was not waited for
    return migrated


async def _nobody_serves(*urls: str) -> None:
    for url in urls:
        if others := await serving(url):
            raise StoreUnavailable(
                f"{url} is served now (by {', '.join(others)}): stop that first, begin again then"
            )


def _told(sessions: int) -> None:
    if sessions % _TOLD_EACH < 256 and sessions >= _TOLD_EACH:
        print(f"{sessions} sessions", file=sys.stderr)


def _tell(migrated: Migrated, source: str, target: str) -> int:
    for fault in migrated.faults:
        print(plain(fault))
    was, faults = migrated.source, len(migrated.faults)
    present = f" ({migrated.present} were there already)" if migrated.present else ""
    print(
        f"{was.sessions} sessions{present}, {was.events} events, {was.contents} contents, "
        f"{was.accounts} accounts, {was.holds} open holds: "
        + ("not all are there as they were" if faults else "all are there as they were")
    )
    path = secret_beside(source)
    if not faults and is_redis(target) and KEY_VARIABLE not in os.environ and path is not None:
        print(f"serve it with {KEY_VARIABLE}=hex:$(od -An -v -tx1 {path} | tr -d ' \\n')")
    return 1 if faults else 0
