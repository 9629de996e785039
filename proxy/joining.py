"""An SDK's retry after a time-out gets the answer of the attempt that it gave up: paid once.

A client that leaves ends its call at once, for nobody would read the answer. One exception: an SDK
that says how long it waits (`x-stainless-read-timeout`, `-timeout`) and leaves when that time is
over sends the same request again. Where it has seen nothing of the answer yet, the call goes on
without it, onto a tape; the retry (same session, model and body, and a retry by its own count) is
given the tape from its start. Who never comes back costs a call that is ended after `join_seconds`;
after 3 seconds where the SDK did not say how long it waits.

Only a whole answer is kept: what failed is told to the retry that waits for it, and the next one
asks the provider anew. Equal calls of one session have a tape each.

An agent that died and began again in a session that is resumed is given it, too
(`replaying.Replays`): it sends the same as before, but counts no retry.

Of several workers the retry may reach another than its earlier attempt did, which asks the others;
only for a session that is known by its name or history: a first prompt may be somebody else's.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from proxy.calls import LiveCall
from proxy.clock import Clock
from proxy.core.session import SessionKey
from proxy.intake import Call
from proxy.sdk_retries import is_retry, says_its_time, seconds_until_retry
from proxy.tapes import Tape
from proxy.tasks import Tasks
from proxy.wire import Answering, Headers
from proxy.workers.messages import TapeWanted
from proxy.workers.peers import ANSWER_SECONDS, Peers

Name = tuple[SessionKey, str, bool, bytes]


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

    def __init__(
        self,
        clock: Clock,
        peers: Peers,
        tasks: Tasks,
        capacity_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._peers = peers
        self._tasks = tasks
        self.capacity_bytes = capacity_bytes
        self._tapes: dict[Name, list[Tape]] = {}
        self._kept_bytes = 0

    def goes_on(self, call: Call, audience: Audience, live: LiveCall) -> bool:
        """Asked when the client leaves: whether the call goes on, because a retry will come."""
        waited = self._clock.monotonic() - call.received
        seconds = seconds_until_retry(call.head, waited, call.policy.retries.join_seconds)
        if audience.started or live.closed or not seconds:
            return False
        tape = Tape(call.call_id, self._grown)
        tape.promised = says_its_time(call.head)
        self._tapes.setdefault(_name(call), []).append(tape)
        audience.leave(tape)
        self._wait(_name(call), tape, live, seconds)
        return True

    async def owed(self, call: Call) -> Tape | None:
        """The answer that this retry is owed: of several, one that nobody was given yet. Whoever
        takes it gives it back to `let_go`."""
        if not is_retry(call.head):
            return None
        tape = self._claim(_name(call))
        if tape is None and not call.identified.is_new and (crew := self._peers.crew()):
            tape = await self._borrow(call, crew)
        return tape

    async def left(self, call: Call, call_id: str, *, unpromised: bool) -> Tape | None:
        """The answer of that call of the same session, which asked for the same, where its client
        has gone; for its agent, that began again. unpromised: not where an SDK that lives will ask
        for it. Whoever takes it gives it back to `let_go`."""
        tape = self._claim(_name(call), call_id, unpromised=unpromised)
        if tape is None and (crew := self._peers.crew()):
            tape = await self._borrow(call, crew, call_id, unpromised=unpromised)
        return tape

    def let_go(self, tape: Tape) -> None:
        """It is played no more."""
        tape.listeners -= 1
        if tape.source is not None:
            tape.source.cancel()

    async def parts(self, wanted: TapeWanted) -> AsyncGenerator[bytes, None]:
        """What another worker is owed, in the frames of `Tape.parts`; none where nothing is."""
        key = SessionKey(wanted.tenant, wanted.session)
        name = (key, wanted.model, wanted.stream, wanted.body_digest)
        tape = self._claim(name, wanted.call_id, unpromised=wanted.unpromised)
        if tape is None:
            return
        try:
            async with aclosing(tape.parts()) as parts:
                async for part in parts:
                    yield part
        finally:
            self.let_go(tape)

    def _claim(self, name: Name, call_id: str = "", *, unpromised: bool = False) -> Tape | None:
        tapes = [
            tape
            for tape in self._tapes.get(name, ())
            if call_id in ("", tape.call_id) and not (unpromised and tape.promised)
        ]
        tape = min(tapes, key=lambda tape: tape.given, default=None)
        if tape is not None:
            tape.given += 1
            tape.listeners += 1
        return tape

    async def _borrow(
        self, call: Call, crew: list[str], call_id: str = "", *, unpromised: bool = False
    ) -> Tape | None:
        """From the first of the other workers that has it, of those that answer in time."""
        key, request = call.key, call.request
        wanted = TapeWanted(
            *(key.tenant, key.session, call.model, request.stream, request.body_digest),
            call_id,
            unpromised,
        )
        asked = [self._peers.follow(name, wanted) for name in crew]
        tape: Tape | None = None
        try:
            for parts, has_it in zip(
                asked, await asyncio.gather(*map(_has_it, asked)), strict=True
            ):
                if has_it and tape is None:
                    tape = Tape(call.call_id, _not_counted)
                    tape.listeners = 1
                    tape.source = self._tasks.run(tape.take(parts), "take another worker's answer")
                else:
                    await parts.aclose()
        except BaseException:
            for parts in asked:
                with suppress(RuntimeError):  # it is being asked, and ends with that
                    await parts.aclose()
            raise
        return tape

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
    return (call.key, request.model, request.stream, request.body_digest)


async def _has_it(parts: AsyncGenerator[bytes, None]) -> bool:
    """Whether another worker has what it was asked for: a first frame says so."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await anext(parts, None) is not None
    except OSError:  # it has just died, or hangs
        return False


def _not_counted(size_bytes: int) -> None:
    """It is kept elsewhere."""
