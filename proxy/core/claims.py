"""Claims: an executor of tools asks whether it may carry a call out, and says what came of it."""

from typing import Literal

import msgspec

from proxy.core import events as ev
from proxy.core.effects import kept_text
from proxy.core.state import SessionState
from proxy.core.tools.facts import Handed

Claimed = Literal["granted", "done", "in_progress"]


class Ruling(msgspec.Struct, frozen=True):
    """What is said to a claim, and what is written down with it. until: of the claim that is in
    force (epoch s). seq: of the result."""

    claim: Claimed
    events: tuple[ev.AnyEvent, ...] = ()
    until: float = 0.0
    seq: int = 0


def rule(state: SessionState, call: Handed, now: float, seconds: float) -> Ruling:
    """Granted to one; until it has told its result, or its time is over, to nobody else."""
    tools = state.tools
    if (seq := tools.effects.get(call.digest)) is not None:
        return Ruling("done", seq=seq)
    known = tools.claims.get(call.digest)
    if known is not None and now < known.until:
        return Ruling("in_progress", until=known.until)
    until = now + seconds
    claimed = ev.CallClaimed(at=now, call=call.digest, tool=call.tool, until=until)
    return Ruling("granted", (*_opened(state, now), claimed), until)


def told(
    state: SessionState, call: Handed, result: bytes, now: float, *, is_error: bool = False
) -> tuple[ev.AnyEvent, ...]:
    """The events of a result, as JSON; none where the call has one already."""
    if call.digest in state.tools.effects:
        return ()
    text = msgspec.json.decode(result, type=str) if result[:1] == b'"' else result.decode()
    recorded = ev.ResultRecorded(
        at=now,
        call=call.digest,
        tool=call.tool,
        call_id=call.call_id,
        text=kept_text(text),
        is_error=is_error,
        content=b"" if result[:1] == b'"' else result,
        source="claim",
    )
    return (*_opened(state, now), recorded)


def _opened(state: SessionState, now: float) -> tuple[ev.AnyEvent, ...]:
    """A claim may come before any call of its session. It never begins another generation: what
    was done in the last one must not be done again by who was only slow."""
    return (ev.SessionOpened(at=now, source="claim"),) if state.is_new else ()
