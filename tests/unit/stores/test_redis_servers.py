"""The client of Redis on real servers: order, slots, and what it does when they fail."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from proxy.errors import StoreUnavailable
from proxy.stores.redis_nodes import slot_of
from proxy.stores.redis_scripts import Script
from proxy.stores.redis_servers import Servers
from tests.fakes_redis import Cluster, RedisServer, needs_server, running
from tests.integration.crew_kit import quickest

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]
KEY = "holdfast:{a}:x"


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    needs_server(request.param)
    server = RedisServer(request.param, tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    needs_server("redis")
    cluster = Cluster("redis", tmp_path_factory.mktemp("cluster"))
    with running(cluster):
        yield cluster


def test_slots_are_those_of_the_specification() -> None:
    """Examples of https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("{user1000}.following") == slot_of("user1000")
    assert slot_of("foo{}{bar}") == slot_of(b"foo{}{bar}") != slot_of("bar")
    assert slot_of("foo{{bar}}zap") == slot_of("{bar")


async def test_requests_are_answered_in_order_and_together(server: RedisServer) -> None:
    """A thousand under way on one connection."""
    servers = Servers(server.url)
    await servers.open()
    made = [servers.call(KEY, "RPUSH", KEY, n) for n in range(1_000)]
    lengths = await asyncio.gather(*made)
    clients = server.ask("CLIENT", "LIST").count("name=holdfast")
    items = await servers.call(KEY, "LRANGE", KEY, 0, -1)
    await servers.close()

    assert clients == 1
    assert lengths == list(range(1, 1_001))
    assert items == [b"%d" % n for n in range(1_000)]


async def test_a_server_that_restarts_is_waited_for(server: RedisServer) -> None:
    """Who asks meanwhile is answered late, not refused."""
    servers = Servers(server.url)
    await servers.open()
    await servers.call(KEY, "SET", KEY, "kept")
    server.kill()
    asked = asyncio.ensure_future(servers.call(KEY, "GET", KEY))
    await asyncio.to_thread(server.start)

    assert await asked == b"kept"
    await servers.close()


async def test_a_server_that_stays_away_is_told_of_in_a_sentence(server: RedisServer) -> None:
    """Once patience is over, who comes later hears of it at once; it passes by itself."""
    servers = Servers(f"{server.url}?timeout=1")
    await servers.open()
    server.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await servers.call(KEY, "GET", KEY)

    async def refused(_: str) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match="is it running"):
            await servers.call(KEY, "GET", KEY)
        return asyncio.get_running_loop().time() - began

    assert await quickest(refused, 0.5) < 0.5
    await asyncio.to_thread(server.start)

    assert await servers.call(KEY, "PING") == b"PONG"
    await servers.close()


@pytest.mark.parametrize(
    ("query", "least", "most"), [("?timeout=0.2", 0.15, 0.9), ("?timeout=1", 0.95, 9)]
)
async def test_patience_is_the_timeout_of_the_url(
    server: RedisServer, query: str, least: float, most: float
) -> None:
    """Who asks for a short one is not kept waiting for three seconds."""
    servers = Servers(f"{server.url}{query}")
    await servers.open()

    async def given_up(_: str) -> float:
        server.kill()
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await servers.call(KEY, "GET", KEY)
        took = asyncio.get_running_loop().time() - began
        await asyncio.to_thread(server.start)
        await servers.call(KEY, "PING")
        return took

    assert least < await quickest(given_up, most) < most
    await servers.close()


async def test_a_server_that_hangs_is_given_up(server: RedisServer) -> None:
    """A connection that only looks alive."""
    servers = Servers(f"{server.url}?timeout=0.2")
    await servers.open()
    server.freeze()
    try:
        with pytest.raises(StoreUnavailable, match="in time"):
            await servers.call(KEY, "GET", KEY)
    finally:
        server.thaw()

    assert await servers.call(KEY, "PING") == b"PONG"
    await servers.close()


async def test_a_killed_connection_is_made_anew(server: RedisServer) -> None:
    servers = Servers(server.url)
    await servers.open()
    for _ in range(5):
        server.ask("CLIENT", "KILL", "TYPE", "normal")
        assert await servers.call(KEY, "PING") == b"PONG"
    await servers.close()


async def test_a_script_that_was_forgotten_is_taught_again(server: RedisServer) -> None:
    """SCRIPT FLUSH, and a server that was replaced."""
    servers = Servers(server.url)
    await servers.open()
    echo = Script("echo", b"return ARGV[1]")
    for _ in range(2):
        assert await servers.evaluate(echo, KEY, "hello") == b"hello"
        server.ask("SCRIPT", "FLUSH")
    await servers.close()


