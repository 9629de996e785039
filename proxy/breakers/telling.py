"""What one worker finds of breakers, told to the others."""

from collections.abc import Callable

from proxy.tasks import Tasks
from proxy.workers.messages import BreakerNews, BreakersChanged
from proxy.workers.peers import Peers

Then = Callable[[], None]


class Alone:
    """There is nobody to tell."""

    def tell(self, news: BreakerNews, then: Then) -> None:
        then()


class ToCrew:
    """Tells all that are one gateway. What is found while they are being told goes to them next,
    together: many breakers may open at once."""

    def __init__(self, peers: Peers, tasks: Tasks) -> None:
        self._peers = peers
        self._tasks = tasks
        self._waiting: list[tuple[BreakerNews, Then]] = []
        self._is_telling = False

    def tell(self, news: BreakerNews, then: Then) -> None:
        self._waiting.append((news, then))
        if not self._is_telling:
            self._is_telling = True
            self._tasks.spawn(self._tell_all(), "tell of breakers")

    async def _tell_all(self) -> None:
        try:
            while self._waiting:
                told, self._waiting = self._waiting, []
                try:
                    await self._ask(tuple(news for news, _ in told))
                finally:
                    for _, then in told:
                        then()
        finally:
            self._is_telling = False

    async def _ask(self, news: tuple[BreakerNews, ...]) -> None:
        others = self._peers.fleet()
        if others:
            await self._peers.ask(BreakersChanged(news), others)
