"""Processes that speak to each other, here all in one."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from proxy.core.decision import LimitFacts, Refusal
from proxy.errors import StoreUnavailable
from proxy.workers.messages import (
    Arrived,
    CountsWanted,
    EventsWanted,
    Message,
    SessionChanged,
    WhoRuns,
)
from proxy.workers.owners import FolderOwners, socket_of
from proxy.workers.peers import FolderPeers

Join = Callable[[str], Awaitable[tuple[FolderPeers, list[Message]]]]


@pytest.fixture
async def join(tmp_path: Path) -> AsyncIterator[Join]:
    """Processes that hear, each with what it has heard; closed at the end."""
    joined: list[FolderPeers] = []

    async def joins(name: str) -> tuple[FolderPeers, list[Message]]:
        heard: list[Message] = []

        async def hear(message: Message) -> AsyncGenerator[bytes, None]:
            heard.append(message)
            yield name.encode()
            if isinstance(message, EventsWanted):
                for number in range(3):
                    yield b"%d" % number
                await asyncio.Event().wait()

        owners = FolderOwners(tmp_path / "owners", name)
        owners.claim()
        peers = FolderPeers(owners, name.partition(".")[0])
        await peers.listen(hear)
        joined.append(peers)
        return peers, heard

    yield joins
    for peers in joined:
        await peers.close()


@pytest.mark.parametrize(
    "message",
    [
        SessionChanged("t", "s"),
        SessionChanged(
            "t",
            "s",
            Refusal(422, "session_killed", "session_state", "Ended.", LimitFacts("s", used=1.5)),
        ),
        WhoRuns("s"),
        WhoRuns("s", "t"),
        Arrived("2-b"),
        CountsWanted(),
    ],
)
async def test_what_is_said_is_heard(join: Join, message: Message) -> None:
    """By everyone else on the ledger, once, and as it was said."""
    one, heard_by_one = await join("1-a")
    _, heard_by_two = await join("2-b")
    _, heard_by_three = await join("3-c")

    answers = await one.ask(message, one.others())
    assert answers == {"2-b": b"2-b", "3-c": b"3-c"}
    assert (heard_by_one, heard_by_two, heard_by_three) == ([], [message], [message])


async def test_the_crew_are_the_workers_of_one_supervisor(join: Join) -> None:
    """One whose name only begins alike is none of them."""
    one, _ = await join("1-a.0-x")
    for name in ("1-a.1-y", "1-ab.0-z", "2-b.1-y"):
        await join(name)

    assert one.crew() == ["1-a.1-y"]
    assert len(one.others()) == 3


async def test_an_answer_is_followed_until_one_has_heard_enough(join: Join) -> None:
    one, _ = await join("1-a")
    two, _ = await join("2-b")
    said = one.follow("2-b", EventsWanted())

    assert [await anext(said) for _ in range(4)] == [b"2-b", b"0", b"1", b"2"]
    await said.aclose()
    while two._serving:
        await asyncio.wait(tuple(two._serving))


async def test_the_dead_do_not_keep_the_living_from_being_heard(join: Join, tmp_path: Path) -> None:
    """A socket stays in its folder until its owner's holds are booked."""
    one, _ = await join("1-a")
    await join("2-b")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "owners" / "9-f.sock"))

    assert one.others() == ["2-b", "9-f"]
    assert await one.ask(CountsWanted(), one.others()) == {"2-b": b"2-b"}


async def test_one_that_hangs_is_not_waited_for(
    join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill must reach the others, and its answer the human."""
    monkeypatch.setattr("proxy.workers.peers.ANSWER_SECONDS", 0.01)
    one, _ = await join("1-a")
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / "owners" / "9-f.sock"))
        hangs.listen()

        assert await one.ask(CountsWanted(), ["9-f"]) == {}


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\1\xc1", b"\xff\xff\xff\xff", b"\0\0\0\1"])
async def test_what_is_not_understood_is_not_answered(
    join: Join, tmp_path: Path, said: bytes
) -> None:
    """Another version may say what is new; whoever says nonsense ends nothing."""
    _, heard = await join("1-a")
    two, _ = await join("2-b")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "owners" / "1-a.sock")
    writer.write(said)
    writer.write_eof()

    assert await reader.read() == b""
    writer.close()
    assert heard == []
    assert await two.ask(CountsWanted(), ["1-a"]) == {"1-a": b"1-a"}


async def test_a_path_longer_than_the_kernel_takes_is_gone_around(tmp_path: Path) -> None:
    """The ledger may lie deep in a volume: a socket's address has 108 bytes."""
    folder = tmp_path / ("deep" * 30) / "owners"

    async def hear(message: Message) -> AsyncGenerator[bytes, None]:
        yield b"heard"

    both = []
    for name in ("1-a", "2-b"):
        owners = FolderOwners(folder, name)
        owners.claim()
        both.append(FolderPeers(owners, name))
        await both[-1].listen(hear)

    assert (folder / socket_of("1-a")).is_socket()
    assert await both[0].ask(CountsWanted(), both[0].others()) == {"2-b": b"heard"}
    for peers in both:
        await peers.close()


async def test_where_no_socket_can_be_made_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "1-a.sock").write_text("")
    owners = FolderOwners(tmp_path, "1-a")
    owners.claim()

    async def hear(message: Message) -> AsyncGenerator[bytes, None]:
        yield b""

    with pytest.raises(StoreUnavailable, match="put the ledger on a local disk"):
        await FolderPeers(owners, "1-a").listen(hear)


async def test_with_a_ledger_in_memory_nobody_else_is_there() -> None:
    async def hear(message: Message) -> AsyncGenerator[bytes, None]:
        yield b""

    peers = FolderPeers(FolderOwners(None, "1-a"), "1-a")
    await peers.listen(hear)

    assert await peers.ask(CountsWanted(), peers.others()) == {}
    await peers.close()
