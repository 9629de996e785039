"""Sends one answer at its pace, and fails on the way as it is told.

What is billed is noted as it is generated, before it is sent: who cuts a stream still pays for it.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Mapping

from aiohttp import web

from proxy.clock import Clock
from proxy.simulator.answer import Event, Pace
from proxy.simulator.conversation import Dialect
from proxy.simulator.errors import stream_error, stream_failure
from proxy.simulator.faults import Ending, Fault, FaultKind
from proxy.simulator.journal import Entry, Journal

_BREATHE_EVENTS = 32
_LINGER_NOT = struct.pack("ii", 1, 0)
_GARBAGE = b'data: {"id": "chatcmpl-, "choices": [{"del\n\n'


class _Ended(Exception):  # the answer ends here, the way that `how` says
    def __init__(self, how: Ending) -> None:
        self.how = how


class Delivery:
    """The sending of one answer. Used once."""

    def __init__(
        self,
        request: web.BaseRequest,
        entry: Entry,
        journal: Journal,
        clock: Clock,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self._request, self._entry, self._journal, self._clock = request, entry, journal, clock
        self._at = {f.at: f for f in faults if f.kind in _AT_EVENT}
        self._cut = next((f for f in faults if f.kind is FaultKind.CUT_BYTES), None)
        self._response = web.StreamResponse()
        self._response_id = ""

    async def body(
        self, status: int, headers: Mapping[str, str], body: bytes
    ) -> web.StreamResponse:
        """Sends an answer in one piece."""
        await self._start(status, headers, len(body))
        return await self._send_all([Event(body)], Pace(), "chat")

    async def stream(
        self,
        headers: Mapping[str, str],
        events: Iterable[Event],
        pace: Pace,
        dialect: Dialect,
        response_id: str = "",
    ) -> web.StreamResponse:
        """Sends a stream of events, each in a write of its own."""
        self._response_id = response_id
        await self._start(200, headers, None)
        return await self._send_all(events, pace, dialect)

    def reset(self) -> web.StreamResponse:
        """Answers nothing: the connection is reset."""
        self._end("reset")
        return self._response

    async def _start(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        self._response = web.StreamResponse(status=status, headers=headers)
        if length is not None and (self._cut is None or self._cut.how != "eof"):
            self._response.content_length = length
        self._entry.status = status
        await self._response.prepare(self._request)
        self._journal.changed()

    async def _send_all(
        self, events: Iterable[Event], pace: Pace, dialect: Dialect
    ) -> web.StreamResponse:
        try:
            await self._send_events(events, pace, dialect)
        except _Ended as ended:
            if ended.how != "eof":
                self._end(ended.how)
                return self._response
        await self._response.write_eof()
        return self._response

    async def _send_events(self, events: Iterable[Event], pace: Pace, dialect: Dialect) -> None:
        wait = pace.first_token
        for event in events:
            await self._fail_here(dialect)
            if event.content:
                await self._clock.sleep(wait) if wait else None
                wait = pace.chunk_gap
            self._entry.output_tokens += event.tokens
            if event.data:
                await self._write(event.data)
                self._entry.events_sent += 1
                if self._entry.events_sent % _BREATHE_EVENTS == 0:
                    await self._clock.sleep(0)
            self._journal.changed()
        await self._fail_here(dialect)

    async def _fail_here(self, dialect: Dialect) -> None:
        fault = self._at.pop(self._entry.events_sent, None)
        if fault is None:
            return
        match fault.kind:
            case FaultKind.CUT_EVENTS:
                raise _Ended(fault.how)
            case FaultKind.STALL:
                await self._stall(fault.seconds)
            case FaultKind.MALFORMED_SSE:
                await self._write(_GARBAGE)
            case FaultKind.FAILED_EVENT:
                number, told = self._entry.events_sent, (fault.message, fault.code)
                await self._write(stream_failure(dialect, *told, number, self._response_id))
                raise _Ended("eof")
            case _:
                sequence = self._entry.events_sent
                await self._write(stream_error(dialect, fault.message, fault.code, sequence))
                raise _Ended("eof")

    async def _stall(self, seconds: float) -> None:
        if seconds:
            await self._clock.sleep(seconds)
        else:
            await asyncio.Event().wait()  # until the client leaves or the simulator stops

    async def _write(self, data: bytes) -> None:
        if self._cut is not None:
            room = self._cut.at - self._entry.bytes_sent
            if room <= len(data):
                await self._send(data[:room])
                raise _Ended(self._cut.how)
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if data:
            await self._response.write(data)
            self._entry.bytes_sent += len(data)

    def _end(self, how: Ending) -> None:
        """Leaves the HTTP body unfinished: closes the connection, or resets it."""
        transport = self._request.transport
        if transport is None:
            return
        if how == "close":
            transport.close()
            return
        connection = transport.get_extra_info("socket")
        if connection is not None:  # without lingering, closing sends RST instead of FIN
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()


_AT_EVENT = (
    FaultKind.CUT_EVENTS,
    FaultKind.STALL,
    FaultKind.MALFORMED_SSE,
    FaultKind.ERROR_EVENT,
    FaultKind.FAILED_EVENT,
)
