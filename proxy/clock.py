"""The only file that reads time. Everything else is handed a `Clock`."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: `now` for what is stored, `monotonic` for what is measured (both in seconds)."""

    def now(self) -> float:
        """Seconds since the epoch; may jump. Stamps events, names budget windows."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back. Measures durations."""

    async def sleep(self, seconds: float) -> None:
        """Waits; a fake clock returns when it has been advanced."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
