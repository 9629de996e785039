"""Answers of a provider that is asked in another dialect than the client's, in the client's.

Whoever reads such an answer sees nothing of the other dialect: not its stream, not its headers, not
its errors.
"""

from collections.abc import AsyncIterator, Callable

from proxy.core.translation.base import StreamTranslation, Translation
from proxy.errors import UpstreamUnavailable
from proxy.failures import malformed
from proxy.wire import Headers, Incoming
from proxy.wire.headers import get, media_type

_OF_THE_BODY = frozenset({"content-length", "content-encoding", "content-type", "content-md5"})
"""Headers that are true of its bytes alone, in any case."""
_JSON = "application/json"
_EVENTS = "text/event-stream"
_MOST_BYTES = 64 * 1024 * 1024
"""Of an answer that nobody bounds."""


def translated(
    incoming: Incoming, translation: Translation, asked: bytes, created: int
) -> Incoming:
    """The same answer in the client's dialect. asked: the client's request. created: when that was,
    in seconds since 1970.

    Raises UpstreamUnavailable, and closes it, where it is compressed: that was not asked for."""
    if get(incoming.headers, "content-encoding") not in (None, "", "identity"):
        incoming.close()
        raise malformed("it compressed an answer that was not asked to be")
    if 200 <= incoming.status < 300 and media_type(incoming.headers) == _EVENTS:
        return _Stream(incoming, translation.stream(asked, created=created))
    return _Whole(incoming, translation, asked, created)


class _Passing:
    """What both kinds leave to the answer itself."""

    def __init__(self, incoming: Incoming, kind: str) -> None:
        self.status = incoming.status
        self.headers = _headers(incoming.headers, kind)
        self._incoming = incoming
        self._over = False

    def unread_part(self) -> float:
        return self._incoming.unread_part()

    def release(self) -> None:
        self._incoming.release()

    def expect_more_within(self, seconds: float) -> None:
        self._incoming.expect_more_within(seconds)

    def close(self) -> None:
        self._incoming.close()


class _Stream(_Passing):
    """Implements `Incoming`."""

    def __init__(self, incoming: Incoming, stream: StreamTranslation) -> None:
        super().__init__(incoming, _EVENTS)
        self._stream = stream

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._incoming.chunks():
            if told := self._stream.feed(chunk):
                yield told
        if told := self._end():
            yield told

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """What comes of the end is taken like any other piece; after it there is nothing more."""

        def taken(chunk: bytes) -> bool:
            told = self._stream.feed(chunk)
            return take(told) if told else True

        if self._over:
            return False
        try:
            if await self._incoming.pass_on(taken):
                return True
        except UpstreamUnavailable:
            if told := self._end():  # figures that are known so far, and no end
                take(told)
            raise
        told = self._end()
        return bool(told) and not take(told)

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        await self._incoming.take_arrived(lambda chunk: take(self._stream.feed(chunk)))
        take(self._end())  # figures that are known so far

    async def read(self, limit_bytes: int) -> bytes:
        body = self._stream.feed(await self._incoming.read(limit_bytes))
        return body + self._end()

    def _end(self) -> bytes:
        self._over = True
        return self._stream.close()


class _Whole(_Passing):
    """Implements `Incoming`: an answer that is no stream, or an error. It is read whole first."""

    def __init__(
        self, incoming: Incoming, translation: Translation, asked: bytes, created: int
    ) -> None:
        super().__init__(incoming, _JSON)
        self._translation = translation
        self._asked = asked
        self._created = created

    async def chunks(self) -> AsyncIterator[bytes]:
        yield await self.read(_MOST_BYTES)

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        if self._over:
            return False
        return not take(await self.read(_MOST_BYTES))

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        """A part of it cannot be told."""

    async def read(self, limit_bytes: int) -> bytes:
        body = await self._incoming.read(limit_bytes)
        self._over = True
        if 200 <= self.status < 300:
            return self._translation.answer(body, asked=self._asked, created=self._created)
        return self._translation.error(self.status, body)


def _headers(headers: Headers, kind: str) -> Headers:
    kept = tuple([(name, value) for name, value in headers if name.lower() not in _OF_THE_BODY])
    return (*kept, ("content-type", kind))
