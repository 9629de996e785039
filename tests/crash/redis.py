"""A ledger in Redis for rounds: a server that writes each command to its disk, and its replica, for
which each write waits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.crash.books import Place
from tests.fakes_redis import RedisServer, running

_ALWAYS: Final = ("--appendfsync", "always", "--repl-diskless-sync-delay", "0")
_FOLLOWS_SECONDS: Final = 15.0
_KEY: Final = "a chain key that all replicas have in common"


@contextmanager
def in_redis(folder: Path) -> Iterator[Place]:
    """Of a server of its own, until the end."""
    one = RedisServer("redis", folder / "one", _ALWAYS)
    two = RedisServer("redis", folder / "two", (*_ALWAYS, "--replicaof", f"127.0.0.1 {one.port}"))
    with running(one), running(two):
        _await_replica(one)
        env = {"HOLDFAST_CHAIN_KEY": _KEY, "HOLDFAST_STATE_DIR": str(folder / "state")}
        yield Place(one.url, env)


def _await_replica(server: RedisServer) -> None:
    began = time.perf_counter()
    while "state=online" not in server.ask("INFO", "replication"):
        if time.perf_counter() - began > _FOLLOWS_SECONDS:
            raise RuntimeError("the replica does not follow")
        time.sleep(0.02)
