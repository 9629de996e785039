"""Fakes for tests of the simulated provider."""

import asyncio

from tests.fakes import FakeClock


class SteppedClock(FakeClock):
    """A fake clock whose test can wait until somebody sleeps, and only then lets time pass."""

    def __init__(self) -> None:
        super().__init__()
        self._asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._asleep.set()
        await super().sleep(seconds)

    async def let_pass(self, seconds: float) -> None:
        """Waits for a sleeper, then moves on."""
        await self.asleep()
        self._asleep.clear()
        self.advance(seconds)

    async def asleep(self) -> None:
        """Waits for a sleeper."""
        async with asyncio.timeout(5):
            await self._asleep.wait()
