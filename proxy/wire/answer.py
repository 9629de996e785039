"""A provider's answer as its caller reads it: the `Incoming` that `UpstreamPool.send` returns.

The connection feeds it segments, and who reads waits for one of two things:

    progress    the head, or any piece of the body (`begun`, `chunks`)
    the end     all of it, or a fault (`read`, `pass_on`): no chunk wakes a task

Where nobody reads, pieces wait here, and beyond a bound the provider is made to wait. What came
before a fault is given before the fault is raised.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from proxy.errors import UpstreamUnavailable
from proxy.wire.parsing import AnswerParser, MalformedAnswer
from proxy.wire.turns import turn_of

_ROOM_BYTES: Final = 65_536
_MOST_TURNS: Final = 32
"""Of the loop, each of which reads some 256 KB: more than a socket's buffer has room for."""
_LEAST_TURNS: Final = 3
"""Until what a transport reads first, or has decrypted while it was paused, is here."""
_QUIET_SECONDS: Final = 0.1
_BACKLOG_SECONDS: Final = 0.5
"""How long the provider's own buffers may take to come, of a stream that was not read for long:
until nothing came for so many seconds, and no longer than that."""


class Link(Protocol):
    """What an answer needs of its connection, until it is over."""

    paused: bool

    def pause(self) -> None:
        """Reads no more; no error if it does not already."""

    def resume(self) -> None:
        """Reads again."""

    def expect_more_within(self, seconds: float) -> None:
        """The idle time-out of this answer's rest, where it is shorter."""

    def has_unread(self) -> bool:
        """Whether the kernel has bytes of it that nobody has read."""

    def unread_bytes(self) -> int:
        """How many of them."""

    def cut(self) -> None:
        """Ends the connection: the rest of the answer is not wanted."""


