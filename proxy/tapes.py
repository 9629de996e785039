"""An answer as it is given, for who asks for it again: in this process or, in parts, in another."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

import msgspec

from proxy.wire import Headers

_PART_BYTES = 1024 * 1024


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The head of an answer; `whole`: its body comes at once."""

    status: int
    headers: Headers
    whole: bool


class Came(msgspec.Struct, frozen=True, tag=True):
    """Some of its body."""

    chunk: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """Nothing follows. cut: it is not whole."""

    cut: bool


Part: TypeAlias = Begun | Came | Ended
_PARTS: msgspec.msgpack.Decoder[Part] = msgspec.msgpack.Decoder(Part)
_encoded = msgspec.msgpack.encode


class Tape:
    """One of them. grown: told how much came.

    promised: its client is sure to ask again. given: how many have asked for it. lost: nobody will
    be given it. source: where its parts come from, if another process has the answer."""

    source: "asyncio.Task[None] | None" = None

    def __init__(self, call_id: str, grown: Callable[[int], None]) -> None:
        self.call_id = call_id
        self.promised = False
        self.given = 0
        self.lost = False
        self._grown = grown
        self.status = 0
        self.size_bytes = 0
        self.ended = False
        self.cut = False
        self.listeners = 0
        self.headers: Headers = ()
        self._chunks: list[bytes] = []
        self.is_whole = False
        self._more: asyncio.Future[None] | None = None

    @property
    def is_answer(self) -> bool:
        """Whether a provider's answer is on it, and nothing is known to be missing."""
        return 200 <= self.status < 300 and not self.cut

    def begin(self, status: int, headers: Headers, *, whole: bool) -> None:
        self.status, self.headers, self.is_whole = status, headers, whole
        self._tell()

    def add(self, chunk: bytes) -> None:
        if self.lost:
            return
        self._chunks.append(chunk)
        self.size_bytes += len(chunk)
        self._grown(len(chunk))
        self._tell()

    def lose(self) -> None:
        """Nobody will be given it: what came is let go, and what comes."""
        self.lost = True
        self._chunks.clear()

    def end(self, *, cut: bool = False) -> None:
        """Nothing follows. cut: it is not whole."""
        self.ended, self.cut = True, self.cut or cut
        self._tell()

    async def begun(self) -> bool:
        """Waits until it can be given, what is whole as a whole; False where it ended before."""
        while not self.ended and (self.is_whole or not self.status):
            await self._next()
        return self.status != 0

    async def chunk(self, at: int) -> bytes | None:
        """Waits for it; None where the answer ends before."""
        while at >= len(self._chunks) and not self.ended:
            await self._next()
        return self._chunks[at] if at < len(self._chunks) else None

    def said(self, chunks: int | None = None) -> bytes:
        """The first so many in a row, or all."""
        return b"".join(self._chunks[:chunks])

    def is_given(self, chunks: int) -> bool:
        """Whether nothing follows on so many."""
        return self.ended and chunks == len(self._chunks)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """The same for another process, that plays it there: frames, of which the first says only
        that there is something to come."""
        yield b""
        while not (self.ended or self.status):
            await self._next()
        if self.status:
            yield _encoded(Begun(self.status, self.headers, self.is_whole))
        given = 0
        while (chunk := await self.chunk(given)) is not None:
            given += 1
            for start in range(0, len(chunk), _PART_BYTES):
                yield _encoded(Came(chunk[start : start + _PART_BYTES]))
        yield _encoded(Ended(self.cut))

    async def take(self, parts: AsyncGenerator[bytes, None]) -> None:
        """Plays what another process's `parts` says onto this tape; what ends early is cut."""
        try:
            async for part in parts:
                match _PARTS.decode(part):
                    case Begun(status, headers, whole):
                        self.begin(status, headers, whole=whole)
                    case Came(chunk):
                        self.add(chunk)
                    case Ended(cut):
                        self.end(cut=cut)
        except (OSError, msgspec.DecodeError):
            pass
        finally:
            await parts.aclose()
            if not self.ended:
                self.end(cut=True)

    def _tell(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def _next(self) -> None:
        if self._more is None or self._more.done():
            self._more = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._more)
