"""Who lives, told by leases: under a clock of ours, and on a real server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.tasks import Tasks
from proxy.workers.leases import LEASE_SECONDS, LeasedOwners
from proxy.workers.owners import FolderOwners
from tests.fakes import FakeClock, turns
from tests.fakes_redis import RedisServer, needs_server, running


class FakeLeases:
    """What `stores.redis_fleet` does, under the clock of the server."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ends: dict[str, float] = {}
        self.locks: dict[str, str] = {}
        self.away = False

    async def claim(self, name: str, seconds: float) -> Mapping[str, float] | None:
        self._look()
        return None if name in self.ends else await self.beat(name, seconds)

    async def beat(self, name: str, seconds: float) -> Mapping[str, float]:
        self._look()
        self.ends[name] = self.clock.monotonic() + seconds
        return {n: end - self.clock.monotonic() for n, end in self.ends.items()}

    async def leave(self, name: str, *, settled: bool) -> None:
        self._look()
        self.ends[name] = -2.0 * 10**9
        if settled:
            del self.ends[name]

    async def take(self, name: str, by: str, seconds: float) -> bool:
        if self.ends.get(name, 1e12) > self.clock.monotonic() or name in self.locks:
            return False
        self.locks[name] = by
        return True

    async def bury(self, name: str, by: str) -> None:
        if self.ends.get(name, 1e12) <= self.clock.monotonic():
            del self.ends[name]
        await self.let_go(name, by)

    async def let_go(self, name: str, by: str) -> None:
        if self.locks.get(name) == by:
            del self.locks[name]

    def _look(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def leases(clock: FakeClock) -> FakeLeases:
    return FakeLeases(clock)


async def owner(leases: FakeLeases, name: str, folder: Path | None = None) -> LeasedOwners:
    made = LeasedOwners(leases, FolderOwners(folder, name), leases.clock, Tasks())
    await made.claim()
    return made


async def passed(clock: FakeClock, seconds: float, *living: LeasedOwners) -> None:
    """Time goes by, and the living renew each second."""
    for _ in range(round(seconds)):
        clock.advance(1)
        for one in living:
            await one.beat()


async def test_the_living_see_each_other(leases: FakeLeases, clock: FakeClock) -> None:
    one, two = await owner(leases, "1-a"), await owner(leases, "2-b")
    await passed(clock, 20, one, two)

    assert (one.others(), two.others()) == (["2-b"], ["1-a"])
    assert one.lives("2-b")
    assert one.lives("1-a")
    assert not one.lives("3-c")
    assert (one.gone(), two.gone()) == ([], [])


async def test_one_that_died_is_found_once_and_buried(leases: FakeLeases, clock: FakeClock) -> None:
    """By one of the living: two would do no harm, but twice the work."""
    one, two, died = [await owner(leases, name) for name in ("1-a", "2-b", "9-f")]
    told: list[str] = []
    one.on_gone = lambda: told.append("one")
    two.on_gone = lambda: told.append("two")
    await passed(clock, LEASE_SECONDS + 2, one, two)

    assert told == ["one"]
    assert not two.lives("9-f")
    ((gone,), nobody) = one.gone(), two.gone()
    assert (gone.name, nobody, one.gone()) == ("9-f", [], [])
    gone.bury()
    gone.let_go()
    await turns()
    await passed(clock, 2, one, two)
    assert one.gone() == two.gone() == []
    assert died.name not in leases.ends


async def test_what_is_not_booked_is_found_again(leases: FakeLeases, clock: FakeClock) -> None:
    one = await owner(leases, "1-a")
    await owner(leases, "9-f")
    await passed(clock, LEASE_SECONDS + 1, one)
    (gone,) = one.gone()
    gone.let_go()
    await turns()
    await passed(clock, 1, one)

    assert [gone.name for gone in one.gone()] == ["9-f"]


async def test_when_the_store_was_away_nobody_is_taken_for_dead(
    leases: FakeLeases, clock: FakeClock
) -> None:
    """All leases have ended by then, and everybody comes back, one a little later."""
    one, two = await owner(leases, "1-a"), await owner(leases, "2-b")
    await passed(clock, 10, one, two)
    leases.away = True
    clock.advance(60)
    with pytest.raises(StoreUnavailable):
        await one.beat()
    assert one.lives("2-b")
    leases.away = False
    await passed(clock, LEASE_SECONDS - 1, one)
    await two.beat()
    await passed(clock, 10, one, two)

    assert (one.gone(), two.gone()) == ([], [])


async def test_one_that_was_stopped_comes_back(leases: FakeLeases, clock: FakeClock) -> None:
    """Its holds were booked meanwhile; it takes nobody for dead who was not."""
    one, stopped = await owner(leases, "1-a"), await owner(leases, "2-b")
    await passed(clock, 20, one)
    ((gone,)) = one.gone()
    gone.bury()
    gone.let_go()
    await turns()
    await stopped.beat()
    await passed(clock, 2, one, stopped)

    assert (one.lives("2-b"), stopped.lives("1-a")) == (True, True)
    assert (one.gone(), stopped.gone()) == ([], [])


async def test_one_that_leaves_holds_behind_is_gone_at_once(leases: FakeLeases) -> None:
    one, two = await owner(leases, "1-a"), await owner(leases, "2-b")
    await two.leave(settled=False)
    await one.beat()
    assert [gone.name for gone in one.gone()] == ["2-b"]

    three = await owner(leases, "3-c")
    await three.leave(settled=True)
    await one.beat()
    assert one.gone() == []
    assert not one.lives("3-c")


async def test_two_of_one_name_do_not_both_start(leases: FakeLeases) -> None:
    """One would live on the other's lease."""
    await owner(leases, "1-a")
    with pytest.raises(StoreUnavailable, match="another process is called 1-a"):
        await owner(leases, "1-a")


async def test_a_worker_of_the_same_serve_is_known_to_be_dead_at_once(
    leases: FakeLeases, tmp_path: Path
) -> None:
    """The kernel says so: nobody waits for its lease to end."""
    folder = tmp_path / "run"
    one = await owner(leases, "1.0-a", folder)
    two = await owner(leases, "1.1-b", folder)
    two.near.leave(settled=False)

    (gone,) = one.gone()
    assert gone.name == "1.1-b"
    gone.bury()
    gone.let_go()
    assert one.gone() == []


async def test_the_store_away_at_the_end_keeps_nobody(leases: FakeLeases) -> None:
    one = await owner(leases, "1-a")
    leases.away = True
    await one.leave(settled=True)
    assert list(leases.ends) == ["1-a"]


async def test_it_renews_until_it_is_cancelled(leases: FakeLeases, clock: FakeClock) -> None:
    one = await owner(leases, "1-a")
    running = asyncio.ensure_future(one.run())
    for away in (False, True, False):
        leases.away = away
        await turns()
        clock.advance(1)
        await turns()
    running.cancel()

    assert leases.ends["1-a"] == clock.monotonic() + LEASE_SECONDS


class Losing:
    """A way to a server, which may break in the place of the next answer."""

    def __init__(self, port: int) -> None:
        self.loses = False
        self._server = port
        self._ways: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(self._served, "127.0.0.1", 0) as relay:
            yield relay.sockets[0].getsockname()[1]
            await asyncio.wait(self._ways)
            await turns()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", self._server)
        both = [
            asyncio.ensure_future(self._carry(reader, there, is_back=False)),
            asyncio.ensure_future(self._carry(back, writer, is_back=True)),
        ]
        self._ways += both
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, there):
            one.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_back: bool
    ) -> None:
        while data := await reader.read(65_536):
            if is_back and self.loses:
                self.loses = False
                return
            writer.write(data)