class Answer(AnswerParser):
    """Fed by one connection and read by one task. A subclass of its parser, not its owner: a second
    object and call a segment would cost a twentieth of the whole."""

    __slots__ = (
        "_authority",
        "_came_bytes",
        "_collecting",
        "_counted",
        "_declined",
        "_link",
        "_loop",
        "_patient",
        "_room_bytes",
        "_take",
        "_waiter",
        "_waiting_bytes",
        "fault",
        "over",
    )

    def __init__(
        self,
        link: Link,
        authority: str,
        names: dict[bytes, str],
        loop: asyncio.AbstractEventLoop,
        *,
        bodiless: bool = False,
    ) -> None:
        super().__init__(names, bodiless=bodiless)
        self.over = False
        self.fault: BaseException | None = None
        self._link = link
        self._authority = authority
        self._loop = loop
        self._take: Callable[[bytes], bool] | None = None
        self._declined = False
        self._waiter: asyncio.Future[None] | None = None
        self._patient = False
        self._collecting = False
        self._came_bytes = 0
        self._counted = 0
        self._waiting_bytes = 0
        self._room_bytes = _ROOM_BYTES

    def feed(self, data: bytes) -> None:
        """The next segment of the connection; `over` says whether it was the last."""
        self._came_bytes += len(data)
        try:
            self.parse(data)
        except MalformedAnswer as exc:
            message = f"{self._authority}: the answer is not HTTP: {exc}"
            self.fault = UpstreamUnavailable(message, kind="malformed")
        take, pieces = self._take, self.pieces
        if take is None:
            self._count()
        elif pieces:
            self._hand_over(take, pieces)
        if self.whole or self.fault is not None:
            self.end()
        elif not self._patient:
            self._wake()

    def end(self, fault: BaseException | None = None) -> None:
        """Nothing more will come, for this reason if it should have."""
        if self.over:
            return
        self.over = True
        self.fault = self.fault or fault
        self._take = None
        self.done()
        self._wake()

    async def begun(self) -> None:
        """Waits for the head. Raises UpstreamUnavailable."""
        while not (self.status or self.over):
            await self._wait(patient=False, closes=False)
        if not self.status:
            self._raise_fault()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what came before a cut comes before its error."""
        while True:
            if self.pieces:
                yield self._drained()
            elif self.over:
                self._raise_fault()
                return
            else:
                await self._wait(patient=False)

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """Hands the body to `take` segment by segment, until it says False or the body ends."""
        if self.pieces and not take(self._drained()):
            return True
        self._declined = False
        while not (self.over or self._declined):
            self._take = take
            await self._wait(patient=True, closes=False)
        if self._declined:
            return True
        self._raise_fault()
        return False

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        """See `Incoming.take_arrived`."""
        if self.pieces:
            take(self._drained())
        if not self.over:  # else its connection may have another call on it
            await self._read_arrived(take)

    def unread_part(self) -> float:
        """See `Incoming.unread_part`."""
        unread = sum(map(len, self.pieces))
        read = self._came_bytes - unread
        if not self.over:
            unread += self._link.unread_bytes()
        return unread / read if read > 0 else 0.0

    async def _read_arrived(self, take: Callable[[bytes], object]) -> None:
        came = 0

        def taken(piece: bytes) -> bool:
            nonlocal came
            came += 1
            take(piece)
            return True

        self._take = taken
        was_paused = self._link.paused
        self._link.resume()
        for number in range(_MOST_TURNS):
            if self.over or (number >= _LEAST_TURNS and not self._link.has_unread()):
                break
            await turn_of(self._loop)
        if was_paused:
            until, before = self._loop.time() + _BACKLOG_SECONDS, -1
            while not self.over and before < came and self._loop.time() < until:
                before = came
                await turn_of(self._loop, _QUIET_SECONDS)
        self._take = None

    def release(self) -> None:
        """Ends the `pass_on` that waits, as if its `take` had said False."""
        if self._take is not None:
            self._take = None
            self._declined = True
            self._wake()

    def expect_more_within(self, seconds: float) -> None:
        """See `Incoming.expect_more_within`."""
        if not self.over:
            self._link.expect_more_within(seconds)

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body, or UpstreamUnavailable (kind malformed) when it is larger."""
        if not self.over:
            self._collecting = True
            self._room_bytes = limit_bytes
            self._count()
        while not (self.over or self.fault is not None):
            await self._wait(patient=True)
        body = self._drained()
        if self.fault is None and len(body) > limit_bytes:
            self.fault = self._too_large(limit_bytes)
        if self.fault is not None:
            try:
                raise self.fault
            finally:
                self.close()
        return body

    def close(self) -> None:
        """Ends the exchange; the connection is cut if the answer was not whole. Read no more: its
        fault is forgotten, for an error is in a circle with what keeps it and has raised it."""
        if not self.over:
            self.end()
            self._link.cut()
        self.pieces.clear()
        self.fault = None

    def _hand_over(self, take: Callable[[bytes], bool], pieces: list[bytes]) -> None:
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        try:
            more = take(body)
        except BaseException as exc:
            self.fault = exc
            return
        if not more:
            self._take = None
            self._declined = True
            self._wake()

    def _count(self) -> None:
        """What waits for a reader has a bound: beyond it the provider waits, or the read fails."""
        if self.whole:
            return
        new = self.pieces[self._counted :]
        self._counted += len(new)
        self._waiting_bytes += sum(map(len, new))
        if self._waiting_bytes <= self._room_bytes:
            return
        if self._collecting:
            self.fault = self._too_large(self._room_bytes)
        else:
            self._link.pause()

    def _drained(self) -> bytes:
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._counted = self._waiting_bytes = 0
        return data

    async def _wait(self, *, patient: bool, closes: bool = True) -> None:
        """closes: a cancelled call leaves no connection behind; else its caller sees to that, who
        may want what has arrived."""
        self._patient = patient
        if self._link.paused:
            self._link.resume()
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            self._take = None
            if closes:
                self.close()
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _too_large(self, limit_bytes: int) -> UpstreamUnavailable:
        message = f"{self._authority}: the answer is larger than {limit_bytes} bytes"
        return UpstreamUnavailable(message, kind="malformed")

    def _raise_fault(self) -> None:
        if self.fault is not None:
            raise self.fault
