"""An SDK's retry after a time-out gets the answer of the attempt that it gave up: paid once.

A client that leaves ends its call at once, for nobody would read the answer. One exception: an SDK
that says how long it waits (`x-stainless-read-timeout`, `-timeout`) and leaves when that time is
over sends the same request again. Where it has seen nothing of the answer yet, the call goes on
without it, onto a tape; the retry (same session, model and body, and a retry by its own count) is
given the tape from its start. Who never comes back costs a call that is ended after `join_seconds`;
after 3 seconds where the SDK did not say how long it waits.

Only a whole answer is kept: what failed is told to the retry that waits for it, and the next one
asks the provider anew. Equal calls of one session have a tape each.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from proxy.calls import LiveCall
from proxy.clock import Clock
from proxy.core.session import SessionKey
from proxy.intake import Call
from proxy.wire import Answering, Head, Headers
from proxy.wire.headers import without

_DECISION = "x-holdfast-decision"
_EARLY = 0.9
_EARLY_SECONDS = 1.0
"""How much before its own time-out a client may seem to leave: its clock started before ours, and
some send whole seconds, rounded down."""
_UNSAID_SECONDS = 3.0
"""For an SDK that retries by itself but does not say how long it waits (openai-node, where the
time-out is the client's): it asks again within 2 seconds, or its user has left."""

Name = tuple[SessionKey, str, bool, bytes]


class Tape:
    """An answer as it is given, for who asks for it again. grown: told how much came.

    given: how many have asked for it. lost: forgotten before it was whole."""

    def __init__(self, call_id: str, grown: Callable[[int], None]) -> None:
        self.call_id = call_id
        self.given = 0
        self.lost = False
        self._grown = grown
        self.status = 0
        self.size_bytes = 0
        self.ended = False
        self.cut = False
        self.listeners = 0
        self._headers: Headers = ()
        self._chunks: list[bytes] = []
        self._is_whole = False
        self._more: asyncio.Future[None] | None = None

    @property
    def is_answer(self) -> bool:
        """Whether a provider's answer is on it, and nothing is known to be missing."""
        return 200 <= self.status < 300 and not self.cut

    def begin(self, status: int, headers: Headers, *, whole: bool) -> None:
        self.status, self._headers, self._is_whole = status, headers, whole
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

    async def play(self, exchange: Answering) -> None:
        """Gives it to a client from its start, and goes on as it comes."""
        while not self.ended and (self._is_whole or not self.status):
            await self._next()
        if not self.status:
            exchange.abort()
            return
        headers = (*without(self._headers, _DECISION), (_DECISION, "replay"))
        if self._is_whole:
            await exchange.respond(self.status, headers, b"".join(self._chunks))
            return
        await exchange.start(self.status, headers)
        given = 0
        while given < len(self._chunks) or not self.ended:
            if given == len(self._chunks):
                await self._next()
                continue
            await exchange.write(self._chunks[given])
            given += 1
        if self.cut:
            exchange.abort()
        else:
            await exchange.finish()

    def _tell(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def _next(self) -> None:
        if self._more is None or self._more.done():
            self._more = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._more)


class Audience:
    """The answer of a call that may lose its client and go on: from then on it is a tape's."""

    def __init__(self, exchange: Answering) -> None:
        self._client = exchange
        self._tape: Tape | None = None
        self.send: Callable[[bytes], bool] = exchange.send
        self.write = exchange.write
        self.drained = exchange.drained

    @property
    def started(self) -> bool:
        return self._client.started if self._tape is None else self._tape.status != 0

    def leave(self, tape: Tape) -> None:
        """The client has gone, and has seen nothing yet."""
        self._tape = tape
        self.send = self._record
        self.write = self._record_soon
        self.drained = self._at_once

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        if self._tape is None:
            await self._client.respond(status, headers, body)
            return
        self._tape.begin(status, headers, whole=True)
        self._tape.add(body)
        self._tape.end()

    async def start(self, status: int, headers: Headers) -> None:
        if self._tape is None:
            await self._client.start(status, headers)
        else:
            self._tape.begin(status, headers, whole=False)

    async def finish(self) -> None:
        if self._tape is None:
            await self._client.finish()
        else:
            self._tape.end()

    def abort(self) -> None:
        if self._tape is None:
            self._client.abort()
        else:
            self._tape.end(cut=True)

    def _record(self, chunk: bytes) -> bool:
        assert self._tape is not None
        self._tape.add(chunk)
        return True

    async def _record_soon(self, chunk: bytes) -> None:
        self._record(chunk)

    async def _at_once(self) -> None:
        return


class Joins:
    """The calls of a process that go on without their client. Bounded: over it the oldest answers
    are forgotten, and their retries paid for."""

    def __init__(self, clock: Clock, capacity_bytes: int = 64 * 1024 * 1024) -> None:
        self._clock = clock
        self.capacity_bytes = capacity_bytes
        self._tapes: dict[Name, list[Tape]] = {}
        self._kept_bytes = 0

    def goes_on(self, call: Call, audience: Audience, live: LiveCall) -> bool:
        """Asked when the client leaves: whether the call goes on, because a retry will come."""
        waited = self._clock.monotonic() - call.received
        seconds = _kept_for(call.head, waited, call.policy.retries.join_seconds)
        if audience.started or live.closed or not seconds:
            return False
        tape = Tape(call.call_id, self._grown)
        self._tapes.setdefault(_name(call), []).append(tape)
        audience.leave(tape)
        self._wait(_name(call), tape, live, seconds)
        return True

    def find(self, call: Call) -> Tape | None:
        """The answer that this retry is owed: of several, one that nobody was given yet."""
        if not self._tapes or call.head.fields.get("x-stainless-retry-count", "0") == "0":
            return None
        return min(self._tapes.get(_name(call), ()), key=lambda tape: tape.given, default=None)

    async def follow(self, tape: Tape, exchange: Answering) -> None:
        """Gives the retry what its earlier attempt comes to."""
        tape.given += 1
        tape.listeners += 1
        try:
            await tape.play(exchange)
        finally:
            tape.listeners -= 1

    def ended(self, call: Call, *, whole: bool) -> None:
        """The call has ended; a whole answer is kept for a while."""
        name = _name(call)
        tape = next((t for t in self._tapes.get(name, ()) if t.call_id == call.call_id), None)
        if tape is None:
            return
        if not tape.ended:
            tape.end(cut=True)
        if not (whole and tape.is_answer):
            self._forget(name, tape)

    def _grown(self, size_bytes: int) -> None:
        """Over the capacity the oldest are lost, but for those that somebody listens to."""
        self._kept_bytes += size_bytes
        if self._kept_bytes <= self.capacity_bytes:
            return
        for name, tape in [(name, tape) for name, tapes in self._tapes.items() for tape in tapes]:
            if not tape.listeners:
                self._forget(name, tape)
                tape.lose()
            if self._kept_bytes <= self.capacity_bytes:
                return

    def _forget(self, name: Name, tape: Tape) -> None:
        tapes = self._tapes.get(name, [])
        if tape in tapes:
            tapes.remove(tape)
            self._kept_bytes -= tape.size_bytes
        if not tapes:
            self._tapes.pop(name, None)

    def __len__(self) -> int:
        return sum(map(len, self._tapes.values()))

    def _wait(self, name: Name, tape: Tape, live: LiveCall, seconds: float) -> None:
        """Looks again in so long, and forgets what nobody has asked for since."""
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._look, name, tape, live, seconds)

    def _look(self, name: Name, tape: Tape, live: LiveCall, seconds: float) -> None:
        if tape.listeners:
            self._wait(name, tape, live, seconds)
            return
        self._forget(name, tape)
        tape.lose()
        if not live.closed:
            with suppress(RuntimeError):  # the loop is closed
                live.task.cancel()


def _name(call: Call) -> Name:
    request = call.request
    return (call.key, call.model, request.stream, request.body_digest)


def _kept_for(head: Head, waited_seconds: float, most_seconds: float) -> float:
    """How long a retry is waited for; 0 where none will come."""
    fields = head.fields
    said = fields.get("x-stainless-read-timeout") or fields.get("x-stainless-timeout")
    if said is None:
        says_nothing = "x-stainless-retry-count" in fields
        return min(most_seconds, _UNSAID_SECONDS) if says_nothing else 0.0
    try:
        seconds = float(said)
    except ValueError:
        return 0.0
    gave_up = waited_seconds >= min(seconds * _EARLY, seconds - _EARLY_SECONDS)
    return most_seconds if gave_up else 0.0
