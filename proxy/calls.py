"""The calls in flight, so that kill, a deadline and a shutdown can cut one where it stands.

A cut cancels the call's own task after leaving the reason; the task, woken wherever it waited,
tells a cut from a client that has gone by that reason.
"""

import asyncio
from collections.abc import Callable

from proxy.core.decision import Refusal
from proxy.core.session import SessionKey
from proxy.wire.timing import Deadlines


class LiveCall:
    """One call in flight. `refusal` says why it was cut, None while it was not. due: when it is cut
    with what `late` says, on the loop's clock. late_by_deadline: for its own time is over then, and
    not that of its session."""

    __slots__ = ("above", "closed", "due", "key", "late", "late_by_deadline", "refusal", "task")

    def __init__(
        self,
        key: SessionKey,
        task: asyncio.Task[object],
        due: float,
        late: Callable[[], Refusal],
    ) -> None:
        self.key = key
        self.task = task
        self.due = due
        self.late = late
        self.refusal: Refusal | None = None
        self.closed = False
        self.late_by_deadline = True
        self.above: tuple[SessionKey, ...] = ()

    def cut(self, refusal: Refusal) -> None:
        """Ends the call now. The first reason holds; a call that has ended is left alone."""
        if self.refusal is None and not self.closed:
            self.refusal = refusal
            self.task.cancel()

    @property
    def is_out_of_budget(self) -> bool:
        """Cut since nothing more can be held for it: what came unread is not booked then but
        counted as overspend, for the budget has no room for it."""
        return self.refusal is not None and self.refusal.code == "budget_exceeded"

    def ends_in(self, seconds: float, late: Callable[[], Refusal]) -> None:
        """Its session's time is over then, if that is sooner than its own."""
        due = self.task.get_loop().time() + seconds
        if due < self.due:
            self.due, self.late, self.late_by_deadline = due, late, False

    def expired(self, now: float) -> None:
        """The deadline has passed."""
        self.due = float("inf")
        self.cut(self.late())

    def was_cut(self) -> bool:
        """In a handler of CancelledError: whether it was a cut, which is then no cancellation."""
        if self.refusal is None:
            return False
        # A client that leaves in the same tick has cancelled too: then nobody is left to tell.
        return self.task.uncancel() == 0


class Calls:
    """All calls in flight of a process."""

    def __init__(self) -> None:
        self._live: dict[SessionKey, set[LiveCall]] = {}
        self._deadlines: Deadlines | None = None
        self.streams = 0

    def open(
        self, key: SessionKey, deadline_seconds: float, late: Callable[[], Refusal]
    ) -> LiveCall:
        """Registers the current task's call; it is cut at its deadline. The caller
        gives it back to `close`, whatever happens."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        if self._deadlines is None:
            self._deadlines = Deadlines(loop)
        live = LiveCall(key, task, loop.time() + deadline_seconds, late)
        self._deadlines.add(live)
        calls = self._live.get(key)
        if calls is None:
            self._live[key] = {live}
        else:
            calls.add(live)
        return live

    def also(self, live: LiveCall, above: tuple[SessionKey, ...]) -> None:
        """The call is cut with these sessions, too."""
        live.above = above
        for key in above:
            self._live.setdefault(key, set()).add(live)

    def close(self, live: LiveCall) -> None:
        """The call has ended."""
        live.closed = True
        assert self._deadlines is not None
        self._deadlines.discard(live)
        for key in (live.key, *live.above):
            calls = self._live[key]
            calls.discard(live)
            if not calls:
                del self._live[key]

    def is_idle(self) -> bool:
        """Whether no call is open."""
        return not self._live

    def keys(self, session: str, tenant: str | None) -> list[SessionKey]:
        """Sessions of that id that have a call in flight."""
        return [k for k in self._live if k.session == session and tenant in (None, k.tenant)]

    def running(self) -> tuple[SessionKey, ...]:
        """All sessions that have a call in flight."""
        return tuple(self._live)

    def cut_session(self, key: SessionKey, refusal: Refusal) -> int:
        """Cuts every call of a session; returns how many there were."""
        calls = tuple(self._live.get(key, ()))
        for live in calls:
            live.cut(refusal)
        return len(calls)

    def cut_all(self, refusal: Refusal) -> None:
        """Cuts everything in flight (the end of a drain)."""
        for key in tuple(self._live):
            self.cut_session(key, refusal)

    def __len__(self) -> int:
        return len(set().union(*self._live.values()))
