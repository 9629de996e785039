"""A primary that dies under load, and its replica takes over: sentinels tell where it is."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.errors import StoreUnavailable
from proxy.stores.redis import SHORT_SECONDS, RedisStore
from tests.fakes_redis import RedisServer, free_port, needs_server, running
from tests.fakes_stores import KEY, SECRET, opened
from tests.integration.test_redis_failures import Load, check, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary, its replica, and a sentinel that watches them."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/main"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    needs_server("redis")
    at_once = ("--repl-diskless-sync-delay", "0")
    primary = RedisServer("redis", tmp_path / "primary", at_once)
    replica = RedisServer(
        "redis", tmp_path / "replica", ("--replicaof", f"127.0.0.1 {primary.port}")
    )
    sentinel = RedisServer("redis", tmp_path / "sentinel")
    sentinel.watch("main", primary.port)
    with running(primary), running(replica), running(sentinel):
        yield Pair(primary, replica, sentinel)


async def replicated(pair: Pair) -> None:
    """The replica is in step."""
    while "state=online" not in await asyncio.to_thread(pair.primary.ask, "INFO", "replication"):
        await asyncio.to_thread(pair.replica.ask, "PING")


async def test_a_failover_loses_and_repeats_nothing(pair: Pair) -> None:
    """What was acknowledged was confirmed by the replica; what was not is asked again."""
    await replicated(pair)
    store = RedisStore(pair.url, SECRET)
    await store.open()
    load = Load(store)
    running_ = asyncio.ensure_future(load.run(8))
    await until(load, 200)
    pair.primary.kill()
    await until(load, 50)
    load.stopped = True
    await running_

    assert len(load.settled) >= 250
    await check(store, load)
    await store.close()


async def test_a_write_that_no_replica_confirms_is_not_acknowledged(pair: Pair) -> None:
    """It would be lost with its server. Who gives up the replica goes on with one copy."""
    await replicated(pair)
    store = RedisStore(f"{pair.url}?replicas=1", SECRET)
    await store.open()
    await store.append(opened())
    pair.replica.freeze()
    try:
        with pytest.raises(StoreUnavailable, match="no replica of Redis has confirmed"):
            await store.append(opened())
    finally:
        pair.replica.thaw()

    assert (await store.append(opened())).seq == 3
    await store.close()


async def test_a_replica_that_is_gone_is_not_waited_for(pair: Pair) -> None:
    """Unless store.url asks for it."""
    await replicated(pair)
    store = RedisStore(f"redis://127.0.0.1:{pair.primary.port}", SECRET)
    await store.open()
    pair.replica.kill()

    assert (await store.append(opened())).seq == 1
    assert len(await store.read(KEY)) == 1
    await store.close()


async def test_a_replica_that_is_back_is_waited_for_at_once(pair: Pair) -> None:
    """Until it is seen, what is told has one copy, which a failover loses."""
    await replicated(pair)
    store = RedisStore(f"redis://127.0.0.1:{pair.primary.port}?timeout=1", SECRET)
    await store.open()
    pair.replica.kill()
    assert (await store.append(opened())).seq == 1
    await asyncio.to_thread(pair.replica.start)
    await replicated(pair)
    await SystemClock().sleep(2 * SHORT_SECONDS)
    pair.replica.freeze()
    try:
        with pytest.raises(StoreUnavailable, match="no replica of Redis has confirmed"):
            await store.append(opened())
    finally:
        pair.replica.thaw()
    await store.close()


async def test_sentinels_that_want_a_password(pair: Pair) -> None:
    """It is not that of the servers that they watch."""
    told = pair.sentinel.ask("ACL", "SETUSER", "default", "resetpass", ">s3cret")
    assert told == "+OK"
    with pytest.raises(StoreUnavailable, match="wants a password"):
        await RedisStore(pair.url, SECRET).open()
    store = RedisStore(f"{pair.url}?sentinel_password=s3cret", SECRET)
    await store.open()
    assert (await store.append(opened())).seq == 1
    await store.close()


async def test_sentinels_that_know_no_such_primary_are_told_of(pair: Pair) -> None:
    store = RedisStore(pair.url.replace("/main", "/other?timeout=1"), SECRET)

    with pytest.raises(StoreUnavailable, match="know no primary named 'other'"):
        await store.open()
    nobody = RedisStore(f"redis+sentinel://127.0.0.1:{free_port()}/main?timeout=1", SECRET)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await nobody.open()