@pytest.mark.process
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_claim_whose_answer_was_lost_is_its_own(kind: str, tmp_path: Path) -> None:
    """It is asked again, and is not refused for what it did itself; another's name is."""
    needs_server(kind)
    from proxy.stores.redis_fleet import RedisFleet
    from proxy.stores.redis_servers import Servers

    with running(server := RedisServer(kind, tmp_path)):
        way = Losing(server.port)
        async with way() as port:
            fleet = RedisFleet(Servers(f"redis://127.0.0.1:{port}"))
            await fleet.open()
            assert await fleet.claim("taught", 30) is not None
            way.loses = True
            left = await fleet.claim("a", 30)
            assert left is not None
            assert left["a"] == pytest.approx(30, abs=3)
            assert not way.loses
            assert await fleet.claim("a", 30) is None
            await fleet.close()


@pytest.mark.process
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_server_says_the_same(kind: str, tmp_path: Path) -> None:
    """Its clock, its rules: with leases of a tenth of a second."""
    needs_server(kind)
    from proxy.stores.redis_fleet import RedisFleet
    from proxy.stores.redis_servers import Servers

    server = RedisServer(kind, tmp_path)
    with running(server):
        fleet = RedisFleet(Servers(server.url))
        await fleet.open()
        try:
            first = await fleet.claim("a", 30)
            assert first is not None
            assert first["a"] == pytest.approx(30, abs=1)
            assert await fleet.claim("a", 30) is None
            left = await fleet.claim("b", 0.05)
            assert left is not None
            assert left["b"] <= 0.05
            assert not await fleet.take("a", "x", 9)
            while not await fleet.take("b", "x", 9):
                pass
            assert not await fleet.take("b", "y", 9)
            await fleet.let_go("b", "y")
            assert not await fleet.take("b", "y", 9)
            await fleet.let_go("b", "x")
            assert await fleet.take("b", "y", 9)
            await fleet.bury("a", "y")
            await fleet.bury("b", "y")
            assert list(await fleet.beat("a", 30)) == ["a"]
            await fleet.claim("c", 30)
            await fleet.leave("c", settled=False)
            assert (await fleet.beat("a", 30))["c"] < -(10.0**9)
            await fleet.leave("c", settled=True)
            assert list(await fleet.beat("a", 30)) == ["a"]
        finally:
            await fleet.close()
