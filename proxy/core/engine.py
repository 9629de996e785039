"""`decide`: whether a call goes on, with what hold and what bound. Pure; a refusal is a value."""

import dataclasses
from collections.abc import Iterator

from msgspec.structs import replace

from proxy.core.ask import Account, Ask
from proxy.core.closed import checkpoint, refuse_closed
from proxy.core.decision import (
    Admit,
    Blocked,
    Decision,
    DecisionName,
    Granted,
    LimitFacts,
    Refusal,
    Wanted,
)
from proxy.core.guidance import carried, tokens_of
from proxy.core.limits import cost, tokens
from proxy.core.limits.base import Breach, maximum
from proxy.core.limits.registry import GATES, shares
from proxy.core.limits.rooms import Room
from proxy.core.looping import decided_on, verdict_on, with_notes
from proxy.core.plan import admit_at_once
from proxy.core.policy import Limits
from proxy.core.pricing import affordable_output_tokens, hold_cost
from proxy.core.rules import Rules as Rules
from proxy.core.session import SessionKey, SessionState, failed_before
from proxy.core.tree import Kin


def decide(
    rules: Rules,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    now: float,
    above: tuple[Kin, ...] = (),
    *,
    patient: bool = False,
) -> Decision:
    """Admit or refuse one call on this state, and on those of the sessions above. `now` in epoch
    seconds; no side effect. patient: refused (`held_at`) rather than bounded below what it likely
    comes to, where calls in flight hold what is missing."""
    verdict = verdict_on(rules.loops, state, ask, now)
    if verdict.finding is not None:
        ask = with_notes(ask, verdict.finding)
    elif not above:
        least = rules.min_output_tokens
        admit = admit_at_once(rules.plan, least, state, ask, accounts, now, verdict.noted)
        if admit is not None:
            return admit
    decision = decide_by_rules(rules, state, ask, accounts, now, above, patient=patient)
    return decided_on(decision, verdict, state, ask, rules.refusal_status)


def decide_by_rules(
    rules: Rules,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    now: float,
    above: tuple[Kin, ...] = (),
    *,
    patient: bool = False,
) -> Decision:
    """The same without the plan: what each limit says."""
    if (refusal := _stopped(rules, rules.limits, state, ask, now)) is not None:
        return refusal
    for kin in above:
        theirs = replace(ask, session=kin.key.session)
        refusal = _stopped(rules, kin.limits, kin.state, theirs, now)
        if refusal is not None:
            return refusal
    if ask.unseen_tokens:
        unseen = state.largest_tokens or ask.unseen_tokens
        ask = replace(ask, input_tokens=ask.input_tokens + unseen)
    if not (guidance := carried(state, ask) if state.guidance else ()):
        return fit(rules, state, ask, accounts, now, above, patient=patient)
    ask = replace(ask, input_tokens=ask.input_tokens + tokens_of(guidance))
    decision = fit(rules, state, ask, accounts, now, above, patient=patient)
    return replace(decision, guidance=guidance) if isinstance(decision, Admit) else decision


def _stopped(
    rules: Rules, limits: Limits, state: SessionState, ask: Ask, now: float
) -> Refusal | None:
    """Why a session lets no call through now, however small."""
    if state.killed or state.paused or state.handoffs:
        closed = refuse_closed(rules.refusal_status, state, ask.session)
        if closed is not None:
            return closed
    for gate in GATES:
        if (breach := gate.check(limits, state, ask, now)) is not None:
            return refused_by(rules, state, ask.session, breach)
    return None


def refuse_spent(rules: Rules, state: SessionState, session: str, now: float) -> Refusal | None:
    """Why an endpoint that costs nothing is refused too: closed, or a limit already used up."""
    if (closed := refuse_closed(rules.refusal_status, state, session)) is not None:
        return closed
    rooms = (
        *cost.rooms(rules.limits, state, session, (), now),
        tokens.room(rules.limits, state, session),
    )
    for room in rooms:
        if room is not None and room.left <= 0:
            return refused_by(rules, state, session, room.breach(0))
    return None


def remaining_micro_usd(limits: Limits, state: SessionState) -> int | None:
    """What the session may still spend, holds taken off; None where it has no such limit."""
    most = maximum(limits.cost_micro_usd, state, cost.COST)
    if most is None:
        return None
    below = state.below
    used = state.cost_micro_usd + state.held_micro_usd
    return max(0, most - used - below.spent_micro_usd - below.held_micro_usd)


def fits_more(
    rules: Rules,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    held_output: int,
    wanted: Wanted,
    now: float,
    above: tuple[Kin, ...] = (),
) -> Granted | Blocked:
    """How much more a call may hold that holds `held_output` tokens: as much of `wanted` as
    fits; Blocked where not even the least does, or the session is closed."""
    if state.killed:
        return Blocked(None)
    before = _hold_cost(ask, held_output)
    most = wanted.most
    for room in _rooms(rules.limits, state, ask, accounts, now, above):
        if room.unit == "tokens":
            fits = room.left
        else:
            left = room.left if room.per_call else room.left + before
            fits = _affordable(ask, left) - held_output
        if fits < wanted.least:
            return Blocked(None if room.per_call else room.place)
        most = min(most, fits)
    return Granted(most, _hold_cost(ask, held_output + most) - before)


