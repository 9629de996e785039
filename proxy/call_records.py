"""The records of governed calls, by how they ended."""

from msgspec.structs import replace

from proxy.core.decision import Refusal
from proxy.core.session import SessionState
from proxy.intake import Call
from proxy.progress import Progress
from proxy.records import CallRecord


def refused(
    call: Call, refusal: Refusal, state: SessionState, request_id: str, status: int
) -> CallRecord:
    """It was not admitted, and answered with this status."""
    decision = "handoff" if refusal.code == "awaiting_human" else "reject"
    record = _record(call, decision, status, request_id)
    return replace(record, reason=refusal.code, step=state.steps)


def replayed(call: Call, status: int, request_id: str) -> CallRecord:
    """It was given the answer of an earlier attempt."""
    return _record(call, "replay", status, request_id)


def given_again(call: Call, status: int, request_id: str, step: int, how: str) -> CallRecord:
    """It was given what is recorded as that step."""
    record = _record(call, "replay", status, request_id)
    return replace(record, step=step, replay=how)


def carried_out(progress: Progress, now: float) -> CallRecord:
    """It was admitted; `now` is monotonic."""
    call, booked, admit = progress.call, progress.settled, progress.admitted.admit
    started = progress.forwarded_at or now
    return CallRecord(
        dialect=call.request.dialect,
        decision=admit.name,
        status=progress.refusal.status if progress.refusal else progress.status,
        request_id=progress.request_id,
        reason=progress.refusal.code if progress.refusal else "".join(admit.loop_warnings),
        stream=call.request.stream,
        upstream=call.upstream.name,
        model=call.model,
        tenant=call.key.tenant,
        session=call.key.session,
        agent=call.identified.agent,
        step=admit.step,
        outcome=booked.outcome if booked else None,
        usage=booked.usage if booked else None,
        cost_micro_usd=booked.cost_micro_usd if booked else 0,
        overspend_micro_usd=progress.overspend_micro_usd,
        overhead_seconds=started - call.received,
        first_byte_seconds=progress.first_byte_at - started if progress.first_byte_at else None,
        duration_seconds=now - call.received,
        tool_calls=booked.tools if booked else (),
        replays=progress.replays,
        replay=call.replay.partition(";")[0],
        retries=progress.tried.retries if progress.tried else 0,
        fallbacks=progress.tried.fallbacks if progress.tried else (),
        cycles=_cycles(progress),
        repeats=admit.loop.detector if admit.loop is not None and admit.noted.round else "",
    )


def _cycles(progress: Progress) -> int | None:
    """Of the history that the call goes on with."""
    noted = progress.admitted.admit.noted
    if not noted.key:
        return None
    thread = progress.admitted.state.threads.get(noted.thread)
    return thread.cycles if thread is not None else 0


def _record(call: Call, decision: str, status: int, request_id: str) -> CallRecord:
    return CallRecord(
        dialect=call.request.dialect,
        decision=decision,
        status=status,
        request_id=request_id,
        stream=call.request.stream,
        upstream=call.upstream.name,
        model=call.model,
        tenant=call.key.tenant,
        session=call.key.session,
        agent=call.identified.agent,
    )
