"""Tells a client an answer that is there already: a kill cuts it like any other."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from proxy.calls import Calls, LiveCall
from proxy.core.closed import refuse_closed
from proxy.core.decision import Refusal
from proxy.core.session import SessionKey, SessionState
from proxy.core.tree import MOST_ABOVE
from proxy.failures import late
from proxy.intake import Call, dialect_bounds
from proxy.ledger import Ledger
from proxy.replies import dialect_of, in_session
from proxy.wire import Answering


class Retelling:
    """Shared by all calls."""

    def __init__(self, ledger: Ledger, calls: Calls) -> None:
        self._ledger = ledger
        self._calls = calls

    async def tell(
        self,
        exchange: Answering,
        call: Call,
        give: Callable[[SessionState], Awaitable[bool]],
        cut: Callable[[Refusal], Awaitable[None]],
    ) -> bool:
        """Gives it, and tells where it is cut short. give: False where there is nothing. False also
        where its session was closed before it began: the client was told nothing."""
        live = self._calls.open(call.key, call.deadline_seconds, partial(late, call))
        try:
            state = await self._ledger.state(call.key)
            return not await self.is_closed(call, state, live) and await give(state)
        except asyncio.CancelledError:
            refusal = live.refusal
            if refusal is None or not live.was_cut():
                raise
            live.closed = True  # nothing cuts the telling short
            if exchange.started:
                await cut(refusal)
            return exchange.started
        finally:
            self._calls.close(live)

    async def is_closed(
        self, call: Call, state: SessionState, live: LiveCall | None = None
    ) -> bool:
        """Whether a human has stopped the session, or one above it. live: is cut, too, where one of
        those is stopped from now on."""
        for _ in range(MOST_ABOVE + 1):
            if refuse_closed(call.rules.refusal_status, state, call.key.session) is not None:
                return True
            if state.parent is None:
                return False
            above = SessionKey(call.key.tenant, state.parent)
            if live is not None:
                self._calls.also(live, (*live.above, above))
            state = await self._ledger.state(above)
        return False


def end_frames(call: Call, refusal: Refusal, request_id: str, said: bytes) -> bytes:
    """What ends a stream of which so much was said."""
    refusal = in_session(refusal, call.key.session)
    if refusal.type == "session_state":  # a kill knows the session, not who calls
        refusal = replace(refusal, status=call.rules.refusal_status)
    dialect = dialect_of(call.request.dialect)
    meter = dialect.meter(strip_usage=False, bounds=dialect_bounds(call.policy))
    meter.feed(said)
    return dialect.error_frames(
        refusal,
        request_id,
        client=call.caller.user_agent,
        response_id=meter.answer().response_id,
    )
