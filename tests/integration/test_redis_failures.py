"""Redis servers that die, forget, fill up or fail over, while the ledger is written to them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.clock import SystemClock
from proxy.core.events import StepReserved
from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, StoreUnavailable
from proxy.stores import Append, Balance, Charge, Content, Maximum, SessionHead
from proxy.stores.chain import first_altered
from proxy.stores.redis import RedisStore
from tests.fakes_redis import RedisServer, free_port, needs_server, running
from tests.fakes_stores import KEY, NOW, SECRET, opened, reserved, settled
from tests.fakes_tls import CERTIFICATE

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]
BUDGET = 100_000


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    needs_server(request.param)
    # everysec answers up to two seconds before it writes, where the disk is busy.
    server = RedisServer(request.param, tmp_path / "server", ("--appendfsync", "always"))
    with running(server):
        yield server


@dataclass(slots=True)
class Load:
    """Calls of several sessions on one budget, as many at once; what was acknowledged of them."""

    store: RedisStore
    sessions: int = 4
    reserved: list[tuple[SessionKey, str]] = field(default_factory=list)
    settled: list[tuple[SessionKey, str]] = field(default_factory=list)
    unsure: int = 0
    refused: int = 0
    stopped: bool = False
    aim: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, workers: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for worker in range(workers):
                tasks.create_task(self._work(worker))

    async def _work(self, worker: int) -> None:
        number = 0
        while not self.stopped:
            number += 1
            key = SessionKey("t", f"s{worker % self.sessions}")
            call = f"{worker}-{number}"
            if await self._append(hold(key, call)):
                self.reserved.append((key, call))
                while not self.stopped:
                    if await self._append(replace(settled(call, key), spent_micro_usd=7)):
                        self.settled.append((key, call))
                        break
                if len(self.settled) >= self.aim:
                    self.reached.set()

    async def _append(self, append: Append) -> bool:
        try:
            await self.store.append(append)
        except StoreUnavailable as error:
            self.unsure += 1
            if "back in time" in error.message:
                self.stopped = True
                self.reached.set()
            return False
        except HoldfastError:
            self.refused += 1
            return False
        return True


def hold(key: SessionKey, call: str) -> Append:
    event = StepReserved(
        NOW, call_id=call, step=1, owner="here", deadline=NOW + 600,
        hold_cost_micro_usd=10, accounts=("global:-:1d:1",),
    )  # fmt: skip
    charge = Charge("global:-:1d:1", 10, maximum=Maximum(BUDGET))
    return Append(key, (event,), charges=(charge,))


async def check(store: RedisStore, load: Load) -> None:
    """Nothing acknowledged is missing, nothing is there twice, and money adds up."""
    opened_calls: list[str] = []
    settled_calls: list[str] = []
    for n in range(load.sessions):
        key = SessionKey("t", f"s{n}")
        log = await store.read(key)
        for stored in log:
            calls = opened_calls if isinstance(stored.event, StepReserved) else settled_calls
            calls.append(stored.event.call_id)  # type: ignore[union-attr]
        assert first_altered(SECRET, key, await store.read_chain(key)) is None
    assert len(set(opened_calls)) == len(opened_calls)
    assert len(set(settled_calls)) == len(settled_calls)
    assert {call for _, call in load.reserved} <= set(opened_calls)
    assert {call for _, call in load.settled} <= set(settled_calls)
    held = 10 * (len(opened_calls) - len(settled_calls))
    balance = (await store.balances(["global:-:1d:1"]))["global:-:1d:1"]
    assert balance == Balance(7 * len(settled_calls), held)
    assert len(await store.open_holds()) == held // 10


async def until(load: Load, calls: int) -> None:
    """So many more calls have been settled."""
    load.aim = len(load.settled) + calls
    assert not load.stopped
    load.reached.clear()
    await load.reached.wait()


async def started(server: RedisServer, query: str = "") -> RedisStore:
    store = RedisStore(f"{server.url}{query}", SECRET)
    await store.open()
    return store


async def test_connections_that_are_killed_lose_and_repeat_nothing(server: RedisServer) -> None:
    """What was under way is asked again, and is written once."""
    store = await started(server)
    load = Load(store)
    running_ = asyncio.ensure_future(load.run(8))
    for n in range(60):
        await until(load, n % 7)
        await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")
        if n % 5 == 0:
            await asyncio.to_thread(server.ask, "SCRIPT", "FLUSH")
    load.stopped = True
    await running_

    assert load.unsure == load.refused == 0
    await check(store, load)
    await store.close()


async def test_a_server_that_is_killed_and_restarted_has_all_it_acknowledged(
    server: RedisServer,
) -> None:
    """Its append-only file is written before it answers."""
    store = await started(server)
    load = Load(store)
    running_ = asyncio.ensure_future(load.run(8))
    for _ in range(4):
        await until(load, 50)
        server.kill()
        await asyncio.to_thread(server.start)
    await until(load, 20)
    load.stopped = True
    await running_

    assert load.unsure == 0
    await check(store, load)
    await store.close()


async def test_a_process_that_dies_leaves_whole_appends_only(server: RedisServer) -> None:
    """Its connections break while a script is under way; another process goes on."""
    load = Load(await started(server))
    running_ = asyncio.ensure_future(load.run(8))
    await until(load, 100)
    running_.cancel()
    load.store.servers.drop_connections("killed")
    other = await started(server)

    await check(other, load)
    assert (await other.append(opened(SessionKey("t", "s0")))).seq > 1
    await other.close()
    await load.store.close()


async def test_full_memory_refuses_and_passes(server: RedisServer) -> None:
    """Nothing is written by half; what to do is said."""
    store = await started(server)
    await store.append(hold(KEY, "c1"))
    server.ask("CONFIG", "SET", "maxmemory", 1)

    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await store.append(hold(KEY, "c2"))
    assert not await store.writable()
    assert len(await store.read(KEY)) == 1
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert (await store.append(hold(KEY, "c2"))).seq == 2
    await store.close()


async def test_a_server_that_becomes_a_replica_refuses_by_name(server: RedisServer) -> None:
    store = await started(server, "?timeout=1")
    await store.append(opened())
    server.ask("REPLICAOF", "127.0.0.1", 1)

    with pytest.raises(StoreUnavailable, match="replica"):
        await store.append(opened())
    server.ask("REPLICAOF", "NO", "ONE")
    assert (await store.append(opened())).seq == 2
    await store.close()


@pytest.mark.parametrize("emptied", ["FLUSHALL", "restart"])
async def test_a_ledger_that_was_emptied_is_never_silently_a_new_one(
    server: RedisServer, emptied: str
) -> None:
    """What was spent would be forgotten. A process that begins after it begins a new one."""
    store = await started(server)
    await store.append(opened())
    if emptied == "FLUSHALL":
        server.ask("FLUSHALL")
    else:
        server.kill()
        for file in server.folder.rglob("*.aof"):
            file.unlink()
        for file in server.folder.rglob("*.manifest"):
            file.unlink()
        for file in server.folder.rglob("*.rdb"):
            file.unlink()
        await asyncio.to_thread(server.start)

    with pytest.raises(StoreUnavailable, match=r"went back in time|no longer has the ledger"):
        await store.append(opened())
    with pytest.raises(StoreUnavailable, match=r"went back in time|no longer has the ledger"):
        await store.read(KEY)
    await store.close()
    await store.open()
    assert (await store.append(opened())).seq == 1
    await store.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "noeviction"),
        ({"maxmemory-policy": "volatile-ttl"}, "noeviction"),
        ({"appendonly": "no", "save": ""}, "appendonly yes"),
    ],
)
async def test_a_server_that_would_forget_is_refused_at_the_start(
    server: RedisServer, settings: dict[str, str], message: str
) -> None:
    """With what mends it."""
    for name, value in settings.items():
        server.ask("CONFIG", "SET", name, value)

    with pytest.raises(StoreUnavailable, match=message):
        await started(server)


async def test_who_says_so_may_use_a_server_that_keeps_nothing(server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "appendonly", "no")
    store = await started(server, "?persistence=none")

    assert (await store.append(opened())).seq == 1
    await store.close()


async def test_a_log_that_was_cut_short_fails_nobody_else(server: RedisServer) -> None:
    """Whatever was sent together with an append to it is written."""
    store, other = await started(server), SessionKey(KEY.tenant, "other")
    names = [f"holdfast:{{{KEY.tenant}}}:{kind}:{KEY.session}" for kind in "se"]
    await store.append(opened())
    before = await store.servers.call(names[0], "GET", names[0])
    assert isinstance(before, bytes)
    await store.append(hold(KEY, "c1"))
    await store.append(opened(other))
    await store.servers.call(names[0], "SET", names[0], before)
    await store.servers.call(names[1], "RPOP", names[1])
    sent = [store.append(hold(key, f"d{n}")) for n, key in enumerate((other, KEY, other, other))]
    results = await asyncio.gather(*sent, return_exceptions=True)

    assert [isinstance(one, StoreUnavailable) for one in results] == [False, True, False, False]
    assert "went back in time" in str(results[1])
    assert len(await store.read(other)) == 4
    await store.close()


async def test_every_key_has_an_end(server: RedisServer) -> None:
    """Should nobody ever purge: ninety days after the last touch."""
    store = await started(server)
    head = SessionHead(waits=("h",), owed=("h",), agent="coder", updated_at=NOW)
    await store.append(replace(opened(), head=head, links=(b"x", b"y")))
    await store.append(hold(KEY, "c1"))
    await store.append(reserved("c2", charges=[Charge("a", 1)]))
    await store.append(opened(SessionKey("team-a", "s2")))
    await store.delete(SessionKey("team-a", "s2"), NOW)
    await store.writable()
    found = await store.servers.call("holdfast:{*}", "KEYS", "*")
    assert isinstance(found, list)
    left = {key: await store.servers.call(key, "TTL", key) for key in found}

    assert len(left) > 15
    assert [key for key, seconds in left.items() if seconds == -1] == []
    await store.close()


async def test_a_month_s_budget_outlives_what_was_said_to_expire(server: RedisServer) -> None:
    """An idle week must not begin it anew."""
    store = await started(server, "?expire_days=7")
    month = replace(hold(KEY, "c1"), charges=[Charge("global:-:1mo:2026-11", 1)])
    await store.append(month)
    await store.restore_accounts([("tenant:t:1mo:2026-11", Balance(5), NOW)])
    for tag, name in (("*", "global:-:1mo:2026-11"), ("t", "tenant:t:1mo:2026-11")):
        for key in (f"holdfast:{{{tag}}}:b:{name}", f"holdfast:{{{tag}}}:bz"):
            left = await store.servers.call(key, "TTL", key)
            assert isinstance(left, int)
            assert left > 31 * 86_400
    await store.close()


async def test_no_key_ends_before_retention_does(server: RedisServer) -> None:
    """A policy that keeps sessions for a year keeps them, whatever store.url says of expiry; also
    where it was raised by a reload, once a session is touched."""
    kept = [7 * 86_400.0]
    store = RedisStore(server.url, SECRET, retention_seconds=lambda: kept[0])
    await store.open()
    head = SessionHead(waits=("h",), agent="coder", updated_at=NOW)
    await store.append(replace(opened(), head=head, links=(b"x",), contents=(Content("c", b"x"),)))
    kept[0] = 365 * 86_400.0
    await store.append(hold(KEY, "c1"))
    await store.append(replace(settled("c1"), contents=(Content("d", b"x"),)))
    await store.append(opened(SessionKey("team-a", "s2")))
    found = await store.servers.call("holdfast:{*}", "KEYS", f"holdfast:{{{KEY.tenant}}}:*")
    assert isinstance(found, list)
    left = {key.decode(): await store.servers.call(key, "TTL", key) for key in found}
    parts = ("s:", "e:", "c:", "z", "q")
    asked = {k: n for k, n in left.items() if k.partition("}:")[2].startswith(parts)}

    assert len(asked) >= 8
    assert {k: n for k, n in asked.items() if not isinstance(n, int) or n <= kept[0]} == {}
    await store.close()


@pytest.mark.parametrize("days", [-2, 2])
async def test_a_log_does_not_expire_before_its_end(server: RedisServer, days: int) -> None:
    """Whatever the clock of the process that wrote it."""
    clock = Shifted()
    store = RedisStore(server.url, SECRET, clock)
    await store.open()
    await store.append(opened())
    log, end = (f"holdfast:{{{KEY.tenant}}}:{kind}:{KEY.session}" for kind in "es")
    await store.servers.call(log, "EXPIRE", log, 60)  # as if its time had come
    clock.ahead = days * 86_400.0
    await store.append(hold(KEY, "c1"))
    lives, ends = [await store.servers.call(key, "TTL", key) for key in (log, end)]

    assert isinstance(lives, int)
    assert isinstance(ends, int)
    assert lives > ends
    await store.close()


class Shifted(SystemClock):
    """A clock that is wrong."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


