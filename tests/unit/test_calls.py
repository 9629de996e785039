"""Calls in flight: what a cut is, and what it is not."""

import asyncio

import pytest

from proxy.calls import Calls, LiveCall
from proxy.core.decision import Refusal
from proxy.core.session import SessionKey

KEY = SessionKey("t", "s1")
LATE = Refusal(504, "deadline_exceeded", "upstream_error", "late")
KILLED = Refusal(422, "session_killed", "session_state", "killed")


async def until_cut(calls: Calls, opened: asyncio.Event) -> tuple[bool, Refusal | None]:
    """A call that waits until it is cancelled, and says what that was."""
    live = calls.open(KEY, 60.0, lambda: LATE)
    opened.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return live.was_cut(), live.refusal
    finally:
        calls.close(live)
    raise AssertionError("never cancelled")


@pytest.mark.parametrize("client_leaves", [False, True])
async def test_a_client_that_leaves_with_the_cut_is_not_answered(client_leaves: bool) -> None:
    """Both cancel the task: then nobody is left to be told of the cut."""
    calls, opened = Calls(), asyncio.Event()
    task = asyncio.ensure_future(until_cut(calls, opened))
    await opened.wait()
    calls.cut_session(KEY, KILLED)
    if client_leaves:
        task.cancel()

    assert await asyncio.wait_for(task, 5) == (not client_leaves, KILLED)
    assert len(calls) == 0


async def test_the_first_reason_holds_and_a_closed_call_is_left_alone() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    live = LiveCall(KEY, task, 0.0, lambda: LATE)
    live.cut(KILLED)
    live.cut(LATE)
    closed = LiveCall(KEY, task, 0.0, lambda: LATE)
    closed.closed = True
    closed.cut(KILLED)

    assert live.refusal is KILLED
    assert closed.refusal is None
    await asyncio.wait({task}, timeout=5)
