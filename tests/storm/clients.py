"""Clients of a storm: an open loop that never waits for answers, and one call after another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from tests.soak.calls import PATH, Caller, message, pause, request
from tests.soak.source import length_of


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it was made, how long until its answer was whole, and whose it was; `by`
    is empty where it is an error."""

    at: float
    status: int
    by: str
    seconds: float


class _Caller(Caller):
    """Reads streams as well: they are over with their last chunk."""

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if b"chunked" not in head.lower():
            whole = found and len(body) >= length_of(head)
        else:
            whole = body.endswith(b"0\r\n\r\n")
        if whole and not self._answer.done():
            self._came = b""
            self._answer.set_result((int(head[9:12]), body))


class Callers:
    """Kept connections, as many as there are calls at once."""

    def __init__(self, port: int, sessions: int = 200) -> None:
        self._port = port
        self._sessions = sessions
        self._free: list[_Caller] = []
        self._number = 0
        self.calls: list[Call] = []

    async def call(self, *, stream: bool = False) -> Call:
        """Makes one call, of one of the sessions in turn."""
        self._number += 1
        number = self._number
        caller = self._free.pop() if self._free else _Caller(self._port)
        said = message("user", b"question %d" % number)
        target = f"/s/storm-{number % self._sessions}{PATH}"
        began = perf_counter()
        try:
            status, body = await caller.call(request(target, (said,), stream=stream))
        except ConnectionError:
            status, body = 0, b""
        else:
            self._free.append(caller)
        by = next((n for n in ("first", "second") if b'"%b"' % n.encode() in body), "")
        made = Call(began, status, by if status == 200 else "", perf_counter() - began)
        self.calls.append(made)
        return made

    async def at_rate(self, per_second: float, seconds: float, *, stream: bool = False) -> None:
        """An open loop: so many a second, whatever becomes of them; returns when all are over."""
        running: set[asyncio.Future[Call]] = set()
        began = perf_counter()
        for index in range(int(per_second * seconds)):
            due = began + index / per_second
            if (wait := due - perf_counter()) > 0:
                await pause(wait)
            call = asyncio.ensure_future(self.call(stream=stream))
            running.add(call)
            call.add_done_callback(running.discard)
        if running:
            await asyncio.wait(running)

    def close(self) -> None:
        """Leaves."""
        for caller in self._free:
            caller.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