async def test_a_user_with_few_rights_is_enough(server: RedisServer) -> None:
    """Those that docs/fleet.md names; one without them is told so."""
    rights = "~holdfast:* &holdfast:* +@all -@dangerous +info +config|get"
    assert rights in (Path(__file__).parents[2] / "docs/fleet.md").read_text()
    server.ask("ACL", "SETUSER", "few", "on", ">secret", *rights.split())
    server.ask("ACL", "SETUSER", "none", "on", ">secret", "~holdfast:*", "+@read", "+info")
    store = RedisStore(f"redis://few:secret@127.0.0.1:{server.port}", SECRET)
    await store.open()
    await store.append(replace(hold(KEY, "c1"), links=(b"x",)))
    await store.append(settled("c1"))
    heard = asyncio.Event()
    channel = f"{store.servers.prefix}:c"
    store.servers.listen([channel], lambda _, data: heard.set(), lambda: None)
    while not heard.is_set():
        await store.servers.publish(channel, b"x")
    listed, _ = await store.list_sessions()

    assert len(listed) == 1
    assert await store.purge(NOW + 1, NOW + 1) == 1
    await store.close()
    with pytest.raises(StoreUnavailable, match="may not do what is needed"):
        await RedisStore(f"redis://none:secret@127.0.0.1:{server.port}", SECRET).open()