async def test_who_may_not_teach_scripts_is_told_so(server: RedisServer) -> None:
    """At once, and by what mends it."""
    server.ask("ACL", "SETUSER", "mute", "on", ">secret", "~*", "&*", "+@all", "-script")
    servers = Servers(f"redis://mute:secret@127.0.0.1:{server.port}")
    await servers.open()
    with pytest.raises(StoreUnavailable, match="may not do what is needed"):
        await servers.evaluate(Script("new", b"return 'never seen'"), KEY)
    await servers.close()
    server.ask("ACL", "DELUSER", "mute")


async def test_a_server_that_is_back_is_taught_scripts_however_long_it_was_away(
    server: RedisServer,
) -> None:
    """Nobody waits any more when it has been away for long: asked once, it knows no script yet."""
    servers = Servers(server.url)
    await servers.open()
    echo = Script("echo", b"return ARGV[1]")
    await servers.evaluate(echo, KEY, "hello")
    server.ask("SCRIPT", "FLUSH")
    servers._failing_since = asyncio.get_running_loop().time() - 60

    assert await servers.evaluate(echo, KEY, "hello") == b"hello"
    await servers.close()


async def test_a_wrong_password_is_told_at_once(server: RedisServer) -> None:
    """Asking again does not mend it."""
    server.ask("ACL", "SETUSER", "agent", "on", ">right", "~*", "&*", "+@all")
    right, wrong = (
        Servers(f"{server.kind}://agent:{word}@127.0.0.1:{server.port}")
        for word in ("right", "wrong")
    )
    await right.open()
    await right.close()

    with pytest.raises(StoreUnavailable, match="password"):
        await wrong.open()
    server.ask("ACL", "DELUSER", "agent")


async def test_what_is_published_is_heard_also_after_the_connection_broke(
    server: RedisServer,
) -> None:
    """And that it broke is told, as something may have gone unheard."""
    servers = Servers(server.url)
    await servers.open()
    heard: asyncio.Queue[object] = asyncio.Queue()
    listener = servers.listen(
        ["a", "b"], lambda c, d: heard.put_nowait((c, d)), lambda: heard.put_nowait("connected")
    )

    assert await heard.get() == "connected"
    await servers.publish("b", b"\xff")
    assert await heard.get() == ("b", b"\xff")
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    assert await heard.get() == "connected"
    listener.close()
    await servers.close()


async def test_that_nothing_is_heard_is_said_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not ten times a second for as long as the server is away."""
    caplog.set_level(logging.INFO)
    servers, connected = Servers(server.url), asyncio.Event()
    await servers.open()
    listener = servers.listen(["a"], lambda _, data: None, connected.set)
    for _ in range(2):
        async with asyncio.timeout(10):
            await connected.wait()
        connected.clear()
        caplog.clear()
        server.kill()
        await servers.clock.sleep(1)
        said = [one.message for one in caplog.records if "is not heard" in one.message]
        assert 1 <= len(said) <= 3, said  # the connection broke, and then none was to be had
        server.start()
    listener.close()
    await servers.close()


async def test_who_may_not_listen_is_told_so(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A user has no channels, where none were given; with some it hears."""
    rights = ("on", ">secret", "~*", "resetchannels", "+@all")
    server.ask("ACL", "SETUSER", "deaf", *rights)
    servers, connected = Servers(f"redis://deaf:secret@127.0.0.1:{server.port}"), asyncio.Event()
    await servers.open()
    listener = servers.listen(["a"], lambda _, data: None, connected.set)
    async with asyncio.timeout(10):
        while not caplog.records:
            await servers.clock.sleep(0.05)
    assert "is not heard (NOPERM" in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    server.ask("ACL", "SETUSER", "deaf", "&a")

    async with asyncio.timeout(10):
        await connected.wait()
    listener.close()
    await servers.close()
    server.ask("ACL", "DELUSER", "deaf")


async def test_a_cluster_s_keys_are_found_also_when_slots_move(cluster: Cluster) -> None:
    """Each on its node; a slot that has moved is asked for where it is now."""
    servers = Servers(cluster.url)
    await servers.open()
    for n in range(30):
        assert await servers.call(f"k{n}", "SET", f"k{n}", n) == b"OK"
    slot = slot_of("empty{slot}")
    owner = next(n for n in range(3) if slot < (n + 1) * 16_384 // 3)
    target = cluster.nodes[(owner + 1) % 3]
    for node in cluster.nodes:
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID").split()[1])

    assert await servers.call("empty{slot}", "SET", "empty{slot}", 1) == b"OK"
    assert len(await servers.primaries()) == 3
    await servers.close()


async def test_what_was_closed_refuses(server: RedisServer) -> None:
    servers = Servers(server.url)
    await servers.open()
    await servers.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await servers.call(KEY, "PING")
