"""All workers of one `serve` as one: what one is asked at the admin port is true of all.

Each worker serves the admin port, and asks the others for what they alone know. A lone process is
a crew of one: nobody to ask. Processes of another `serve` on the same ledger are no part of it, but
hear of what is decided about sessions, and tell of it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from proxy.admin.live import Live, Watcher
from proxy.breakers.registry import Breakers
from proxy.calls import Calls
from proxy.clock import Clock
from proxy.config.watch import PolicyWatcher, ReloadOutcome
from proxy.core.session import SessionKey
from proxy.counts import (
    Counts,
    Family,
    Sample,
    collected,
    decode_counts,
    encode_counts,
    exposition,
    merged,
    without_gauges,
)
from proxy.errors import StoreUnavailable
from proxy.joining import Joins
from proxy.metrics import Metrics
from proxy.tasks import Tasks
from proxy.workers.messages import (
    Arrived,
    BreakerNews,
    BreakersChanged,
    BreakersKnown,
    BreakersWanted,
    CountsWanted,
    EventsWanted,
    Message,
    Reloaded,
    ReloadWanted,
    Running,
    SessionChanged,
    TapeWanted,
    WhoRuns,
)
from proxy.workers.peers import ANSWER_SECONDS, Peers
from proxy.workers.seat import Seat, number_of

_NOTE_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Crew:
    """refresh: what is known here of a session is read anew. on_arrival: another process has come
    to the ledger. waiting: how many handoffs are open, for all processes together."""

    seat: Seat | None
    peers: Peers
    calls: Calls
    joins: Joins
    metrics: Metrics
    live: Live
    watcher: PolicyWatcher
    breakers: Breakers
    clock: Clock
    tasks: Tasks
    refresh: Callable[[SessionKey], Awaitable[None]]
    on_arrival: Callable[[], None]
    waiting: Callable[[], Awaitable[int]]
    _watching: list["_Watching"] = field(default_factory=list)
    _counted_before: Counts = ()

    async def join(self, name: str) -> None:
        """Hears the others from now on, and tells them so. Raises StoreUnavailable."""
        if self.seat is not None:
            noted = self.seat.shared.board.noted(self.seat.number)
            self._counted_before = without_gauges(decode_counts(noted))
            self.tasks.spawn(self._keep_counts(self.seat), "keep what was counted")
        await self.peers.listen(self.hear)
        others = self.peers.others()
        if others:
            self.on_arrival()
            await self.peers.ask(Arrived(name), others)
        for news in await self._breakers_of_others():
            self.breakers.hear(news)

    async def _keep_counts(self, seat: Seat) -> None:
        while True:
            await self.clock.sleep(_NOTE_SECONDS)
            self._counted(seat)

    def _counted(self, seat: Seat) -> bytes:
        """What this worker has counted, and those before it in its place. What is told is kept: a
        count that was seen never falls."""
        here = (self._counted_before, collected(self.metrics.registry))
        counts = encode_counts(merged(here))
        seat.shared.board.note(seat.number, counts)
        return counts

    async def exposition(self) -> bytes:
        """What all of them counted, with those that have died; for Prometheus."""
        shared = await self._shared()
        if self.seat is None:
            return exposition((*collected(self.metrics.registry), *shared))
        answers = await self.peers.ask(CountsWanted(), self.peers.crew())
        told = {number_of(name): decode_counts(a) for name, a in answers.items() if a}
        told[self.seat.number] = decode_counts(self._counted(self.seat))
        board = self.seat.shared.board
        for number in set(range(board.workers)) - set(told):
            told[number] = without_gauges(decode_counts(board.noted(number)))
        return exposition((*merged(told[number] for number in sorted(told)), *shared))

    async def _shared(self) -> Counts:
        """What the store knows for all; nothing while it is away."""
        with suppress(StoreUnavailable):
            name, text = "holdfast_handoffs_open", "Handoffs that wait for a human."
            return (Family(name, text, "gauge", (Sample(name, (), await self.waiting()),)),)
        return ()

    async def reload(self) -> tuple[ReloadOutcome, str | None]:
        """Every worker reads the policy file now. Refused by one is refused; then also why."""
        mine = Reloaded(self.watcher.reload_now(), self.watcher.last_error)
        answers = await self.peers.ask(ReloadWanted(), self.peers.fleet())
        told = [mine, *(msgspec.msgpack.decode(a, type=Reloaded) for a in answers.values() if a)]
        order: tuple[ReloadOutcome, ...] = ("refused", "applied", "unchanged")
        outcome = next(one for one in order if any(each.outcome == one for each in told))
        return outcome, next((each.error for each in told if each.error), None)

    async def breaker_news(self) -> list[tuple[BreakerNews, ...]]:
        """How breakers stand and what was counted, worker by worker."""
        return [self.breakers.news(), *await self._breakers_of_others()]

    async def _breakers_of_others(self) -> list[tuple[BreakerNews, ...]]:
        answers = await self.peers.ask(BreakersWanted(), self.peers.fleet())
        decode = msgspec.msgpack.decode
        return [decode(answer, type=BreakersKnown).news for answer in answers.values() if answer]

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Watcher]:
        """Events of all workers, of those too that come later."""
        with self.live.watch() as watcher:
            watching = _Watching(watcher)
            self._watching.append(watching)
            try:
                for name in self.peers.crew():
                    await self._follow(watching, name)
                yield watcher
            finally:
                self._watching.remove(watching)
                await watching.tasks.close()

    async def _follow(self, watching: "_Watching", name: str) -> None:
        """Returns once the events of that worker are under way."""
        if name in watching.followed:
            return
        watching.followed.add(name)
        events = self.peers.follow(name, EventsWanted())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await anext(events, b"")
        except OSError:  # it has just died, or hangs
            await events.aclose()
            return
        watching.tasks.spawn(_pass_on(events, watching.watcher), "follow a worker's events")

    async def hear(  # noqa: C901 - the arms of a match over a closed union count as one
        self, message: Message
    ) -> AsyncGenerator[bytes, None]:
        """Answers another process."""
        match message:
            case SessionChanged():
                yield await self._session_changed(message)
            case WhoRuns():
                running = self.calls.keys(message.session, message.tenant)
                yield msgspec.msgpack.encode(Running(tuple(key.tenant for key in running)))
            case CountsWanted():
                yield self._counted(self.seat) if self.seat is not None else b""
            case ReloadWanted():
                told = Reloaded(self.watcher.reload_now(), self.watcher.last_error)
                yield msgspec.msgpack.encode(told)
            case BreakersChanged():
                self.breakers.hear(message.news)
                yield b""
            case BreakersWanted():
                yield msgspec.msgpack.encode(BreakersKnown(self.breakers.news()))
            case Arrived():
                yield await self._arrived(message.name)
            case TapeWanted():
                async with aclosing(self.joins.parts(message)) as parts:
                    async for part in parts:
                        yield part
            case EventsWanted():
                with self.live.watch() as watcher:
                    yield b""
                    while True:
                        yield await watcher.next()
            case _:
                assert_never(message)

    async def _session_changed(self, message: SessionChanged) -> bytes:
        key = SessionKey(message.tenant, message.session)
        if message.refusal is not None:
            self.calls.cut_session(key, message.refusal)
        with suppress(StoreUnavailable):  # then nothing is admitted either
            await self.refresh(key)
        return b""

    async def _arrived(self, name: str) -> bytes:
        self.on_arrival()
        if name in self.peers.crew():
            for watching in tuple(self._watching):
                await self._follow(watching, name)
        return b""


class _Watching:
    """One who watches all workers. followed: those whose events come, or did until they died."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.followed: set[str] = set()
        self.tasks = Tasks()


async def _pass_on(events: AsyncGenerator[bytes, None], watcher: Watcher) -> None:
    with suppress(OSError):
        async with aclosing(events):
            async for line in events:
                watcher.put(line)
