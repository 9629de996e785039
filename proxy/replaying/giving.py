"""Gives a client a recorded answer, and tells it where that is cut short."""

from proxy.core.contents import RecordedAnswer
from proxy.core.decision import Refusal
from proxy.intake import Call
from proxy.retelling import end_frames
from proxy.wire import Exchange, Headers

_PIECE_BYTES = 65_536
_BORDERS = (b"\n\n", b"\r\n\r\n")
"""What ends an event of a stream."""


class Giving:
    """One of them. A stream goes in pieces of whole events: where it is cut, none is broken off."""

    def __init__(self, exchange: Exchange, call: Call, given: RecordedAnswer) -> None:
        self._exchange = exchange
        self._call = call
        self._given = given
        self._at = 0

    async def give(self, headers: Headers) -> None:
        """All of it."""
        exchange, body = self._exchange, self._given.body
        if not self._given.stream:
            await exchange.respond(self._given.status, headers, body)
            return
        await exchange.start(self._given.status, headers)
        while self._at < len(body):
            at, self._at = self._at, _end_of_piece(body, self._at)
            await exchange.write(body[at : self._at])
        await exchange.finish()

    async def cut(self, refusal: Refusal, request_id: str) -> None:
        """Ends what has begun; where its own end is on its way already, with that."""
        body, exchange = self._given.body, self._exchange
        if not self._given.stream:
            exchange.abort()
            return
        if self._at < len(body):
            said = body[: self._at]
            await exchange.write(end_frames(self._call, refusal, request_id, said))
        await exchange.finish()


def _end_of_piece(body: bytes, start: int) -> int:
    """Where the last event ends that is whole in it, or else the first one."""
    end = start + _PIECE_BYTES
    if end >= len(body):
        return len(body)
    found = [(body.rfind(border, start, end), border) for border in _BORDERS]
    if before := [at + len(border) for at, border in found if at >= 0]:
        return max(before)
    found = [(body.find(border, end - len(border)), border) for border in _BORDERS]
    return min([at + len(border) for at, border in found if at >= 0], default=len(body))
