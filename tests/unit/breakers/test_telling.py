"""What one worker finds reaches the others, together."""

from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from proxy.breakers.breaker import Shut
from proxy.breakers.telling import Alone, ToCrew
from proxy.core.breaking import Standing
from proxy.tasks import Tasks
from proxy.workers.messages import BreakerNews, BreakersChanged, Message, decode_message
from proxy.workers.owners import FolderOwners
from proxy.workers.peers import FolderPeers
from tests.fakes import turns
from tests.unit.breakers.kit import Kit, candidate

NEWS = BreakerNews("openai", "gpt-5", b"", True, Standing(1, False, True, float("inf"), 1, "key"))


class FakePeers:
    """Others that answer when they are let."""

    def __init__(self, others: list[str]) -> None:
        self.others, self.asked = others, list[BreakersChanged]()
        self.fails = False

    def fleet(self) -> list[str]:
        return self.others

    async def ask(self, message: BreakersChanged, whom: list[str]) -> dict[str, bytes]:
        await turns(3)
        if self.fails:
            raise RuntimeError("a bug")
        self.asked.append(message)
        return dict.fromkeys(whom, b"")


def test_alone_there_is_nobody_to_wait_for() -> None:
    told: list[int] = []
    Alone().tell(NEWS, lambda: told.append(1))

    assert told == [1]


async def test_what_is_found_meanwhile_goes_together() -> None:
    peers, told = FakePeers(["1.0-a"]), list[int]()
    telling = ToCrew(peers, Tasks())  # type: ignore[arg-type] # stands in for sockets
    for number in range(5):
        telling.tell(NEWS, lambda number=number: told.append(number))  # type: ignore[misc]
    assert told == []
    await turns(1)
    telling.tell(NEWS, lambda: told.append(5))
    await turns(20)

    assert told == [0, 1, 2, 3, 4, 5]
    assert [len(message.news) for message in peers.asked] == [5, 1]


async def test_whoever_waits_is_called_though_nobody_could_be_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A place that was never given back would keep a provider shut."""
    peers, told = FakePeers(["1.0-a"]), list[int]()
    peers.fails = True
    tasks = Tasks()
    telling = ToCrew(peers, tasks)  # type: ignore[arg-type] # stands in for sockets
    telling.tell(NEWS, lambda: told.append(1))
    await tasks.settle()
    assert told == [1]
    peers.fails = False
    telling.tell(NEWS, lambda: told.append(2))
    await tasks.settle()

    assert told == [1, 2]
    assert [record.message for record in caplog.records] == [
        "background task failed: tell of breakers"
    ]


async def test_news_come_as_they_were_sent(tmp_path: Path) -> None:
    """Over real sockets, an endless wait as well; the other worker acts on them."""
    mine, others = FolderOwners(tmp_path, "1.0-a"), FolderOwners(tmp_path, "1.1-b")
    tasks, kit = Tasks(), Kit()
    hearing = FolderPeers(others, "1")

    async def hear(message: Message) -> AsyncGenerator[bytes, None]:
        assert isinstance(message, BreakersChanged)
        kit.breakers.hear(message.news)
        yield b""

    mine.claim()
    others.claim()
    await hearing.listen(hear)
    ToCrew(FolderPeers(mine, "1"), tasks).tell(NEWS, lambda: None)
    await tasks.settle()
    await hearing.close()
    for owner in (mine, others):
        owner.leave(settled=True)

    assert kit.breakers.closed_to(candidate(), None) == Shut("key", float("inf"))
    assert kit.breakers.news()[0].standing == NEWS.standing


def test_a_message_is_decoded_as_what_it_is() -> None:
    message = BreakersChanged((NEWS,))
    assert decode_message(msgspec.msgpack.encode(message)) == message
