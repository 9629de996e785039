"""The replicas on a ledger that no folder is beside, spoken to by what their store publishes.

Theory of operation. Everybody listens on one channel for all and on one of its own. Who has
something to say publishes it once, with the names of those that are to answer; each answers on the
asker's own channel, under the number of the question. What is published while one's connection is
broken goes unheard: so when it is there again, one looks at what it may have missed (`on_missed`).
That a session has changed (a kill) is also for those who are taken for dead: one whose lease has
ended may only have been stopped for a while, or Redis was away, and its calls are to be cut too.
The workers of one `serve` speak through their sockets, also where answers are long.
Who can publish can write to the ledger: the channel is as trusted as that, but anything that is not
understood is left out, and only what fits in one frame is answered.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from itertools import count
from typing import Final, Protocol

import msgspec

from proxy.errors import StoreUnavailable
from proxy.tasks import Tasks
from proxy.workers.leases import LeasedOwners
from proxy.workers.messages import (
    Arrived,
    BreakersChanged,
    BreakersWanted,
    Message,
    ReloadWanted,
    SessionChanged,
    WhoRuns,
    decode_message,
)
from proxy.workers.peers import ANSWER_SECONDS, FolderPeers, Hear

log = logging.getLogger(__name__)

_ALL: Final = "all"
_MOST_BYTES: Final = 1024 * 1024
_MOST_AT_ONCE: Final = 256
_NONE_OF_OURS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ANSWERED = (SessionChanged, WhoRuns, ReloadWanted, BreakersChanged, BreakersWanted, Arrived)


class _Said(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A question. to: who is to answer. known: whom its sender takes for living."""

    number: int
    by: str
    to: tuple[str, ...]
    message: bytes
    known: tuple[str, ...] = ()


class _Told(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An answer."""

    number: int
    by: str
    frame: bytes


_decode = msgspec.msgpack.Decoder(_Said | _Told).decode
_encode = msgspec.msgpack.Encoder().encode


class Closing(Protocol):
    """What listens."""

    def close(self) -> None: ...


class Bus(Protocol):
    """What a store publishes. See `stores.redis_fleet`."""

    async def publish(self, channel: str, data: bytes) -> None:
        """Raises StoreUnavailable."""

    def listen(
        self,
        channels: Sequence[str],
        on_message: Callable[[bytes], None],
        on_connected: Callable[[], None],
    ) -> Closing: ...


class FleetPeers:
    """As `Peers`. near: the workers of this `serve`. on_missed: the connection was broken, and is
    there again."""

    def __init__(
        self,
        bus: Bus,
        owners: LeasedOwners,
        near: FolderPeers,
        tasks: Tasks,
        on_missed: Callable[[], object] = lambda: None,
    ) -> None:
        self._bus = bus
        self._owners = owners
        self._near = near
        self._tasks = tasks
        self.on_missed = on_missed
        self._numbers = count(1)
        self._asked: dict[int, tuple[set[str], dict[str, bytes], asyncio.Future[None]]] = {}
        self._answering = 0
        self._hear: Hear | None = None
        self._listener: Closing | None = None
        self._connected = asyncio.Event()
        self._is_late = False

    async def listen(self, hear: Hear) -> None:
        """From now on others are heard, as soon as the store is there. Raises StoreUnavailable."""
        await self._near.listen(hear)
        self._hear = hear
        channels = (_ALL, self._owners.name)
        self._listener = self._bus.listen(channels, self._heard, self._is_connected)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._connected.wait()
        except TimeoutError:  # calls begin all the same, and what is said of them goes unheard
            self._is_late = True

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._near.close()

    def others(self) -> list[str]:
        return self._owners.others()

    def crew(self) -> list[str]:
        return self._near.crew()

    def fleet(self) -> list[str]:
        return self.others()

    def follow(self, name: str, message: Message) -> AsyncGenerator[bytes, None]:
        return self._near.follow(name, message)

    async def ask(self, message: Message, whom: list[str]) -> dict[str, bytes]:
        """The answers of those that gave one in time."""
        near = [name for name in self._near.others() if name in whom]
        far = [name for name in whom if name not in near]
        told = await asyncio.gather(self._near.ask(message, near), self._ask(message, far))
        return {**told[0], **told[1]}

    async def _ask(self, message: Message, whom: list[str]) -> dict[str, bytes]:
        if not whom and not isinstance(message, SessionChanged):
            return {}
        number, told = next(self._numbers), dict[str, bytes]()
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[number] = (set(whom), told, answered)
        try:
            living = tuple(self._owners.others())
            said = _Said(number, self._owners.name, tuple(whom), _encode(message), living)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._bus.publish(_ALL, _encode(said))
                if whom:
                    await answered
        except TimeoutError:
            missing = sorted(set(whom) - told.keys())
            log.warning("another process does not answer", extra={"owners": missing})
        except StoreUnavailable as error:
            log.warning("other processes cannot be told", extra={"reason": error.message})
        finally:
            del self._asked[number]
        return told

    def _heard(self, data: bytes) -> None:
        if len(data) > _MOST_BYTES:
            return
        try:
            said = _decode(data)
        except _NONE_OF_OURS:
            log.debug("what was published is not understood")
            return
        match said:
            case _Said():
                self._asked_of(said)
            case _Told():
                self._answered(said)

    def _answered(self, told: _Told) -> None:
        asked = self._asked.get(told.number)
        if asked is None or told.by not in asked[0]:
            return
        whom, answers, answered = asked
        answers[told.by] = told.frame
        if len(answers) == len(whom) and not answered.done():
            answered.set_result(None)

    def _asked_of(self, said: _Said) -> None:
        me = self._owners.name
        if said.by == me or (me not in said.to and not self._is_for_unknown(said)):
            return
        self._owners.seen(said.by)
        if self._answering >= _MOST_AT_ONCE:
            log.warning("too much is asked at once", extra={"owner": said.by})
            return
        self._answering += 1
        self._tasks.spawn(self._answer(said), "answer another process")

    def _is_for_unknown(self, said: _Said) -> bool:
        """It is for those too that its sender takes for dead."""
        if self._owners.name in said.known:
            return False
        with suppress(*_NONE_OF_OURS):
            return isinstance(decode_message(said.message), SessionChanged)
        return False

    async def _answer(self, said: _Said) -> None:
        try:
            message = decode_message(said.message)
            if not isinstance(message, _ANSWERED) or self._hear is None:
                return
            async with aclosing(self._hear(message)) as frames:
                frame = await anext(frames, b"")
            told = _encode(_Told(said.number, self._owners.name, frame))
            await self._bus.publish(said.by, told)
        except (*_NONE_OF_OURS, StoreUnavailable) as error:
            log.debug("another process was not answered", extra={"reason": str(error)})
        finally:
            self._answering -= 1

    def _is_connected(self) -> None:
        if self._connected.is_set() or self._is_late:
            self.on_missed()
        self._connected.set()
