"""What a governed call that came to nothing is told."""

from collections.abc import Sequence
from dataclasses import replace

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.events import AttemptFailed
from proxy.errors import UpstreamUnavailable
from proxy.intake import Call
from proxy.progress import Progress
from proxy.replies import in_session, refusal_of


def late(call: Call, failed: Sequence[AttemptFailed] = ()) -> Refusal:
    """failed: attempts before the one that took too long."""
    seconds = call.deadline_seconds
    before = ", ".join([f"{one.upstream} failed ({one.reason})" for one in failed])
    message = (
        f"This call of session {call.key.session} was not finished within deadline_seconds "
        f"({seconds:g}). Its upstream {call.upstream.name} is slow; raise it or ask for less."
        + (f" Before it, {before}." if before else "")
    )
    facts = LimitFacts(session=call.key.session, limit="deadline_seconds", maximum=seconds)
    return Refusal(504, "deadline_exceeded", "upstream_error", message, facts)


def told(error: UpstreamUnavailable, progress: Progress) -> Refusal:
    """What a client is told of a call that no provider has answered."""
    refusal = in_session(refusal_of(broken_off(error, progress)), progress.call.key.session)
    if refusal.facts is None or error.next_try_seconds is None:
        return refusal
    return replace(refusal, facts=replace(refusal.facts, next_try_seconds=error.next_try_seconds))


def broken_off(error: UpstreamUnavailable, progress: Progress) -> UpstreamUnavailable:
    """Once the provider has begun to answer, what ends it early is a truncation."""
    if progress.status == 0 or error.code != UpstreamUnavailable.code:
        return error
    return replace(error, code="upstream_truncated", status=502)


def truncated() -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "The provider broke off in the middle of its answer.",
        kind="truncated",
        code="upstream_truncated",
        status=502,
    )


def malformed(why: str) -> UpstreamUnavailable:
    message = f"The provider's answer is not one: {why}."
    return UpstreamUnavailable(message, kind="malformed", code="upstream_malformed", status=502)
