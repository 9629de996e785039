"""One governed call from its bytes to its settlement: reserve, send, answer, settle."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from msgspec.structs import replace as changed

from proxy.answering import pass_failure_on, respond, take_down
from proxy.attempting.attempting import Attempting, begun_at, ends_with_session
from proxy.attempting.opened import Begun, Refused, Whole
from proxy.call_records import carried_out, refused, replayed
from proxy.calls import Calls, LiveCall
from proxy.clock import Clock
from proxy.core.closed import refuse_closed
from proxy.core.decision import Refusal
from proxy.core.paths import PathParts
from proxy.core.policy import Caller, Limits
from proxy.core.request import DialectName
from proxy.errors import StoreUnavailable, UpstreamUnavailable
from proxy.failures import late, told
from proxy.guard.calls import Guarded
from proxy.guard.requests import brings, is_guarded, refuse_request
from proxy.handoff import tell
from proxy.identity import SessionIndex
from proxy.intake import Call, Intake, PolicySource
from proxy.joining import Audience, Joins
from proxy.ledger import Ledger
from proxy.playing import Playing
from proxy.progress import Progress
from proxy.pump import Pump, spent
from proxy.records import CallRecord
from proxy.replaying.replays import Replays
from proxy.replies import dialect_of, in_session, refusal_of, refusal_reply, send
from proxy.reservation import GRACE_SECONDS, Admitted, Reservation
from proxy.retelling import Retelling
from proxy.settling import Settler
from proxy.stamps import admitted_stamps, refusal_stamps
from proxy.tapes import Tape
from proxy.wire import Answering, Exchange


@dataclass(frozen=True, slots=True)
class Parts:
    """What `Governed` works with; built once, in app.py."""

    policy: PolicySource
    intake: Intake
    ledger: Ledger
    index: SessionIndex
    attempting: Attempting
    calls: Calls
    joins: Joins
    settler: Settler
    guarded: Guarded
    replays: Replays
    retelling: Retelling
    clock: Clock
    new_id: Callable[[], str]
    observe: Callable[[CallRecord], None]


class Governed:
    """Serves governed calls. Shared by all connections."""

    def __init__(self, parts: Parts) -> None:
        self._p = parts

    async def serve(
        self, exchange: Exchange, dialect: DialectName, path: PathParts, request_id: str
    ) -> None:
        """Answers one governed request. Raises MalformedRequest and StoreUnavailable."""
        raw = await exchange.read_body(self._p.policy.current.bounds.body_bytes)
        call = await self._p.intake.understand(exchange.head, path, dialect, raw, self._p.new_id())
        if isinstance(call, Refusal):
            await send(exchange, refusal_reply(call, dialect, request_id))
            self._p.observe(CallRecord.refused(dialect, "reject", call, request_id))
            return
        if (wish := await self._p.replays.wish(call, path)) != "no":
            resumed = await self._p.replays.serve(exchange, call, wish, request_id)
            if resumed is None:
                return
            call = resumed
        tape = await self._p.joins.owed(call)
        if tape is not None and await self._join(exchange, call, tape, request_id):
            return
        live = self._p.calls.open(call.key, call.deadline_seconds, partial(late, call))
        try:
            await self._carry(exchange, call, live, request_id)
        finally:
            self._p.calls.close(live)

    async def _join(self, exchange: Exchange, call: Call, tape: Tape, request_id: str) -> bool:
        """Gives a retry what its earlier attempt comes to, unless the session was closed since.
        False where that came to nothing: it is a call of its own."""
        try:
            state = await self._p.ledger.state(call.key)
            status = call.rules.refusal_status
            if (closed := refuse_closed(status, state, call.key.session)) is not None:
                await self._refuse(exchange, call, closed, request_id)
                return True
            playing = Playing(tape, exchange, call, request_id)
            answered = await self._p.retelling.tell(exchange, call, playing.play, playing.cut)
        finally:
            self._p.joins.let_go(tape)
        if tape.is_answer:
            self._p.index.remember_given(call.key.tenant, call.identified, call.request)
        if answered:
            self._p.observe(replayed(call, tape.status, request_id))
        return answered

    async def _carry(self, exchange: Exchange, call: Call, live: LiveCall, request_id: str) -> None:
        attempting = self._p.attempting
        try:
            aimed = call if attempting.is_open(call) else await attempting.begin(call)
            admitted = aimed if isinstance(aimed, Refusal) else await self._reserve(aimed)
        except asyncio.CancelledError:
            if live.refusal is None or not live.was_cut():
                raise
            admitted = live.refusal  # the ledger takes back what it was about to hold
        if isinstance(admitted, Refusal):
            live.closed = True
            if asks_human(call, admitted):
                admitted = await self._p.ledger.unavailable(self._want(call), admitted)
            await self._refuse(exchange, call, admitted, request_id)
            return
        assert isinstance(aimed, Call)
        self._p.calls.also(live, admitted.above)
        progress = begun_at(aimed, admitted, live, request_id)
        progress.capture = self._p.settler.recorder.capture(call.call_id, call.policy.checkpoints)
        ends_with_session(live, call, admitted, self._p.clock.now())
        if call.request.stream:
            self._p.ledger.calls.may_cut(call.call_id, lambda: live.cut(spent(progress)))
        try:
            audience = Audience(exchange)
            exchange.stays = partial(self._stays, progress, audience)
            await self._run(audience, progress)
        finally:
            exchange.stays = None  # or all that is known of the call waits in a circle for the gc
            self._p.joins.ended(call, whole=progress.outcome is None and progress.refusal is None)
            self._p.observe(carried_out(progress, self._p.clock.monotonic()))

    def _stays(self, progress: Progress, audience: Audience) -> bool:
        """Whether the call goes on though its client has left."""
        call = progress.call
        if goes_on := self._p.joins.goes_on(call, audience, progress.live):
            self._p.index.remember_failure(
                call.key.tenant, call.identified, call.request, client_gone=True
            )
        return goes_on

    async def _reserve(self, call: Call) -> Admitted | Refusal:
        if (refusal := refuse_request(call)) is not None:
            return refusal
        want, checkpoints = self._want(call), call.policy.checkpoints
        recorder = self._p.settler.recorder
        one = recorder.recording(call.key, call.call_id, call.request, call.body, checkpoints)
        if one is not None:
            if one.is_large:
                state, written = await self._p.ledger.before(want)
                await one.prepare(state, written=written)
            want = changed(want, keep=one.keep)
        outcome = await self._p.ledger.reserve(want)
        if isinstance(outcome, Admitted):
            self._p.index.remember_request(call.key.tenant, call.identified, call.request)
        return outcome

    def _want(self, call: Call) -> Reservation:
        return Reservation(
            key=call.key,
            call_id=call.call_id,
            ask=call.ask,
            rules=call.rules,
            budgets=call.policy.budgets,
            agent=call.identified.agent,
            parent=call.identified.parent,
            source=call.identified.source,
            upstream=call.upstream.name,
            deadline_seconds=call.deadline_seconds + GRACE_SECONDS,
            idle_seconds=call.policy.idle_seconds,
            new=call.identified.is_new,
            wait_seconds=call.policy.accounting.wait_seconds,
            limits_of=partial(self._limits_of, call),
            budget_micro_usd=call.own.cost_micro_usd,
            budget_steps=call.own.steps,
            brings=brings(call),
            stream=call.request.stream,
        )

    def _limits_of(self, call: Call, agent: str | None) -> Limits:
        """Those of a session above, which is the same tenant's."""
        caller = Caller(call.key.tenant, agent, call.caller.model)
        return self._p.intake.callers.rules(call.policy, caller).limits

    async def _refuse(
        self, exchange: Exchange, call: Call, refusal: Refusal, request_id: str
    ) -> None:
        state = await self._p.ledger.state(call.key)
        stamps = refusal_stamps(call, state, refusal)
        created = int(self._p.clock.now())
        status = await tell(exchange, call, refusal, request_id, stamps, created)
        self._p.observe(refused(call, refusal, state, request_id, status))

    async def _run(self, exchange: Answering, progress: Progress) -> None:
        """Carries the call out; whatever happens, it is settled exactly once."""
        try:
            await self._attempt(exchange, progress)
        except asyncio.CancelledError:
            refusal = progress.live.refusal
            if refusal is None or not progress.live.was_cut():
                progress.broke("client_left")
                raise
            progress.broke("cut")
            await self._end(exchange, progress, refusal)
        except UpstreamUnavailable as error:
            progress.broke("truncated")
            progress.live.closed = True  # nothing cuts the telling short
            refusal = told(error, progress)
            if not exchange.started and asks_human(progress.call, refusal):
                with suppress(StoreUnavailable):
                    await self._p.settler.settle_broken(progress)
                    refusal = await self._p.ledger.unavailable(self._want(progress.call), refusal)
            await self._end(exchange, progress, refusal)
        except StoreUnavailable as error:
            if not exchange.started:
                raise
            await self._end(exchange, progress, refusal_of(error))
        finally:
            progress.live.closed = True
            await self._p.settler.settle_broken(progress)

    async def _attempt(self, exchange: Answering, progress: Progress) -> None:
        if is_guarded(progress.call, progress.state):
            refusal = await self._p.guarded.carry(exchange, progress)
            if refusal is not None:
                await self._end(exchange, progress, refusal)
            return
        opened = await self._p.attempting.open(progress)
        try:
            match opened:
                case Refused():
                    await pass_failure_on(exchange, progress, opened, self._p.settler)
                case Begun():
                    await self._stream(exchange, progress, opened)
                case Whole():
                    read = opened.read
                    await take_down(progress, opened, opened.body)
                    await self._p.settler.settle_answer(progress, read.usage, read.answer)
                    await respond(exchange, progress, opened, opened.body)
                case _:
                    assert_never(opened)
        finally:
            opened.close()

    async def _stream(self, exchange: Answering, progress: Progress, begun: Begun) -> None:
        progress.shown = begun.meter
        self._p.calls.streams += 1
        try:
            await Pump(exchange, progress, begun.meter, begun).run(self._p.settler)
        finally:
            self._p.calls.streams -= 1

    async def _end(self, exchange: Answering, progress: Progress, refusal: Refusal) -> None:
        """Tells the client that there is no (more) answer, after that has been booked."""
        call = progress.call
        progress.live.closed = True  # nothing cuts the telling short
        refusal = in_session(refusal, call.key.session)
        if refusal.type == "session_state":  # a kill knows the session, not who calls
            refusal = replace(refusal, status=call.rules.refusal_status)
        progress.refusal = refusal
        with suppress(StoreUnavailable):  # the ledger tries again
            await self._p.settler.settle_broken(progress)
        if not exchange.started:
            stamps = admitted_stamps(call, progress.admitted, progress.state)
            created = int(self._p.clock.now())
            await tell(exchange, call, refusal, progress.request_id, stamps, created)
        elif progress.shown is None:
            exchange.abort()
        elif progress.end_forwarded:
            await exchange.finish()
        else:
            frames = dialect_of(call.request.dialect).error_frames(
                refusal,
                progress.request_id,
                client=call.caller.user_agent,
                response_id=progress.shown.answer().response_id,
            )
            await exchange.write(frames if progress.at_border else b"\n\n" + frames)
            await exchange.finish()


def asks_human(call: Call, refusal: Refusal) -> bool:
    """Whether a human decides when a session goes on that nobody serves."""
    if refusal.type == "authentication_error":  # of its own key, which only its caller can mend
        return False
    return call.route.on_unavailable == "handoff" and refusal.code == "upstream_unavailable"
