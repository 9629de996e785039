"""Time for tests in which both ends of every wire are one process.

Client, sidecar and provider share a loop there. Where the machine is busy, or the garbage of ten
thousand tests is collected, all three stand still together, yet the clock goes on: a bound of 0.3 s
is passed by a provider that answers at once, for nobody was there to read it. So the time of this
loop goes on only as far in one turn as a loop that is being served would need.
"""

import asyncio
import selectors
import time
from typing import Final

MOST_SECONDS: Final = 0.005
"""Of one turn; what it took beyond that does not count."""
_SLICE_SECONDS: Final = 0.05
"""Of waiting: the process may stand still while it waits, too."""


class _Selector(selectors.DefaultSelector):
    """Counts the seconds that pass, and looks for what has come before it waits for anything."""

    def __init__(self) -> None:
        super().__init__()
        self._counted = self._seen = time.monotonic()  # noqa: TID251 - a loop is made of it

    def time(self) -> float:
        passed = time.monotonic() - self._seen  # noqa: TID251
        return self._counted + min(passed, MOST_SECONDS)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._count(MOST_SECONDS)
        due = None if timeout is None else self._counted + timeout
        wait = 0.0
        while True:
            ready = super().select(wait)
            self._count(wait + MOST_SECONDS)
            if ready or (due is not None and self._counted >= due):
                return ready
            left = _SLICE_SECONDS if due is None else due - self._counted
            wait = min(left, _SLICE_SECONDS)

    def _count(self, most: float) -> None:
        now = time.monotonic()  # noqa: TID251
        self._counted += min(now - self._seen, most)
        self._seen = now


class PatientLoop(asyncio.SelectorEventLoop):
    """asyncio's own, but that its time waits for it."""

    def __init__(self) -> None:
        self._patient = _Selector()
        super().__init__(self._patient)

    def time(self) -> float:
        return self._patient.time()


class LoopClock:
    """The system's clock, but that what is measured is measured by the loop's time: the same where
    the loop is asyncio's own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return time.time()  # noqa: TID251 - it is shared with other processes

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - by the loop's time


def at_once_seconds() -> float:
    """As much of the running loop's time may pass until what happens at once has happened. A loop
    that is not patient counts what it was kept waiting, too."""
    return 0.1 if isinstance(asyncio.get_running_loop(), PatientLoop) else 1.0
