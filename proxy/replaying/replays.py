"""Gives recorded answers again: what is due is decided, written down, and given.

Theory of operation. What a call is due is decided on the session's log (`core.replaying`): what was
answered, and what this life of the agent was given of it. The decision is written down before the
answer is given, on the state that it was made on, so that of several calls at once, in any process,
no two are given one answer that was recorded once. Nothing is reserved and nothing is spent. What
is not in the record, or may not be given again, goes on as an ordinary call, which is told why.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec.structs import replace

from proxy.call_records import given_again
from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.closed import refuse_closed
from proxy.core.memo import Memo
from proxy.core.paths import PathParts
from proxy.core.recording import chain_of
from proxy.core.session import SessionState, is_idle
from proxy.errors import MalformedRequest, StoreUnavailable
from proxy.intake import Call
from proxy.joining import Joins
from proxy.ledger import Ledger
from proxy.playing import Playing
from proxy.records import CallRecord
from proxy.replaying.giving import Giving
from proxy.replaying.judging import Asked, Judge, Verdict
from proxy.replaying.sessions import ResumedSession, ResumedSessions
from proxy.retelling import Retelling
from proxy.sdk_retries import is_retry
from proxy.stamps import relayed_headers, replayed_stamps
from proxy.stores import StoreAway
from proxy.tapes import Tape
from proxy.wire import Connection, Exchange, Headers
from proxy.wire.headers import Kind

HEADER: Final = "x-holdfast-resume"
Wish = Literal["no", "resume", "restart"]

_WISHES: Final[Mapping[str, Wish]] = {"true": "resume", "restart": "restart", "false": "no"}
_ATTEMPTS = 64
_WHY_CHARACTERS = 256
_LOST: Final = "live; why=the call that was in flight came to nothing"
_UNNAMED: Final = (
    f"{HEADER}: name the session that is resumed: use /r/SESSION/v1 as the base URL, or send "
    "x-holdfast-session"
)


def wish_of(head_fields: Mapping[str, str], path: PathParts) -> Wish | None:
    """Whether a request asks to be answered from the record; None where it does not say. Its header
    goes before its path. Raises MalformedRequest."""
    said = head_fields.get(HEADER)
    if said is None:
        return "resume" if path.resume else None
    wish = _WISHES.get(said.strip().lower())
    if wish is None:
        raise MalformedRequest(f"{HEADER}: expected true, restart or false", param=HEADER)
    return wish


class Replays:
    """Shared by all calls."""

    def __init__(
        self,
        ledger: Ledger,
        sessions: ResumedSessions,
        judge: Judge,
        retelling: Retelling,
        joins: Joins,
        clock: Clock,
        memo: Memo | None,
        observe: Callable[[CallRecord], None],
    ) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._judge = judge
        self._retelling = retelling
        self._joins = joins
        self._clock = clock
        self._memo = memo
        self._observe = observe

    async def wish(self, call: Call, path: PathParts) -> Wish:
        """What is asked of the record for this call: by itself, else by a human for its session.
        Raises MalformedRequest where it names no session."""
        wish = wish_of(call.head.fields, path)
        if call.identified.is_new:
            if wish in ("resume", "restart"):
                raise MalformedRequest(_UNNAMED, param=HEADER)
            return "no"
        if wish is not None:
            return wish
        state = self._ledger.at_hand(call.key) or await self._ledger.state(call.key)
        return "resume" if state.resumable else "no"

    async def serve(
        self, exchange: Exchange, call: Call, wish: Wish, request_id: str
    ) -> Call | None:
        """Answers from the record: None. Else the call as it goes on. Raises StoreUnavailable."""
        try:
            return await self._served(exchange, call, wish, request_id)
        except StoreAway:  # calls are let through meanwhile
            return replace(call, replay="live; why=the ledger is away, and the record with it")

    async def _served(
        self, exchange: Exchange, call: Call, wish: Wish, request_id: str
    ) -> Call | None:
        async with self._sessions.turn(call.key):
            verdict = await self._decided(exchange.connection, call, wish)
        if verdict is None:
            return call  # it is refused like any other
        if verdict.tape is not None:
            joined = await self._join(exchange, call, verdict, verdict.tape, request_id)
            return None if joined else replace(call, replay=_LOST)
        if verdict.given is None:
            return replace(call, replay=_said(verdict))
        given = await self._give(exchange, call, verdict, request_id)
        return None if given else call

    async def _decided(self, connection: Connection, call: Call, wish: Wish) -> Verdict | None:
        """What the call is due, once that is written down; None where its session is closed."""
        for _ in range(_ATTEMPTS):
            state = await self._ledger.state(call.key)
            if await self._retelling.is_closed(call, state):
                return None
            known = await self._sessions.read(call.key)
            if known.record.seq < state.seq:
                await self._ledger.latest(call.key)  # waits for what this process has written
                continue
            wakes = state.finished or is_idle(state, call.policy.idle_seconds, self._clock.now())
            asked = _asked(known, connection, begins=wish == "restart" or wakes)
            verdict = await self._judge.judge(call, known, asked)
            if wakes and not known.record.is_empty:
                verdict = replace(verdict, begins=True)  # or its id would begin anew
            if verdict.given is None:
                verdict = await self._joining(call, known, asked, verdict)
            if await self._holds(call, state, verdict):
                known.came_by(connection, begins=verdict.begins)
                if verdict.given is None and verdict.tape is None:
                    known.goes_live(call.call_id, call.request)
                return verdict
            await self._ledger.latest(call.key)
        raise StoreUnavailable("the session is resumed by too many at once; try again")

    async def _joining(
        self, call: Call, known: ResumedSession, asked: Asked, verdict: Verdict
    ) -> Verdict:
        """That the call joins one that its agent had in flight when it died. Of this run, that is
        one whose connections are all closed, while this one came by another: its agent began again,
        or nothing else of it is there. What an SDK that lives will ask for again is not given away.
        """
        request, record = call.request, known.record
        begun_again = asked.alone and asked.is_new
        for step in () if is_retry(call.head) else record.in_flight_as(request.body_digest):
            ours = step.call_id in record.given
            if step.dialect != request.dialect or (ours and not begun_again):
                continue
            tape = await self._joins.left(call, step.call_id, unpromised=ours)
            if tape is not None:
                begins = verdict.begins or ours
                return Verdict(begins=begins, step=step, tape=tape)
        return verdict

    async def _holds(self, call: Call, before: SessionState, verdict: Verdict) -> bool:
        """`_written`; what it does not come to is given back."""
        written = False
        try:
            written = await self._written(call, before, verdict)
        finally:
            if verdict.tape is not None and not written:
                self._joins.let_go(verdict.tape)
        return written

    async def _join(
        self, exchange: Exchange, call: Call, verdict: Verdict, tape: Tape, request_id: str
    ) -> bool:
        """False where that call came to nothing, or its session was closed."""
        assert verdict.step is not None
        try:
            playing = Playing(tape, exchange, call, request_id, "replayed")
            answered = await self._retelling.tell(exchange, call, playing.play, playing.cut)
        finally:
            self._joins.let_go(tape)
        if answered:
            step, how = verdict.step.step, verdict.how
            self._observe(given_again(call, tape.status, request_id, step, how))
        return answered

    async def _written(self, call: Call, before: SessionState, verdict: Verdict) -> bool:
        """False where another call was decided on since, or the session is open no more."""
        if not (verdict.begins or verdict.given or verdict.tape or verdict.diverged):
            return True
        written = False

        def decide(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
            nonlocal written
            closed = refuse_closed(call.rules.refusal_status, state, call.key.session)
            written = closed is None and _decided_on(state) == _decided_on(before)
            return _events(call, verdict, now) if written else ()

        await self._ledger.attempt(call.key, decide, fresh=False)
        return written

    async def _give(
        self, exchange: Exchange, call: Call, verdict: Verdict, request_id: str
    ) -> bool:
        """False where its session was closed before it began."""
        assert verdict.given is not None
        giving = Giving(exchange, call, verdict.given)

        async def give(state: SessionState) -> bool:
            await giving.give(self._begun(call, verdict, state, request_id))
            return True

        return await self._retelling.tell(
            exchange, call, give, lambda refusal: giving.cut(refusal, request_id)
        )

    def _begun(self, call: Call, verdict: Verdict, state: SessionState, request_id: str) -> Headers:
        """Its headers, once it is known that it is given."""
        given, step = verdict.given, verdict.step
        assert given is not None
        assert step is not None
        if self._memo is not None and call.request.learned is not None:
            self._memo.keep(call.request.learned)
        how = "skipped" if verdict.skipped else verdict.how
        self._observe(given_again(call, given.status, request_id, step.step, how))
        stamps = replayed_stamps(call, state, step.step, step.upstream)
        return relayed_headers(given.headers, request_id, stamps, Kind.LENGTH)


def _asked(known: ResumedSession, connection: Connection, *, begins: bool) -> Asked:
    return Asked(begins, connection in known.connections, known.is_alone())


def _decided_on(state: SessionState) -> tuple[float, int, int, bool]:
    """What of a session's state a verdict depends on: one that was deleted and begun anew is
    another."""
    return state.created_at, state.generation, state.replays, state.finished


def _events(call: Call, verdict: Verdict, now: float) -> tuple[ev.AnyEvent, ...]:
    began = (ev.ReplayBegan(at=now),) if verdict.begins else ()
    if verdict.diverged:
        chain = chain_of(call.request)
        why = verdict.why
        return (*began, ev.ReplayDiverged(at=now, step=verdict.diverged, why=why, chain=chain))
    if verdict.step is None:
        return began
    skipped = [
        ev.StepReplayed(at=now, step=one.step, call_id=one.call_id, how="skipped")
        for one in verdict.skipped
    ]
    step = verdict.step
    given = ev.StepReplayed(at=now, step=step.step, call_id=step.call_id, how=verdict.how)
    return (*began, *skipped, given)


def _said(verdict: Verdict) -> str:
    """What the header of a live answer says."""
    why = "".join([c if " " <= c <= "~" else "?" for c in verdict.why[:_WHY_CHARACTERS]])
    if verdict.diverged:
        return f"diverged; step={verdict.diverged}; why={why}"
    return f"live; why={why}" if why else "live"
