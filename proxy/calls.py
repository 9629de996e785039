"""The calls in flight, so that kill, a deadline and a shutdown can cut one where it stands.

A cut cancels the call's own task after leaving the reason; the task, woken wherever it waited,
tells a cut from a client that has gone by that reason.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proxy.core.decision import Refusal
from proxy.core.session import SessionKey


@dataclass(slots=True, eq=False)
class LiveCall:
    """One call in flight. `refusal` says why it was cut, None while it was not."""

    key: SessionKey
    task: asyncio.Task[object]
    refusal: Refusal | None = None
    closed: bool = False

    def cut(self, refusal: Refusal) -> None:
        """Ends the call now. The first reason holds; a call that has ended is left alone."""
        if self.refusal is None and not self.closed:
            self.refusal = refusal
            self.task.cancel()

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
        self.streams = 0

    @contextmanager
    def open(self, key: SessionKey, deadline_seconds: float, late: Refusal) -> Iterator[LiveCall]:
        """Registers the current task's call; it is cut with `late` at its deadline."""
        task = asyncio.current_task()
        assert task is not None
        live = LiveCall(key, task)
        self._live.setdefault(key, set()).add(live)
        timer = asyncio.get_running_loop().call_later(deadline_seconds, live.cut, late)
        try:
            yield live
        finally:
            timer.cancel()
            live.closed = True
            calls = self._live[key]
            calls.discard(live)
            if not calls:
                del self._live[key]

    def keys(self, session: str, tenant: str | None) -> list[SessionKey]:
        """Sessions of that id that have a call in flight."""
        return [k for k in self._live if k.session == session and tenant in (None, k.tenant)]

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
        return sum(len(calls) for calls in self._live.values())
