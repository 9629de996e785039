"""How long an attempt is waited for, where somebody else could be asked in its place."""

import asyncio
from collections.abc import Callable
from typing import Final

from proxy.breakers.permits import Permit

_AGAIN_SECONDS: Final = 0.5
"""After so long it is asked again whether somebody else takes calls."""


class Patience:
    """Of one attempt, which its call's own task waits for. elsewhere: whether another target takes
    calls now: else this one is waited for, for a slow answer beats none.

    Its end cancels the task, which tells it from a client that left and from a cut by `is_over`.
    """

    __slots__ = ("_before", "_elsewhere", "_task", "due", "ended")

    def __init__(self, seconds: float, elsewhere: Callable[[], bool]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._elsewhere = elsewhere
        self.due = task.get_loop().time() + seconds
        self.ended = False

    def expired(self, now: float) -> None:
        """It has taken so long."""
        if self.ended or not self._elsewhere():
            self.due = float("inf") if self.ended else now + _AGAIN_SECONDS
            return
        self.ended, self.due = True, float("inf")
        self._task.cancel()

    def is_over(self) -> bool:
        """In a handler of CancelledError: whether that was its end, and nothing else."""
        return self.ended and self._task.uncancel() <= self._before


class Trial:
    """Of an attempt that tries a broken provider for all: nobody else may meanwhile, but for so
    long only. A long answer, or one that never comes, must not keep it shut for everybody."""

    __slots__ = ("_permit", "due")

    def __init__(self, seconds: float, permit: Permit) -> None:
        self._permit = permit
        self.due = asyncio.get_running_loop().time() + seconds

    def expired(self, now: float) -> None:
        """It has taken so long."""
        self.due = float("inf")
        self._permit.overstays()