def fit(
    rules: Rules,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    now: float,
    above: tuple[Kin, ...],
    *,
    patient: bool,
) -> Decision:
    """Bounds the output by the smallest room; refuses where that leaves too little."""
    asked = ask.bound_per_choice
    least = min(max(rules.min_output_tokens, ask.least_output), asked)
    likely = min(max(least, ask.likely_output or 0), asked) if patient else least
    allowed, narrow = asked, None
    for room in _rooms(rules.limits, state, ask, accounts, now, above):
        fits = _fitting_output(ask, room)
        if fits < least:
            return _refuse_room(rules, state, ask, room, least)
        if fits < allowed:
            allowed, narrow = fits, room
    if narrow is not None and allowed < likely:
        worth_waiting = _refuse_room(rules, state, ask, narrow, likely)
        if worth_waiting.held_at is not None:
            return worth_waiting
    return _admit(rules, state, ask, allowed, least, now)


def _refuse_room(rules: Rules, state: SessionState, ask: Ask, room: Room, least: int) -> Refusal:
    needed = _needed(ask, room, least * ask.choices)
    session = room.place.session if isinstance(room.place, SessionKey) else ask.session
    refusal = refused_by(rules, state, session, room.breach(needed))
    frees_enough = room.held > 0 and room.left + room.held >= needed
    return dataclasses.replace(refusal, held_at=room.place) if frees_enough else refusal


def _admit(
    rules: Rules, state: SessionState, ask: Ask, allowed: int, least: int, now: float
) -> Admit:
    used = shares(rules.limits, state, now)
    warn_at = rules.limits.warn_at
    warnings = tuple([name for name, share in used.items() if share >= warn_at])
    clamped = allowed < ask.bound_per_choice
    names: tuple[DecisionName, ...] = ("allow",)
    if warnings:
        names += ("warn",)
    if clamped:
        names += ("clamp",)
    held = allowed if ask.usual_output is None else min(allowed, max(least, ask.usual_output))
    output = held * ask.choices
    return Admit(
        step=_step(state, ask),
        hold_cost_micro_usd=_hold_cost(ask, output),
        hold_input_tokens=ask.input_tokens,
        output_allowance=output,
        output_bound=allowed if clamped else None,
        names=names,
        warnings=warnings,
    )


def _rooms(
    limits: Limits,
    state: SessionState,
    ask: Ask,
    accounts: tuple[Account, ...],
    now: float,
    above: tuple[Kin, ...],
) -> Iterator[Room]:
    if ask.price is not None:
        yield from cost.rooms(limits, state, ask.session, accounts, now)
    if (room := tokens.room(limits, state, ask.session)) is not None:
        yield room
    for kin in above:
        for room in _rooms(
            kin.limits, kin.state, replace(ask, session=kin.key.session), (), now, ()
        ):
            yield replace(room, place=kin.key)


def _fitting_output(ask: Ask, room: Room) -> int:
    """Output tokens of one choice that the room takes; -1 if not even the input fits."""
    if room.unit == "tokens":
        return max(-1, (room.left - ask.input_tokens) // ask.choices)
    return max(-1, _affordable(ask, room.left) // ask.choices)


def _needed(ask: Ask, room: Room, output: int) -> int:
    return ask.input_tokens + output if room.unit == "tokens" else _hold_cost(ask, output)


def _hold_cost(ask: Ask, output: int) -> int:
    if ask.price is None:
        return 0
    return hold_cost(ask.price, ask.input_tokens, output, ask.exposure)


def _affordable(ask: Ask, micro_usd: int) -> int:
    assert ask.price is not None  # there are no rooms of money for what has no price
    return affordable_output_tokens(ask.price, ask.input_tokens, micro_usd, ask.exposure)


def _step(state: SessionState, ask: Ask) -> int:
    """The next number, or the old one where an SDK sends a failed call again."""
    failed = failed_before(state, ask.body_digest)
    return failed.step if failed else state.steps + 1


def refused_by(rules: Rules, state: SessionState, session: str, breach: Breach) -> Refusal:
    """What is told of a limit that is passed."""
    facts = LimitFacts(
        session=session,
        limit=breach.limit,
        scope=breach.scope,
        maximum=breach.maximum,
        used=breach.used,
        requested=breach.requested,
        checkpoint=checkpoint(session, state),
    )
    return Refusal(
        status=breach.status or rules.refusal_status,
        code=breach.code,
        type="session_limit" if breach.scope == "session" else "shared_budget",
        message=breach.message,
        facts=facts,
        retry_after_ms=breach.retry_after_ms,
    )
