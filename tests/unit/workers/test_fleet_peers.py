"""Replicas that speak to each other through a real server; here, all in one process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from proxy.clock import SystemClock
from proxy.core.decision import Refusal
from proxy.stores.redis_servers import Servers
from proxy.tasks import Tasks
from proxy.workers.fleet_peers import FleetPeers
from proxy.workers.leases import LeasedOwners
from proxy.workers.messages import (
    Arrived,
    CountsWanted,
    EventsWanted,
    Message,
    ReloadWanted,
    SessionChanged,
    TapeWanted,
    WhoRuns,
)
from proxy.workers.owners import FolderOwners
from proxy.workers.peers import FolderPeers
from tests.fakes_redis import RedisServer, needs_server, running

pytestmark = [pytest.mark.process, pytest.mark.timeout(30)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    needs_server("redis")
    server = RedisServer("redis", tmp_path_factory.mktemp("redis"))
    with running(server):
        yield server


class Replica:
    """One that hears, with what it has heard."""

    def __init__(self, url: str, name: str, folder: Path | None = None) -> None:
        from proxy.stores.redis_fleet import RedisFleet

        self.name = name
        self.tasks = Tasks()
        self.fleet = RedisFleet(Servers(url))
        near = FolderOwners(folder, name)
        self.owners = LeasedOwners(self.fleet, near, SystemClock(), self.tasks)
        crew = FolderPeers(near, name.partition(".")[0])
        self.peers = FleetPeers(self.fleet, self.owners, crew, self.tasks)
        self.heard: list[Message] = []
        self.hears = asyncio.Event()
        self.missed = asyncio.Event()
        self.peers.on_missed = self.missed.set

    async def hear(self, message: Message) -> AsyncGenerator[bytes, None]:
        self.heard.append(message)
        self.hears.set()
        yield self.name.encode()

    async def start(self) -> "Replica":
        await self.fleet.open()
        await self.owners.claim()
        await self.peers.listen(self.hear)
        return self

    async def stop(self) -> None:
        await self.peers.close()
        await self.tasks.close()
        await self.owners.leave(settled=True)
        await self.fleet.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def replicas(
    stack: AsyncExitStack, server: RedisServer, *names: str, folder: Path | None = None
) -> list[Replica]:
    made = [await Replica(server.url, name, folder).start() for name in names]
    for one in made:
        stack.push_async_callback(one.stop)
    for one in made:
        await one.owners.beat()
    return made


@pytest.mark.parametrize(
    "message",
    [
        SessionChanged("t", "s"),
        SessionChanged("t", "s", Refusal(422, "session_killed", "session_state", "Ended.")),
        WhoRuns("s"),
        Arrived("2-b"),
        ReloadWanted(),
    ],
)
async def test_what_is_said_is_heard_by_all(
    server: RedisServer, stack: AsyncExitStack, message: Message
) -> None:
    one, two, three = await replicas(stack, server, "1-a", "2-b", "3-c")
    answers = await one.peers.ask(message, one.peers.others())

    assert answers == {"2-b": b"2-b", "3-c": b"3-c"}
    assert (one.heard, two.heard, three.heard) == ([], [message], [message])
    assert await two.peers.ask(message, ["1-a"]) == {"1-a": b"1-a"}
    assert three.heard == [message]


async def test_what_only_workers_of_one_serve_ask_is_not_answered(
    server: RedisServer, stack: AsyncExitStack
) -> None:
    """Streams and long answers go through their sockets."""
    one, two = await replicas(stack, server, "1-a", "2-b")
    wanted = (CountsWanted(), EventsWanted(), TapeWanted("t", "s", "m", True, b"x"))
    asked = await asyncio.gather(*(one.peers.ask(message, ["2-b"]) for message in wanted))

    assert asked == [{}, {}, {}]
    assert two.heard == []


async def test_workers_of_one_serve_use_their_sockets(
    server: RedisServer, stack: AsyncExitStack, tmp_path: Path
) -> None:
    mine = await replicas(stack, server, "1.0-a", "1.1-b", folder=tmp_path / "run")
    far = await replicas(stack, server, "2-c")
    await mine[0].owners.beat()

    assert mine[0].peers.crew() == ["1.1-b"]
    assert mine[0].peers.others() == mine[0].peers.fleet() == ["1.1-b", "2-c"]
    assert far[0].peers.crew() == []
    told = await mine[0].peers.ask(WhoRuns("s"), mine[0].peers.others())
    assert told == {"1.1-b": b"1.1-b", "2-c": b"2-c"}
    frames = [frame async for frame in mine[0].peers.follow("1.1-b", EventsWanted())]
    assert frames == [b"1.1-b"]
    assert (await far[0].peers.ask(WhoRuns("s"), far[0].peers.others())).keys() == {
        "1.0-a",
        "1.1-b",
    }


async def test_one_that_does_not_answer_is_not_waited_for(
    server: RedisServer, stack: AsyncExitStack
) -> None:
    """A dead one is taken for living until its lease has ended."""
    (one, two) = await replicas(stack, server, "1-a", "2-b")
    told = await one.peers.ask(WhoRuns("s"), ["2-b", "9-dead"])

    assert told == {"2-b": b"2-b"}
    assert two.heard == [WhoRuns("s")]


async def test_a_newcomer_is_known_when_it_speaks(
    server: RedisServer, stack: AsyncExitStack
) -> None:
    """Not only with the next beat."""
    (one,) = await replicas(stack, server, "1-a")
    new = await Replica(server.url, "2-b").start()
    stack.push_async_callback(new.stop)
    assert one.peers.others() == []
    await new.peers.ask(Arrived("2-b"), new.peers.others())

    assert one.peers.others() == ["2-b"]


@pytest.mark.parametrize("others", [(), ("3-c",)])
async def test_a_kill_is_heard_by_one_that_is_taken_for_dead(
    server: RedisServer, stack: AsyncExitStack, others: tuple[str, ...]
) -> None:
    """It was stopped for a while, or Redis was away: its lease has ended, and its calls go on."""
    one, two, *_ = await replicas(stack, server, "1-a", "2-b", *others)
    one.owners._left = {name: left for name, left in one.owners._left.items() if name != "2-b"}
    killed = SessionChanged("t", "s", Refusal(422, "session_killed", "session_state", "Ended."))

    assert (await one.peers.ask(killed, list(others))).keys() == set(others)
    assert await one.peers.ask(WhoRuns("s"), list(others)) == {
        name: name.encode() for name in others
    }
    async with asyncio.timeout(5):
        await two.hears.wait()
    assert two.heard == [killed]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x95\xa5_Said\x01\xa1\xff\x91\xa31-a\xc4\x00",
        b"\x93" * 10_000,
        b"{}",
        msgspec.msgpack.encode(["_Said", 1, "2-b", ["1-a"], b"\xff\xff"]),
        msgspec.msgpack.encode(["_Said", 1, "2-b", ["1-a"], b"\x91" * 5_000]),
        msgspec.msgpack.encode(["_Said", "x", None, 3, 4]),
        msgspec.msgpack.encode(["_Told", 1, "9-x", b"forged"]),
        msgspec.msgpack.encode(["_Said", 1, "2-b", ["1-a"], b"x" * 2_000_000]),
    ],
)
async def test_what_is_not_understood_is_left_out(
    server: RedisServer, stack: AsyncExitStack, data: bytes
) -> None:
    one, two = await replicas(stack, server, "1-a", "2-b")
    asking = asyncio.ensure_future(one.peers.ask(WhoRuns("s"), ["2-b"]))
    await two.fleet.publish("all", data)
    await two.fleet.publish("1-a", data)

    assert await asking == {"2-b": b"2-b"}
    assert await two.peers.ask(WhoRuns("t"), ["1-a"]) == {"1-a": b"1-a"}
    assert one.heard == [WhoRuns("t")]


async def test_a_broken_connection_is_made_anew_and_said(
    server: RedisServer, stack: AsyncExitStack
) -> None:
    """What was said meanwhile went unheard: whoever listens looks for it."""
    one, two = await replicas(stack, server, "1-a", "2-b")
    assert not two.missed.is_set()
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await two.missed.wait()
    await one.missed.wait()

    assert await one.peers.ask(WhoRuns("s"), ["2-b"]) == {"2-b": b"2-b"}


async def test_the_server_away(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Nobody hears, and nobody waits for long; when it is back, they do."""
    needs_server("redis")
    server = RedisServer("redis", tmp_path)
    with running(server):
        one, two = await replicas(stack, server, "1-a", "2-b")
        server.kill()
        assert await one.peers.ask(WhoRuns("s"), one.peers.others()) == {}
        assert one.peers.others() == ["2-b"]
        server.start()
        await asyncio.gather(one.missed.wait(), two.missed.wait())

        assert await one.peers.ask(WhoRuns("s"), ["2-b"]) == {"2-b": b"2-b"}
        await stack.aclose()


async def test_who_started_without_it_has_missed_what_was_said(tmp_path: Path) -> None:
    """Under on_failure: open calls are let through before it is there."""
    needs_server("redis")
    server = RedisServer("redis", tmp_path)
    with running(server):
        server.kill()
        one = Replica(server.url, "1-a")
        await one.peers.listen(one.hear)
        assert not one.missed.is_set()
        server.start()
        async with asyncio.timeout(10):
            await one.missed.wait()
        await one.peers.close()
        await one.fleet.close()
