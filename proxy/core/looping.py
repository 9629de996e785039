"""What a loop means for a call: what it is told, what is noted of it, and when it is stopped."""

from typing import Final

from msgspec.structs import replace

from proxy.core.ask import Ask
from proxy.core.closed import checkpoint
from proxy.core.decision import Admit, Decision, DecisionName, LimitFacts, Refusal
from proxy.core.guidance import tokens_of
from proxy.core.loops.finding import Finding
from proxy.core.loops.judge import RESTED_SECONDS, Verdict, judge
from proxy.core.loops.policy import Loops
from proxy.core.loops.wording import notes_of, what_happens
from proxy.core.session import SessionState

NO_VERDICT: Final = Verdict()
_NAMES: Final[tuple[DecisionName, ...]] = ("warn", "steer", "final_answer")


def verdict_on(loops: Loops | None, state: SessionState, ask: Ask, now: float) -> Verdict:
    """What this call brings to its session; nothing where nobody looks for loops. now: epoch s."""
    if loops is None or ask.tail is None:
        return NO_VERDICT
    rested = now - state.updated_at >= RESTED_SECONDS
    return judge(loops, state.threads, ask.tail, state.seq + 1, rested=rested)


def with_notes(ask: Ask, finding: Finding) -> Ask:
    """The call as it is priced with what the model is told of its loop."""
    notes = notes_of(finding)
    return replace(ask, input_tokens=ask.input_tokens + tokens_of(notes)) if notes else ask


def decided_on(
    decision: Decision, verdict: Verdict, state: SessionState, ask: Ask, status: int
) -> Decision:
    """A decision that was made on all but the loop, with it. A refusal that may pass by itself
    (`held_at`) is none to wait for where the loop is stopped."""
    finding = verdict.finding
    if finding is not None and finding.rung == "stop":
        if isinstance(decision, Refusal) and decision.held_at is None:
            return decision
        return refuse_loop(finding, state, ask.session, status)
    if isinstance(decision, Refusal):
        return decision
    return _with_loop(decision, verdict)


def refuse_loop(finding: Finding, state: SessionState, session: str, status: int) -> Refusal:
    """The last rung."""
    message = (
        f"Session {session} goes round in a loop and was stopped. {what_happens(finding)} "
        "To go on: let the user say something new, or "
        f"holdfast sessions extend {session} --steps 10."
    )
    facts = LimitFacts(
        session=session,
        limit=finding.rule,
        maximum=finding.stop,
        used=finding.count,
        checkpoint=checkpoint(session, state),
    )
    return Refusal(status, "loop_detected", "session_limit", message, facts)


def _with_loop(admit: Admit, verdict: Verdict) -> Admit:
    finding = verdict.finding
    if finding is None:
        return admit if admit.noted is verdict.noted else replace(admit, noted=verdict.noted)
    names = admit.names
    if finding.rung in _NAMES:
        names += tuple(
            [name for name in _NAMES if name in ("warn", finding.rung) and name not in names]
        )
    return replace(admit, names=names, noted=verdict.noted, loop=finding, at_rung=verdict.first)