@pytest.fixture(params=["redis", "valkey"])
def tls_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    needs_server(request.param)
    port, file = free_port(), str(CERTIFICATE)
    options = (
        "--tls-port", str(port), "--tls-cert-file", file, "--tls-key-file", file,
        "--tls-ca-cert-file", file, "--tls-auth-clients", "no",
    )  # fmt: skip
    with running(RedisServer(request.param, tmp_path / "server", options)):
        yield port


async def test_a_ledger_is_reached_over_tls(tls_port: int) -> None:
    """And only where the server's certificate is one that is trusted."""
    store = RedisStore(f"rediss://localhost:{tls_port}?ca={CERTIFICATE}", SECRET)
    await store.open()
    assert (await store.append(opened())).seq == 1
    await store.close()

    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await RedisStore(f"rediss://localhost:{tls_port}?timeout=1", SECRET).open()


async def test_what_has_ended_leaves_no_key_behind(server: RedisServer) -> None:
    """Of a session that was purged only that it was, for three minutes."""
    store = await started(server)
    head = SessionHead(waits=("h",), owed=("h",), agent="coder", state="killed", updated_at=NOW)
    await store.append(replace(hold(KEY, "c1"), links=(b"x",), contents=(Content("n", b"n"),)))
    await store.append(replace(settled("c1"), head=head))
    for _ in range(2):
        assert await store.purge(NOW + 9, NOW + 8) == 1
    assert await store.purge_accounts(NOW + 9) == 1
    left = await store.servers.call("holdfast:{*}", "KEYS", "*")
    assert isinstance(left, list)

    assert sorted(left) == [b"holdfast:{*}:id", b"holdfast:{*}:t", b"holdfast:{team-a}:x:s1"]
    await store.close()
