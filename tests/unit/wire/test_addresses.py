"""Which of several addresses is connected to, and what becomes of the others."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from proxy.wire import addresses
from proxy.wire.addresses import Addresses, race
from tests.fakes_wire import turn


@pytest.fixture
def port() -> Iterator[int]:
    """One that 127.0.0.1 and 127.0.0.2 listen on, and no other address of loopback."""
    first = socket.create_server(("127.0.0.1", 0))
    number: int = first.getsockname()[1]
    with first, socket.create_server(("127.0.0.2", number)):
        yield number


@pytest.fixture
def silent(port: int) -> Iterator[str]:
    """An address that answers nothing on that port: its queue of connections is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.9", port))
        listening.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(("127.0.0.9", port))
        yield "127.0.0.9"


class Mortal(asyncio.Protocol):
    """Knows when its connection has ended."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def peer(transport: asyncio.Transport) -> str:
    host: str = transport.get_extra_info("peername")[0]
    transport.abort()
    return host


async def test_the_first_address_is_taken_if_it_answers(port: int) -> None:
    """The system has put them in order."""
    assert peer(await race(["127.0.0.2", "127.0.0.1"], port, asyncio.Protocol)) == "127.0.0.2"


async def test_a_refused_address_costs_no_time(port: int) -> None:
    """::1 of a server that listens on 127.0.0.1 alone."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reached = await race(["127.0.0.3", "127.0.0.4", "127.0.0.1"], port, asyncio.Protocol)

    assert peer(reached) == "127.0.0.1"
    assert loop.time() - began < addresses._HEAD_START_SECONDS


async def test_a_silent_address_costs_its_head_start(
    port: int, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the whole time to connect; and its attempt ends with the race."""
    monkeypatch.setattr(addresses, "_HEAD_START_SECONDS", 0.05)
    before = asyncio.all_tasks()
    reached = await race([silent, "127.0.0.1"], port, asyncio.Protocol)

    assert peer(reached) == "127.0.0.1"
    assert asyncio.all_tasks() == before


async def test_the_last_refusal_is_the_reason(port: int) -> None:
    """The first may be that of an address family that the machine has no way to."""
    with pytest.raises(ConnectionRefusedError):
        await race(["127.0.0.3", "127.0.0.4"], port, asyncio.Protocol)


async def test_of_two_that_answer_at_once_one_is_kept(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is closed: nobody would ever use it."""
    monkeypatch.setattr(addresses, "_HEAD_START_SECONDS", 0)
    made: list[Mortal] = []

    def make() -> Mortal:
        made.append(Mortal())
        return made[-1]

    reached = await race(["127.0.0.1", "127.0.0.2"], port, make)
    winner = reached.get_protocol()
    for loser in made:
        if loser is not winner:
            await loser.lost.wait()

    assert [one.lost.is_set() for one in made if one is winner] == [False]
    reached.abort()


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up; each has one address of IPv4 and two of IPv6."""
    asked: list[str] = []

    async def getaddrinfo(host: str, *rest: object, **more: object) -> list[object]:
        asked.append(host)
        await turn()
        six = [(socket.AF_INET6, 1, 6, "", (f"2001:db8::{n}", 0, 0, 0)) for n in (1, 2)]
        return [*six, (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_families_alternate(asked: list[str]) -> None:
    """If one leads nowhere, the second attempt is of the other."""
    found = await Addresses().of("model.example")

    assert list(found) == ["2001:db8::1", "192.0.2.1", "2001:db8::2"]


async def test_an_address_is_not_looked_up(asked: list[str]) -> None:
    """A thread for nothing."""
    for address in ("192.0.2.7", "2001:db8::7", "fe80::1%eth0"):
        assert list(await Addresses().of(address)) == [address]

    assert asked == []


async def test_what_was_found_serves_for_a_while(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer: providers move."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    names = Addresses()
    await asyncio.gather(names.of("a.example"), names.of("a.example"), names.of("b.example"))
    await names.of("a.example")
    assert asked == ["a.example", "b.example"]
    monkeypatch.setattr(loop, "time", lambda: now + 11)
    await names.of("a.example")

    assert asked == ["a.example", "b.example", "a.example"]


async def test_one_who_stops_waiting_does_not_end_the_look_up_for_others(asked: list[str]) -> None:
    """Their calls have nothing to do with each other."""
    names = Addresses()
    first = asyncio.ensure_future(names.of("a.example"))
    second = asyncio.ensure_future(names.of("a.example"))
    await turn()
    first.cancel()

    assert await second
    assert asked == ["a.example"]


async def test_a_cancelled_race_leaves_nothing_running(silent: str, port: int) -> None:
    """Neither attempt nor socket."""
    before = asyncio.all_tasks()
    racing = asyncio.ensure_future(race([silent, silent], port, asyncio.Protocol))
    for _ in range(5):
        await turn()
    racing.cancel()
    await asyncio.wait([racing])

    assert racing.cancelled()
    assert asyncio.all_tasks() == before
