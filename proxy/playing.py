"""Plays a tape to a client from its start, and goes on as it comes."""

from proxy.core.decision import Refusal
from proxy.core.session import SessionState
from proxy.intake import Call
from proxy.retelling import end_frames
from proxy.tapes import Tape
from proxy.wire import Answering
from proxy.wire.headers import without

_DECISION = "x-holdfast-decision"
_REPLAY = "x-holdfast-replay"
_BORDERS = (b"\n\n", b"\r\n\r\n")
"""What ends an event of a stream."""


class Playing:
    """One client's. replay: what it is told of the record."""

    def __init__(
        self, tape: Tape, exchange: Answering, call: Call, request_id: str, replay: str = ""
    ) -> None:
        self._tape = tape
        self._exchange = exchange
        self._call = call
        self._request_id = request_id
        self._replay = replay
        self._given = 0

    async def play(self, _: SessionState) -> bool:
        """False where it ended before it began, or is to come at once and does not come whole: then
        the client was told nothing."""
        tape, exchange = self._tape, self._exchange
        if not await tape.begun() or (tape.is_whole and tape.cut):
            return False
        headers = (*without(tape.headers, _DECISION), (_DECISION, "replay"))
        if self._replay:
            headers = (*without(headers, _REPLAY), (_REPLAY, self._replay))
        if tape.is_whole:
            await exchange.respond(tape.status, headers, tape.said())
            return True
        await exchange.start(tape.status, headers)
        while (chunk := await tape.chunk(self._given)) is not None:
            self._given += 1
            await exchange.write(chunk)
        if tape.cut:
            exchange.abort()
        else:
            await exchange.finish()
        return True

    async def cut(self, refusal: Refusal) -> None:
        """Ends what has begun; where its own end is on its way already, with that."""
        tape, exchange = self._tape, self._exchange
        if tape.is_whole or (tape.cut and tape.is_given(self._given)):
            exchange.abort()
            return
        if not tape.is_given(self._given):
            said = tape.said(self._given)
            frames = end_frames(self._call, refusal, self._request_id, said)
            at_border = not said or said.endswith(_BORDERS)
            await exchange.write(frames if at_border else b"\n\n" + frames)
        await exchange.finish()
